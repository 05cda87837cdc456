"""`hostler.gpus/1` objects for tests."""

from __future__ import annotations

from typing import Any

GIB = 1024**3
A100 = ("NVIDIA A100-SXM4-80GB", 85520809984)
RTX3090 = ("NVIDIA GeForce RTX 3090", 25447170048)
NOW = 1764000000.0

_STATES = {
    ".": "free", "L": "leased", "i": "idle", "F": "foreign", "C": "contested", "D": "drained",
    "E": "unhealthy", "?": "unknown",
}  # fmt: skip


def gpu(index: int, state: str, card: tuple[str | None, int | None] = A100, **more: Any) -> Any:
    """One GPU by the letter of its state."""
    word = _STATES[state]
    made: dict[str, Any] = {
        "index": index, "uuid": f"GPU-{index}", "model": card[0], "state": word, "why": None,
        "owners": ["ana"] if word in ("leased", "idle", "foreign", "contested") else [],
        "since": None, "until": None, "memory_total": card[1], "memory_used": 0, "utilization": 0.0,
        "temperature": 31.0, "power": 56.2,
    }  # fmt: skip
    return {**made, **more}


def host(name: str, states: str, card: tuple[str | None, int | None] = A100, **more: Any) -> Any:
    """A host by the letters of its GPUs."""
    made: dict[str, Any] = {
        "host": name, "transport": "ssh", "condition": "up", "problem": None, "age_s": 0.8,
        "gpu_problem": None, "drained": None, "labels": {},
        "gpus": [gpu(n, state, card, uuid=f"GPU-{name}-{n}") for n, state in enumerate(states)],
    }  # fmt: skip
    return {**made, **more}


def fleet(*hosts: dict[str, Any], source: str = "daemon") -> Any:
    """The whole object."""
    states = [g["state"] for h in hosts for g in h["gpus"]]
    summary = {"total": len(states), "free": states.count("free")}
    return {
        "schema": "hostler.gpus/1", "at": NOW, "source": source, "summary": summary,
        "hosts": list(hosts),
    }  # fmt: skip
