"""The answer of `hostler gpus --need N`: yes, no or cannot tell, its exit code, near misses, the
soonest free GPU, and the suggested command. Pure.

Yes, no, or cannot tell: the last if unreachable hosts could change a "no".
"""

from __future__ import annotations

from hostler.base.gpu_models import card_matches, nominal_gib, short_model
from hostler.base.text import first_of
from hostler.base.units import format_duration, format_size
from hostler.show.fleet import host_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostler.model.views.gpus import FleetView, GpuView, HostGpus
    from hostler_agent.json_values import Outgoing

YES, NO, CANNOT_TELL = "yes", "no", "cannot tell"
EXIT_CODES = {YES: 0, NO: 3, CANNOT_TELL: 4}


class Need:
    """The requested GPUs: `gpus` of them, each with `memory` bytes (nominal), of a model, on hosts.

    `spread`: they may lie on several hosts.
    """

    __slots__ = ("gpus", "hosts", "memory", "models", "spread")

    def __init__(
        self,
        gpus: int,
        *,
        memory: int | None = None,
        models: Sequence[str] = (),
        hosts: Sequence[str] = (),
        spread: bool = False,
    ) -> None:
        self.gpus = gpus
        self.memory = memory
        self.models = tuple(models)
        self.hosts = tuple(hosts)
        self.spread = spread

    def fits(self, gpu: GpuView) -> bool | None:
        """Whether a GPU matches the request, whatever its state; None: unknown."""
        return card_matches(gpu.get("model"), gpu.get("memory_total"), self.models, self.memory)

    def command(self, picks: Sequence[tuple[str, list[int]]]) -> str:
        """The `hostler run` command with the same request; for several hosts, with the part that
        one of them has."""
        import shlex

        most = max((len(indices) for _, indices in picks), default=self.gpus)
        words = ["--gpus", str(min(self.gpus, most))]
        if self.memory is not None:
            words += ["--gpu-memory", format_size(self.memory).replace(" ", "")]
        for flag, values in (("--model", self.models), ("--host", self.hosts)):
            for value in values:
                words += [flag, value]
        return f"hostler run {shlex.join(words)} -- CMD"

    def spread_out(self) -> Need:
        """The same need, spread over several hosts."""
        return Need(
            self.gpus, memory=self.memory, models=self.models, hosts=self.hosts, spread=True
        )

    def of_any_memory(self) -> Need:
        """The same need, with any memory size."""
        return Need(self.gpus, models=self.models, hosts=self.hosts, spread=self.spread)

    def of_any_model(self) -> Need:
        """The same need, with any model."""
        return Need(self.gpus, memory=self.memory, hosts=self.hosts, spread=self.spread)


class Answer:
    """`verdict` with its one sentence; `picks` names GPUs by host where the verdict is yes.

    `hopeless`: a no that stays one, since the GPUs asked for do not exist, free or not.
    """

    __slots__ = ("hints", "hopeless", "picks", "sentence", "verdict")

    def __init__(
        self,
        verdict: str,
        sentence: str,
        picks: Sequence[tuple[str, list[int]]] = (),
        hints: Sequence[str] = (),
        *,
        hopeless: bool = False,
    ) -> None:
        self.hopeless = hopeless
        self.verdict = verdict
        self.sentence = sentence
        self.picks = list(picks)
        self.hints = list(hints)

    @property
    def exit_code(self) -> int:
        """0 yes, 3 no, 4 unknown."""
        return EXIT_CODES[self.verdict]

    def to_json(self, need: Need) -> Outgoing:
        """The `need` member of the `hostler.gpus/1` object."""
        return {
            "gpus": need.gpus,
            "gpu_memory": need.memory,
            "models": list(need.models),
            "spread": need.spread,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "picks": [{"host": host, "indices": indices} for host, indices in self.picks],
            "hints": self.hints,
        }


class _Room:
    """The matching GPUs of one host."""

    __slots__ = ("free", "host", "unheard", "unknown")

    def __init__(self, host: HostGpus, need: Need) -> None:
        self.host = host
        self.free: list[GpuView] = []
        self.unknown = 0
        for gpu in host["gpus"]:
            fits = need.fits(gpu)
            if gpu["state"] == "free" and fits:
                self.free.append(gpu)
            elif fits is not False and (gpu["state"] == "unknown" or gpu["state"] == "free"):
                self.unknown += 1
        lost = host.get("condition") != "up" or host.get("gpu_problem") is not None
        self.unheard = not host["gpus"] and lost

    @property
    def name(self) -> str:
        return str(self.host["host"])


