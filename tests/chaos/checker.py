"""Verifies the promises over a history. Pure: `check(history)` gives every violation.

    python -m tests.chaos.checker HISTORY.jsonl

I1 exclusive, I2 no lost run, I3 no ghost, I4 honest, I5 once, I6 hands off, I8 true exit.
Of services: I9 answered, I10 as many replicas as wanted, I11 a slot keeps its GPUs.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.chaos import served
from tests.chaos.history import AttemptEnd, Fault, Final, History, Sample, read

NOTICE_S = 10.0
"""Within which a cut host is shown as unreachable."""
RETURN_S = 5.0
"""Within which a healed host is shown as up."""
OPEN_PHASES = ("starting", "running", "stopping", "collecting")
GIVEN_UP = "give up"
"""Name of the fault that a person makes who takes a silent host out of the config."""
CUTS = ("cut", "freeze", "power", "sshd")
"""Faults, by the first word of their names, in which a host cannot be seen."""
KILLS = ("power", "kill agent")
"""Faults of a host that end a process past its last word, or whoever waits for its end."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, and by what."""

    invariant: str
    text: str


def check(history: History) -> list[Violation]:
    """Every violation, in the order of the invariants."""
    found = [Violation("I1", text) for text in exclusive(history)]
    if history.final is None:
        return [*found, Violation("I2", "the history has no end: nothing can be said of it")]
    final = history.final
    found += [Violation("I2", text) for text in no_lost_run(history, final)]
    found += [Violation("I3", text) for text in no_ghost(final)]
    found += [Violation("I4", text) for text in honest(history)]
    found += [Violation("I5", text) for text in once(history, final)]
    found += [Violation("I6", text) for text in hands_off(history, final)]
    given_up = any(fault.name == GIVEN_UP for fault in history.faults)
    found += [Violation("I8", text) for text in true_exit(final, given_up)]
    found += [Violation("I8", text) for text in true_to_itself(history, final)]
    return found + of_services(history, final)


def of_services(history: History, final: Final) -> list[Violation]:
    """Those of what services promise."""
    found = [Violation("I9", text) for text in served.answered(history)]
    found += [Violation("I10", text) for text in served.right_number(final)]
    return found + [Violation("I11", text) for text in served.slots_kept(history, final)]


def exclusive(history: History) -> Iterator[str]:
    """No GPU is granted while a living container holds it."""
    for grant in history.grants:
        for holder in grant.holders:
            gpus = ", ".join(grant.gpus)
            yield f"{grant.host}: {gpus} given to {grant.attempt_id} while {holder} held one"


def no_lost_run(history: History, final: Final) -> Iterator[str]:
    """A run whose id was told exists, and has exactly one outcome."""
    told = [call.run_id for call in history.calls if call.what == "submit" and call.run_id]
    for run_id in dict.fromkeys(told):
        if run_id not in final.runs:
            yield f"{run_id} was acknowledged and is not in the database"
        elif final.runs[run_id] is None:
            yield f"{run_id} never came to an end"
    answered = sum(call.what == "submit" and call.result == "ok" for call in history.calls)
    unsure = sum(call.what == "submit" and call.result == "unknown" for call in history.calls)
    if len(final.runs) > answered + unsure:
        yield f"{len(final.runs)} runs exist, of {answered} acknowledged and {unsure} unsure ones"


def no_ghost(final: Final) -> Iterator[str]:
    """The containers on the hosts are those of open attempts, and the other way round."""
    open_attempts = {a.attempt_id: a for a in final.attempts if a.phase in OPEN_PHASES}
    living = Counter(c.attempt_id for c in final.containers)
    for container in final.containers:
        if container.attempt_id not in open_attempts:
            yield f"{container.host}: container {container.name} belongs to no open attempt"
    for attempt_id, attempt in open_attempts.items():
        if not living[attempt_id]:
            yield f"attempt {attempt_id} is {attempt.phase} on {attempt.host}, where nothing is"
        elif living[attempt_id] > 1:
            yield f"attempt {attempt_id} has {living[attempt_id]} containers"


