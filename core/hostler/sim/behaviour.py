"""Behaviour of a simulated stage, from its variable SIM or its attempt: words of SIM, default
duration and exit code, log, metrics, files.

    SIM="seconds=3 exit=0 lines=10 metric.accuracy=0.93 metric.loss=2.3:0.4 write=model.pt:12000"

Everything here is a pure function of the attempt and of how long it has run, so that a look, a log
and an archive read at any time agree with each other.
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

VARIABLE = "SIM"
_NUMBERS = {"seconds": float, "exit": int, "lines": int, "memory": float, "util": float,
            "term": float, "stray": int, "setup": float, "setup_exit": int, "ready": float,
            "sick": float, "rate": float, "latency": float, "errors": float}  # fmt: skip
_FLAGS = ("oom", "gpu_oom", "ignore_term", "catches", "saves")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a workload runs and ends without interference."""

    seconds: float
    """Seconds of the lab's time, from start to end."""
    exit: int = 0
    lines: int = 10
    """Lines of output, evenly over the time."""
    memory: float = 0.6
    """Part of each GPU's memory in use while it runs, 0 to 1."""
    util: float = 85.0
    """Percent, roughly."""
    setup: float = 0.0
    """Seconds that its setup takes."""
    setup_exit: int = 0
    ready: float = 0.0
    """For a service: seconds from its start until it answers."""
    sick: float | None = None
    """For a service: seconds from its start until it stops answering."""
    rate: float = 0.0
    """Requests per second that its service gets at the gateway."""
    latency: float = 50.0
    """Milliseconds that an answer usually takes."""
    errors: float = 0.0
    """Part of its answers that fail, 0 to 1."""
    term: float = 0.0
    """Seconds it takes to end after TERM."""
    oom: bool = False
    """The kernel kills it for its memory at the end."""
    gpu_oom: bool = False
    """It ends with CUDA's message for too little memory."""
    stray: int | None = None
    """Index of a GPU that it uses without an assignment; only a process can."""
    ignore_term: bool = False
    """Only KILL ends it."""
    catches: bool = False
    """It catches signals that warn about its time limit."""
    saves: bool = False
    """It has written to its checkpoint when it ends."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Values at the end; before, they approach them."""
    metrics_from: Mapping[str, float] = field(default_factory=dict)
    """Start values of metrics; others start at 0."""
    writes: Mapping[str, int] = field(default_factory=dict)
    """Path -> bytes of files that it writes into its folder, the last file at its end."""
    no_output: tuple[str, ...] = ()
    """Paths that it declares and does not write."""
    start_error: str = ""
    """The runtime's error when it cannot be started."""
    blames_host: str = ""
    """The runtime's error when it cannot be started, in words that blame the host."""


def behaviour_of(attempt_id: str, env: Mapping[str, str]) -> Behaviour:
    """The behaviour of an attempt with these variables. Raises ValueError naming the wrong word."""
    chance = _fractions(attempt_id)
    found = Behaviour(
        seconds=round(5 + 35 * next(chance), 1),
        lines=20 + int(60 * next(chance)),
        memory=round(0.25 + 0.6 * next(chance), 3),
        util=round(55 + 42 * next(chance)),
        metrics={"accuracy": round(0.85 + 0.14 * next(chance), 4)},
    )
    told = env.get(VARIABLE)
    return found if told is None else _told(replace(found, metrics={}), told)


def _told(found: Behaviour, text: str) -> Behaviour:
    changes: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    begins: dict[str, float] = {}
    missing: list[str] = []
    writes: dict[str, int] = {}
    for word in shlex.split(text):
        key, _, value = word.partition("=")
        try:
            if key.startswith("metric."):
                name = key.removeprefix("metric.")
                begin, _, end = value.rpartition(":")
                metrics[name], begins[name] = float(end), float(begin or 0)
            elif key in _NUMBERS:
                changes[key] = _NUMBERS[key](value)
            elif key in _FLAGS:
                changes[key] = value not in ("", "0")
            elif key == "no_output":
                missing.append(value)
            elif key == "write":
                path, _, size = value.rpartition(":")
                writes[path or value] = int(size) if path else 1000
            elif key in ("start_error", "blames_host"):
                changes[key] = value
            else:
                raise ValueError("no such setting")
        except ValueError as error:
            raise ValueError(f"{VARIABLE}: {word!r}: {error}") from None
    return replace(
        found, **changes, metrics=metrics, metrics_from=begins, no_output=tuple(missing),
        writes=writes,
    )  # fmt: skip