def answer(fleet: FleetView, need: Need) -> Answer:
    """The answer to `need`; hosts that were drained cannot be had and change nothing."""
    rooms = [
        _Room(host, need)
        for host in fleet["hosts"]
        if host_matches(host["host"], need.hosts) and host.get("drained") is None
    ]
    picked = _pick(rooms, need)
    if picked:
        return _yes(picked, rooms, need)
    doubtful = _doubtful(rooms, need)
    if doubtful:
        return _cannot_tell(doubtful, rooms)
    return _no(fleet, rooms, need)


def _pick(rooms: Sequence[_Room], need: Need) -> list[tuple[_Room, list[GpuView]]]:
    """The smallest room that is large enough; with `spread`, the largest rooms until it is."""
    fitting = [room for room in rooms if len(room.free) >= need.gpus]
    if fitting:
        best = min(fitting, key=lambda room: len(room.free))
        return [(best, best.free[: need.gpus])]
    picked: list[tuple[_Room, list[GpuView]]] = []
    missing = need.gpus
    for room in sorted(rooms, key=lambda room: -len(room.free)) if need.spread else ():
        taken = room.free[:missing]
        if taken:
            picked.append((room, taken))
            missing -= len(taken)
    return picked if missing == 0 else []


def _doubtful(rooms: Sequence[_Room], need: Need) -> list[_Room]:
    """Hosts that did not (fully) answer and that would make it a yes if all their unknown GPUs were
    free."""
    unsure = [room for room in rooms if room.unknown or room.unheard]
    if need.spread:
        total = sum(len(room.free) + room.unknown for room in rooms)
        enough = total >= need.gpus or any(room.unheard for room in unsure)
        return unsure if enough else []
    return [r for r in unsure if r.unheard or len(r.free) + r.unknown >= need.gpus]


def _yes(
    picked: Sequence[tuple[_Room, list[GpuView]]], rooms: Sequence[_Room], need: Need
) -> Answer:
    parts = []
    for room, gpus in picked:
        indices = ",".join(str(gpu["index"]) for gpu in gpus)
        word = "gpu" if len(gpus) == 1 else "gpus"
        parts.append(f"{room.name} {word} {indices} ({_describe(gpus)})")
    age = max(room.host.get("age_s") or 0.0 for room, _ in picked)
    sentence = f"yes: {' + '.join(parts)}, data {format_duration(round(age))} old"
    others = sum(len(room.free) >= need.gpus for room in rooms) - 1
    if len(picked) == 1 and others > 0:
        sentence += f"; {others} more host{'s fit' if others > 1 else ' fits'}"
    picks = [(room.name, [int(gpu["index"]) for gpu in gpus]) for room, gpus in picked]
    return Answer(YES, sentence, picks)


def _describe(gpus: Sequence[GpuView]) -> str:
    models = sorted({short_model(g.get("model"), g.get("memory_total")) for g in gpus})
    spare = [free_memory(gpu) for gpu in gpus]
    known = [size for size in spare if size is not None]
    if not known:
        return "/".join(models)
    each = " each" if len(gpus) > 1 else ""
    return f"{'/'.join(models)}, {format_size(min(known))} free{each}"


def free_memory(gpu: GpuView) -> int | None:
    """Bytes of memory not in use; None if unknown."""
    total, used = gpu.get("memory_total"), gpu.get("memory_used")
    return None if total is None else int(total) - int(used or 0)


def _cannot_tell(doubtful: Sequence[_Room], rooms: Sequence[_Room]) -> Answer:
    have = max((len(room.free) for room in rooms), default=0)
    who = []
    for room in doubtful:
        count = f" ({room.unknown} GPUs)" if room.unknown else ""
        who.append(f"{room.name}{count} {_silence(room.host)}")
    sentence = f"cannot tell: {have} free on hosts that answer; {first_of(who, 3)}"
    return Answer(CANNOT_TELL, sentence, hints=["hostler doctor shows the problems of a host"])


def _silence(host: HostGpus) -> str:
    age = host.get("age_s")
    if host.get("condition") in ("refused", "connecting"):
        return f"is {host['condition']}"
    if host.get("condition") == "up" and host.get("gpu_problem") is not None:
        return f"shows no GPUs: {host['gpu_problem']}"
    if host.get("condition") == "up" and host.get("problem") is not None:
        return f"cannot say who uses them: {host['problem']}"
    return "has never answered" if age is None else f"is stale for {format_duration(round(age))}"


