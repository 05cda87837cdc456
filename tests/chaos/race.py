"""Two people's daemons race for the GPUs of the same hosts, until so many were given.

    python -m tests.chaos.race --placements 10000 --seed 1 --keep .chaos

Both queues never run dry, so that both daemons want every GPU that becomes free. One stage in five
is a container, the others are processes, which cost far less, on the same GPUs. Every stage takes a
lock on its GPUs for as long as it lives (hold.c); the lab's own referee sees the containers
besides. Now and then one daemon is killed. Exit 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.checker import Violation
from tests.chaos.history import GrantSeen, History, read
from tests.chaos.watch import HERE, Watch, put_proxies
from tests.chaos.work import write
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, desk_folder
from tests.support.machines.labfixture import own_name

FOLDER = "/srv/hostler-race"
"""On every host: hold, a file for each GPU, and the record of what was held."""
CONFIG = f"""[docker]
network = "none"
[mounts.race]
path = "{FOLDER}"
mode = "rw"
"""
PROCESSES, CONTAINERS = 80, 20
"""Stages of one run."""
OPEN_RUNS = 2
"""Of each person, so that the queue never runs dry."""


@dataclass(frozen=True, slots=True)
class Held:
    """A line of hold.c's record: an attempt got its GPUs, and who held one of them already."""

    at: float
    host: str
    attempt: str
    pid: int
    gpus: tuple[str, ...]
    holders: tuple[str, ...]


def held_lines(host: str, text: str) -> Iterator[Held]:
    """What a host's record says."""
    for line in text.splitlines():
        said = json.loads(line)
        yield Held(
            said["at"], host, said["attempt"], said["pid"], tuple(said["gpus"]),
            tuple(said["holders"]),
        )  # fmt: skip


def placements(seen: Iterable[GrantSeen], held: Iterable[Held]) -> list[GrantSeen]:
    """Every placement once, by what either referee saw of it: `seen` by the container runtime's,
    `held` by the stages' locks. A process that ran twice is two, as two containers would be."""
    containers: dict[str, list[GrantSeen]] = {}
    for grant in seen:
        containers.setdefault(grant.attempt_id, []).append(grant)
    found: list[GrantSeen] = []
    for one in held:
        of_container = containers.pop(one.attempt, None)
        if of_container is None:
            name = f"process {one.pid} of {one.attempt}"
            found.append(GrantSeen(one.at, one.host, name, one.attempt, one.gpus, one.holders))
            continue
        both = (*of_container[-1].holders, *one.holders)
        found += [*of_container[:-1], replace(of_container[-1], holders=both)]
    found += [grant for grants in containers.values() for grant in grants]
    return sorted(found, key=lambda grant: grant.at)


def unseen(phases: Mapping[str, str], held: Iterable[Held]) -> list[str]:
    """Attempts that succeeded without a line in the record: the referee would be blind to them."""
    told = {one.attempt for one in held}
    return [attempt for attempt, phase in phases.items() if phase == "succeeded"
            and attempt not in told]  # fmt: skip


def pipeline(chance: random.Random) -> str:
    """A run of short stages, most of them processes, one GPU each."""

    def stage(name: str, count: int, more: str) -> str:
        cells = ", ".join(
            f"{{ n = {n}, ms = {chance.choice((0, 1, 5, 20, 80))} }}" for n in range(count)
        )
        return (
            f"[stages.{name}]\n{more}\nmatrix = [{cells}]\nfail_fast = false\n"
            f'command = ["{FOLDER}/hold", "{FOLDER}", "{{matrix.ms}}"]\n'
            "resources = { gpus = 1, cpus = 0.1 }\nretries = { max = 3, backoff = '1ms' }\n"
        )

    return (
        'name = "race"\n'
        + stage("process", PROCESSES, 'runtime = "process"')
        + stage("container", CONTAINERS, f'image = "{BUSYBOX}"\nmounts = ["race"]')
    )


def build_hold(folder: Path) -> Path:
    """The referee that stages run, static: it has to run in any container."""
    program = folder / "hold"
    words = ["gcc", "-O2", "-Wall", "-Wextra", "-static", "-o", str(program), str(HERE / "hold.c")]
    subprocess.run(words, check=True)
    return program


def put_files(folder: Path, program: Path, uuids: Sequence[str]) -> None:
    """The folder that hold works in: everybody may lock and write, nobody may make or remove."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "hold"
    target.unlink(missing_ok=True)
    target.write_bytes(program.read_bytes())
    target.chmod(0o755)
    for name in (*uuids, "held.jsonl"):
        (folder / name).write_text("")
        (folder / name).chmod(0o666)


def _folder(host: Host) -> Path:
    return host.root / FOLDER.lstrip("/")


class Race(Watch):
    """A history in which two desks submit."""

    def held(self) -> list[Held]:
        """Every line that a stage wrote so far."""
        return [
            line for host in self.lab.hosts
            for line in held_lines(host.name, (_folder(host) / "held.jsonl").read_text())
        ]  # fmt: skip

    def count(self) -> int:
        """How many placements there were so far."""
        return sum((_folder(h) / "held.jsonl").read_bytes().count(b"\n") for h in self.lab.hosts)

    def _grants(self) -> list[GrantSeen]:
        return placements(super()._grants(), self.held())


def feed(race: Race, desk: Desk, over: threading.Event, chance: random.Random) -> None:
    """Keep a person's queue full until it is over."""
    number = 0
    while not over.is_set():
        if not (desk.state / "hostler.db").exists() or race.open_runs(desk) < OPEN_RUNS:
            number += 1
            race.submit(write(desk.work, f"run-{number}", pipeline(chance)), desk=desk)
        else:
            over.wait(0.2)