def _fractions(seed: str) -> Iterator[float]:
    """Numbers in [0, 1) that depend on the seed alone."""
    digest = hashlib.sha256(seed.encode()).digest()
    return (byte / 256 for byte in digest)


def wobble(seed: str, at: float) -> float:
    """A number in [-1, 1] that moves slowly with time, differently for each seed."""
    phase = hashlib.sha256(seed.encode()).digest()[0]
    return math.sin(at / 7 + phase) * 0.6 + math.sin(at / 2.3 + 2 * phase) * 0.4


def end_of(behaviour: Behaviour) -> tuple[int, bool]:
    """The exit code, and whether the kernel killed it for its memory."""
    if behaviour.oom:
        return 137, True
    if behaviour.gpu_oom:
        return behaviour.exit or 1, False
    return behaviour.exit, False


def log_text(attempt_id: str, behaviour: Behaviour, elapsed: float, last_words: str = "") -> bytes:
    """Its output after this many seconds; `last_words` once it has ended."""
    count, total = _steps(behaviour, elapsed)
    lines = [f"{attempt_id}: {_said(behaviour, step, total)}" for step in range(1, count + 1)]
    if last_words:
        lines.append(last_words)
    return "".join(line + "\n" for line in lines).encode()


def next_line_at(behaviour: Behaviour, elapsed: float) -> float | None:
    """Seconds after the start at which the next line is written; None: no more lines."""
    count, total = _steps(behaviour, elapsed)
    return None if count >= total else behaviour.seconds * (count + 1) / total


def metrics_text(behaviour: Behaviour, elapsed: float) -> str:
    """Its metrics file after this many seconds: one line for each line of output."""
    if not behaviour.metrics:
        return ""
    count, total = _steps(behaviour, elapsed)
    rows = [{"step": step, **_values(behaviour, step, total)} for step in range(1, count + 1)]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _said(behaviour: Behaviour, step: int, total: int) -> str:
    """A line of its output."""
    if behaviour.rate:
        took = behaviour.latency * (1 + 0.4 * wobble("request", 7.0 * step))
        return f"POST /generate 200 {took:.0f} ms"
    return f"step {step}/{total}{_words(behaviour, step, total)}"


def _words(behaviour: Behaviour, step: int, total: int) -> str:
    return "".join(f"  {k} {v:.4g}" for k, v in _values(behaviour, step, total).items())


def _values(behaviour: Behaviour, step: int, total: int) -> dict[str, float]:
    """The metrics at a step: each time nearer to their end values, with small variations."""
    if step >= total:
        return dict(behaviour.metrics)
    left = math.exp(-4 * step / total)
    found = {}
    for name, end in behaviour.metrics.items():
        begin = behaviour.metrics_from.get(name, 0.0)
        value = end + (begin - end) * left * (1 + 0.25 * wobble(name, step))
        found[name] = round(max(value, min(begin, end)), 6)
    return found


def _steps(behaviour: Behaviour, elapsed: float) -> tuple[int, int]:
    total = max(1, behaviour.lines) if behaviour.metrics else behaviour.lines
    # Times since the epoch are floats: one that is due may be measured a little short.
    if elapsed >= behaviour.seconds - 1e-4:
        return total, total
    return max(0, int(total * elapsed / behaviour.seconds)), total


def written(attempt_id: str, behaviour: Behaviour, elapsed: float) -> dict[str, bytes]:
    """The files that it has written after this many seconds: one after the other, evenly."""
    count = len(behaviour.writes)
    return {
        path: _content(f"{attempt_id}/{path}", size)
        for number, (path, size) in enumerate(behaviour.writes.items(), 1)
        if elapsed >= behaviour.seconds * number / count - 1e-4
    }


def _content(seed: str, size: int) -> bytes:
    block = hashlib.sha256(seed.encode()).hexdigest().encode() + b"\n"
    return (block * (size // len(block) + 1))[:size]


def result_text(attempt_id: str, inputs: Mapping[str, bytes]) -> bytes:
    """The content of an output: its author, and the first line of each input file."""
    lines = [f"made by {attempt_id}"]
    for path, data in sorted(inputs.items()):
        first = data.decode("utf-8", "replace").partition("\n")[0]
        lines.append(f"from {path}: {first}")
    return "".join(line + "\n" for line in lines).encode()
