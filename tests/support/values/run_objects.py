"""Views of runs for tests."""

from __future__ import annotations

from typing import Any

from hostler.model.codec import from_answer, to_json
from hostler.model.views.history import HistoryRow
from hostler.model.views.runs import AttemptView, RunDetail, StageView

NOW = 1764000000.0


def attempt(phase: str = "running", number: int = 1, **more: Any) -> AttemptView:
    """An attempt on gpu1."""
    made: dict[str, Any] = {
        "attempt_id": f"r7-train-{number}", "run_id": "r7", "stage": "train", "number": number,
        "phase": phase, "host": "gpu1", "gpus": ["GPU-gpu1-0", "GPU-gpu1-1"],
        "placed_at": NOW - 100, "runtime": "process", "launched_at": NOW - 90,
        "finished_at": None, "duration": None, "exit_code": None, "signal": None, "cause": None,
        "detail": "",
    }  # fmt: skip
    return from_answer(AttemptView, {**made, **more})


def stage(name: str = "train", status: str = "waiting", **more: Any) -> StageView:
    """A stage in a status, with the attempt that goes with it."""
    phases = {"starting": "starting", "running": "running", "succeeded": "succeeded",
              "failed": "failed"}  # fmt: skip
    made: dict[str, Any] = {
        "name": name, "base": name.split(".")[0], "label": name, "kind": "task", "status": status,
        "needs": [], "command": ["x"], "image": None, "runtime": "process", "gpus": 2,
        "attempt": attempt(phases[status]) if status in phases else None, "reason": None,
        "progress": None, "kept": False,
    }  # fmt: skip
    made["attempts"] = [made["attempt"]] if made["attempt"] else []
    return from_answer(StageView, to_json({**made, **more}))


def run(*stages: StageView, outcome: str | None = None, **more: Any) -> RunDetail:
    """A run of these stages."""
    made: dict[str, Any] = {
        "schema": "hostler.run/1", "run_id": "r7", "pipeline": "digits", "title": "",
        "owner": "ana", "uid": 1000, "state": outcome or "running", "outcome": outcome,
        "submitted_at": NOW - 192, "started_at": NOW - 192,
        "finished_at": NOW if outcome else None, "cancelled_by": None,
        "priority": 0, "params": {}, "retry_of": None, "source": {},
        "stages": list(stages) or [stage()],
    }  # fmt: skip
    return from_answer(RunDetail, to_json({**made, **more}))


def summary(run_id: str = "r7", state: str = "running", **more: Any) -> HistoryRow:
    """A row of GET /v1/runs."""
    made: dict[str, Any] = {
        "run_id": run_id, "pipeline": "digits", "owner": "ana", "uid": 1000,
        "submitted_at": NOW - 192, "started_at": NOW - 192, "state": state,
        "outcome": None, "finished_at": None,
        "stage_count": 3, "phases": {"succeeded": 1, "running": 1}, "title": "", "cause": None,
    }  # fmt: skip
    return from_answer(HistoryRow, {**made, **more})


def kept(*parts: dict[str, Any], run_id: str = "r7", **changes: Any) -> dict[str, Any]:
    """What is kept of a run: artifacts, and files that stay on hosts."""
    made = {
        "run_id": run_id,
        "by": None,
        "at": None,
        "until": None,
        "artifacts": [part for part in parts if "host" not in part],
        "remainders": [part for part in parts if "host" in part],
    }
    return {**made, **changes}


def artifact(**changes: Any) -> dict[str, Any]:
    """An output that is there, and that nobody has fetched."""
    made = {
        "stage": "train", "attempt_id": "r7-train-1", "kind": "output", "name": "model",
        "size": 2**30, "files": 1, "partial": False, "fetched_at": None, "present": True,
    }  # fmt: skip
    return {**made, **changes}


def remainder(**changes: Any) -> dict[str, Any]:
    """Files that stay on gpu2, and that nobody has fetched."""
    made = {
        "stage": "train", "attempt_id": "r7-train-1", "host": "gpu2", "path": "/x", "files": 3,
        "size": 3 * 2**30, "names": ["model.pt", "a", "b"], "why": "", "until": 1_796_000_000.0,
        "goes_at": 1_796_000_000.0, "fetched_at": None,
    }  # fmt: skip
    return {**made, **changes}