def watch_over(race: Race, placements: int, kill_every: float, chance: random.Random) -> None:
    """Until so many were given: tell progress, and kill a daemon now and then."""
    begun, told, kill_at = time.monotonic(), 0.0, time.monotonic() + kill_every
    while (count := race.count()) < placements:
        now = time.monotonic()
        if now - told > 10:
            told = now
            rate = count / max(now - begun, 1) * 60
            print(f"{time.strftime('%H:%M:%S')} {count:,} placements, {rate:.0f} a minute",
                  flush=True)  # fmt: skip
        if kill_every and now > kill_at:
            kill_at = now + kill_every * chance.uniform(0.5, 1.5)
            desk = chance.choice(race.desks)
            with race.recorder.fault("kill daemon"):
                desk.kill_daemon()
                desk.hostler("ps")
        time.sleep(0.25)


def run(lab: Lab, file: Path, count: int, kill_every: float, seed: int) -> list[Violation]:
    """One race on a lab: its history goes to `file`; every promise that it broke."""
    lab.reset()
    with tempfile.TemporaryDirectory() as folder:
        program = build_hold(Path(folder))
        for host in lab.hosts:
            put_files(_folder(host), program, host.gpus.uuids)
    with desk_folder() as one, desk_folder() as two:
        desks = [_desk(lab, one, "ana"), _desk(lab, two, "bo")]
        race = Race(lab, desks[0], file, others=desks[1:], every=5.0)
        over, chance = threading.Event(), random.Random(seed)
        people = [
            threading.Thread(
                target=feed, args=(race, desk, over, random.Random(f"{seed}:{number}")), daemon=True
            )
            for number, desk in enumerate(desks)
        ]
        try:
            for person in people:
                person.start()
            watch_over(race, count, kill_every, chance)
            over.set()
            for person in people:
                person.join()
            return [*race.end(timeout=900), *_blind(race)]
        finally:
            over.set()
            race.close()
            for desk in desks:
                file.with_suffix(f".{desk.home.name}.log").write_text(desk.log())
                desk.close()


def _desk(lab: Lab, folder: Path, user: str) -> Desk:
    desk = Desk.at_lab(lab, folder, user=user, more=CONFIG)
    # The lab's hosts have what this machine has; only GPUs shall be scarce.
    text = desk.config.read_text()
    desk.config.write_text(text.replace(f'user = "{user}"\n', f'user = "{user}"\ncpus = 64\n'))
    return desk


def _blind(race: Race) -> Iterator[Violation]:
    final = read(race.recorder.file).final
    assert final is not None
    for attempt in unseen({a.attempt_id: a.phase for a in final.attempts}, race.held()):
        yield Violation("I1", f"{attempt} succeeded, and no referee saw it")


def summary(history: History) -> str:
    """How much of a race it was: how often one daemon found that the other had been first."""
    grants, final = history.grants, history.final
    assert final is not None
    containers = sum(not grant.container.startswith("process ") for grant in grants)
    second = sum(attempt.cause == "not started" for attempt in final.attempts)
    return (
        f"{len(grants):,} placements ({containers:,} of them containers), "
        f"{sum(bool(grant.holders) for grant in grants)} of a GPU in use, "
        f"{second:,} claims refused since the other was first, {len(history.faults)} kills"
    )


def main(argv: list[str]) -> int:
    """Run it; how many violations there were, at most 100."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.race")
    parser.add_argument("--placements", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, default=Path(".chaos"))
    parser.add_argument("--kill-every", type=float, default=30.0, metavar="SECONDS",
                        help="kill one of the daemons about that often; 0: never")  # fmt: skip
    options = parser.parse_args(argv)
    options.keep.mkdir(parents=True, exist_ok=True)
    file = options.keep / f"race-{options.seed}.jsonl"
    file.unlink(missing_ok=True)
    lab = Lab.up(3, name=own_name("r"), owned=True)
    try:
        put_proxies(lab)
        begun = time.monotonic()
        found = run(lab, file, options.placements, options.kill_every, options.seed)
        took = time.monotonic() - begun
    finally:
        lab.down()
    for violation in found:
        print(f"{file}: {violation.invariant}: {violation.text}")
    print(f"seed {options.seed}: {summary(read(file))} in {took:.0f} s, "
          f"{len(found)} violations; history {file}")  # fmt: skip
    return min(len(found), 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