def _no(fleet: FleetView, rooms: Sequence[_Room], need: Need) -> Answer:
    best = max(rooms, key=lambda room: len(room.free), default=None)
    if best is None:
        return Answer(NO, "no: no matching host accepts work")
    if not best.free:
        some = any(need.fits(gpu) for room in rooms for gpu in room.host["gpus"])
        sentence = "no: none is free" if some else "no: no GPU matches"
    else:
        sentence = f"no: best is {best.name} with {len(best.free)} free"
    sentence += _soonest(fleet, rooms, need)
    there = [sum(need.fits(g) is not False for g in room.host["gpus"]) for room in rooms]
    most = sum(there) if need.spread else max(there)
    if 0 < most < need.gpus:
        whose = "there are" if need.spread else f"{rooms[there.index(most)].name} has the most,"
        sentence = (
            f"no: {whose} {most} such GPU{'s' if most != 1 else ''}, of {need.gpus} requested"
        )
    hints = _near_misses(fleet, rooms, need)
    return Answer(NO, sentence, hints=hints, hopeless=most < need.gpus)


def _soonest(fleet: FleetView, rooms: Sequence[_Room], need: Need) -> str:
    """Where the answer becomes yes first, by the time limits of running work."""
    best: tuple[float, str] | None = None
    for room in rooms:
        gpus = [gpu for gpu in room.host["gpus"] if need.fits(gpu)]
        ends = [until for gpu in gpus if (until := gpu.get("until"))]
        missing = need.gpus - len(room.free)
        if 0 < missing <= len(ends):
            at = sorted(ends)[missing - 1]
            best = min(best, (at, room.name)) if best else (at, room.name)
    if best is None:
        return ""
    wait = format_duration(max(1, round(best[0] - fleet["at"])))
    return f"; {best[1]} has {need.gpus} in {wait} at the latest, by time limits there"


def _near_misses(fleet: FleetView, rooms: Sequence[_Room], need: Need) -> list[str]:
    hints = []
    if not need.spread:
        spread = answer_yes(fleet, need.spread_out())
        if spread:
            hints.append(f"over several hosts: {_names(spread)}; ask with --spread")
    if need.memory is not None:
        smaller = _largest_memory(rooms, need)
        if smaller:
            hints.append(
                f"{need.gpus} with {format_size(smaller)} each are free; "
                f"ask --gpu-memory {nominal_gib(smaller)}GiB"
            )
    if need.models:
        other = answer_yes(fleet, need.of_any_model())
        if other:
            hints.append(f"of another model: {_names(other)}")
    hints += _idle_hints(rooms, need)
    return hints


def answer_yes(fleet: FleetView, need: Need) -> Answer | None:
    """The answer if it is yes, else None."""
    rooms = [
        _Room(host, need)
        for host in fleet["hosts"]
        if host_matches(host["host"], need.hosts) and host.get("drained") is None
    ]
    picked = _pick(rooms, need)
    return _yes(picked, rooms, need) if picked else None


def _names(found: Answer) -> str:
    return " + ".join(f"{host} {','.join(map(str, indices))}" for host, indices in found.picks)


def _largest_memory(rooms: Sequence[_Room], need: Need) -> int | None:
    """The largest memory size per GPU with which one host would have enough free GPUs."""
    anysize = need.of_any_memory()
    best = 0
    for room in rooms:
        sizes = sorted(
            (int(gpu.get("memory_total") or 0) for gpu in _Room(room.host, anysize).free),
            reverse=True,
        )
        if len(sizes) >= need.gpus:
            best = max(best, sizes[need.gpus - 1])
    return best or None


def _idle_hints(rooms: Sequence[_Room], need: Need) -> list[str]:
    hints = []
    for room in rooms:
        idle = [g for g in room.host["gpus"] if g["state"] == "idle" and need.fits(g)]
        if idle and len(room.free) + len(idle) >= need.gpus:
            owners = sorted({str(owner) for gpu in idle for owner in gpu.get("owners") or ()})
            by = f" by {' '.join(owners)}" if owners else ""
            hints.append(f"{room.name} would have enough: {len(idle)} leased{by} but idle")
    return hints[:3]