def honest(history: History) -> Iterator[str]:
    """A host that cannot be seen is shown so, offers nothing, and comes back."""
    for fault in history.faults:
        if not fault.host or fault.name.split()[0] not in CUTS:
            continue
        for sample in history.samples:
            yield from _seen_in(fault, sample, history.faults)


def _seen_in(fault: Fault, sample: Sample, faults: list[Fault]) -> Iterator[str]:
    at = sample.at
    ended = fault.ended_at if fault.ended_at is not None else float("inf")
    said, offered = sample.conditions.get(fault.host), sample.free.get(fault.host, 0)
    if said is None:
        return
    since = f"{at - fault.begun_at:.1f} s after {fault.name} began"
    if fault.begun_at + NOTICE_S < at and sample.until < ended:
        if said == "up":
            yield f"{fault.host} was called up, {since}"
        if offered:
            yield f"{fault.host} offered {offered} GPUs, {since}"
    others = any(
        f is not fault and f.host in ("", fault.host)
        and f.begun_at < sample.until
        and (f.ended_at is None or f.ended_at + RETURN_S + NOTICE_S > at)
        for f in faults
    )  # fmt: skip
    if ended + RETURN_S < at < ended + 4 * RETURN_S and not others and said != "up":
        yield f"{fault.host} was still {said}, {at - ended:.1f} s after {fault.name} ended"


def once(history: History, final: Final) -> Iterator[str]:
    """At most one container for an attempt; another attempt only after the last one ended."""
    created: Counter[tuple[str, str]] = Counter()
    started: Counter[tuple[str, str]] = Counter()
    for call in history.docker:
        if call.what == "create" and 200 <= call.status < 300:
            created[call.host, call.name] += 1
        if call.what == "start" and call.status == 204:  # 304: it ran already
            started[call.host, call.name] += 1
    for (host, name), count in created.items():
        if count > 1:
            yield f"{host}: container {name} was created {count} times"
    for (host, name), count in started.items():
        if count > 1:
            yield f"{host}: container {name} was started {count} times"
    containers: dict[str, set[str]] = defaultdict(set)
    for grant in history.grants:
        containers[grant.attempt_id].add(grant.container)
    for attempt_id, ids in containers.items():
        if len(ids) > 1:
            yield f"attempt {attempt_id} had {len(ids)} containers with GPUs"
    begun = Counter(line.attempt_id for line in final.told if line.exit_code is None)
    for attempt_id, count in begun.items():
        if count > 1:
            yield f"attempt {attempt_id} ran {count} times"
    yield from _in_turn(history, final)


def _in_turn(history: History, final: Final) -> Iterator[str]:
    """Each try of a stage begins after the last one ended: by the record and by what was seen."""
    begun: dict[str, float] = {}
    seen = [(grant.attempt_id, grant.at) for grant in history.grants]
    seen += [(line.attempt_id, line.at) for line in final.told if line.exit_code is None]
    for attempt_id, at in seen:
        begun[attempt_id] = min(at, begun.get(attempt_id, at))
    exited = {exit.attempt_id: exit.at for exit in final.exits}
    exited |= {line.attempt_id: line.at for line in final.told if line.exit_code is not None}
    stages: dict[tuple[str, str], list[AttemptEnd]] = defaultdict(list)
    for attempt in final.attempts:
        stages[attempt.run_id, attempt.stage].append(attempt)
    for tries in stages.values():
        tries.sort(key=lambda attempt: attempt.number)
        if len({attempt.number for attempt in tries}) != len(tries):
            yield f"{tries[0].attempt_id}: two attempts of one number"
        for before, after in pairwise(tries):
            if before.phase in OPEN_PHASES:
                yield f"{before.attempt_id} is {before.phase}, and another attempt came after it"
            noted = after.launched_at if after.placed_at is None else after.placed_at
            yield from _too_early(before, after, noted, before.finished_at, "by the record")
            if before.phase != "lost":  # given up: nobody says that it ended
                first, last = begun.get(after.attempt_id), exited.get(before.attempt_id)
                yield from _too_early(before, after, first, last, "as seen")
        if sum(attempt.phase == "succeeded" for attempt in tries) > 1:
            yield f"{tries[0].attempt_id}: succeeded more than once"


