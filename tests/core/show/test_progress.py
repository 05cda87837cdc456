"""What is said of the stages of a run while somebody follows it."""

from __future__ import annotations

from dataclasses import replace

from hostler.model.attempts import AttemptView
from hostler.model.views.runs import RunView, StageView
from hostler.show.progress import transitions


def test_a_replica_that_becomes_ready_is_told_with_where_it_is_reached() -> None:
    attempt = AttemptView("r7-serve.0-1", "r7", "serve.0", 1, "running", "gpu1", (), 1.0, "process")
    stage = StageView(name="serve.0", status="running", attempt=attempt)
    before = RunView(run_id="r7", stages=(stage,))
    assert transitions(before, before, {}) == []
    ready = replace(stage, attempt=replace(attempt, ready_at=5.0, port=20413))
    after = RunView(run_id="r7", stages=(ready,))
    said = "serve.0: running on gpu1 (ready at 127.0.0.1:20413 there)"
    assert transitions(before, after, {}) == [said]
    assert transitions(after, after, {}) == []