def _too_early(
    before: AttemptEnd, after: AttemptEnd, begun: float | None, ended: float | None, by: str
) -> Iterator[str]:
    if begun is not None and ended is not None and begun < ended:
        early = f"{ended - begun:.3f} s before the end of {before.attempt_id}"
        yield f"{after.attempt_id} began {early}, {by}"


def hands_off(history: History, final: Final) -> Iterator[str]:
    """What somebody else runs is alive at the end, and had its GPU for itself."""
    taken = {(canary.host, canary.gpu): canary.what for canary in final.canaries if canary.gpu}
    for canary in final.canaries:
        if not canary.alive:
            yield f"{canary.host}: {canary.what} did not survive"
    for grant in history.grants:
        for gpu in grant.gpus:
            if (grant.host, gpu) in taken:
                yield f"{grant.host}: {gpu} of {taken[grant.host, gpu]} given to {grant.attempt_id}"


def true_exit(final: Final, given_up: bool = False) -> Iterator[str]:
    """The recorded exit is the true one. `given_up`: a person gave a host up, so that what ran
    there may have been cancelled without anybody having seen its end.

    A start that dockerd's death cut off may leave a process that its restart kills, and a container
    that counts as created and is started again: what counts is how it ended last. Two starts that
    were both acknowledged are a matter of `once`.
    """
    recorded = {attempt.attempt_id: attempt for attempt in final.attempts}
    for true in {exit.attempt_id: exit for exit in final.exits}.values():
        attempt = recorded.get(true.attempt_id)
        if attempt is None:
            yield f"{true.attempt_id} ended with {true.exit_code} and is not recorded"
            continue
        unseen = attempt.signal is None and attempt.exit_code is None
        if attempt.phase == "lost" or (given_up and unseen and attempt.phase == "cancelled"):
            continue  # said to be unknown: that is honest
        code = 128 + attempt.signal if attempt.signal else attempt.exit_code
        if code != true.exit_code:
            yield f"{true.attempt_id} ended with {true.exit_code}, recorded as {code}"
        if true.oom_killed and "oom" not in (attempt.cause or "").lower():
            yield f"{true.attempt_id} was killed for its memory, recorded as {attempt.cause}"


def true_to_itself(history: History, final: Final) -> Iterator[str]:
    """The recorded end of a stage that tells of itself is the one that it told."""
    told = {line.attempt_id: line.exit_code for line in final.told}  # the last line of each
    for attempt_id in told.keys() - {attempt.attempt_id for attempt in final.attempts}:
        yield f"{attempt_id} ran and is not recorded"
    for attempt in final.attempts:
        if attempt.stage not in final.telling or attempt.phase == "lost":
            continue
        name, said = attempt.attempt_id, told.get(attempt.attempt_id)
        claimed = attempt.exit_code if attempt.signal is None else None
        if (claimed is not None or attempt.phase == "succeeded") and name not in told:
            yield f"{name} is recorded as {attempt.phase} with {claimed}, and never ran"
        elif said != claimed and not (claimed is None and _may_be_killed(history, attempt)):
            how = f"signal {attempt.signal}" if attempt.signal else claimed
            yield f"{name} ended with {said} by its own word, recorded as {how} ({attempt.cause})"


def _may_be_killed(history: History, attempt: AttemptEnd) -> bool:
    """Whether a fault may have come between its last word and its end, or its end and who waits."""
    begun, ended = attempt.placed_at, attempt.finished_at
    return any(
        fault.host == attempt.host and fault.name in KILLS
        and (ended is None or fault.begun_at <= ended)
        and (begun is None or fault.ended_at is None or fault.ended_at >= begun)
        for fault in history.faults
    )  # fmt: skip


def main(argv: list[str]) -> int:
    """Print the violations of the named histories; how many there are, at most 100."""
    count = 0
    for name in argv:
        for violation in check(read(Path(name))):
            print(f"{name}: {violation.invariant}: {violation.text}")
            count += 1
    print(f"{len(argv)} histories checked, {count} violations")
    return min(count, 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
