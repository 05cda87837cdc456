"""Journals that the job itself has written: what they say is a workload, and never a signal."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.model import host_reports
from hostler_agent import journal
from hostler_agent.jobstop import Stopper
from hostler_agent.journal import Job
from hostler_agent.processes import Proc

odd = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(2**70)
    | st.just(float("nan"))
    | st.floats()
    | st.text(max_size=5)
)
events = st.fixed_dictionaries(
    {"event": st.sampled_from(["created", "started", "ended", "?"])},
    optional={
        name: odd | st.lists(odd, max_size=2)
        for name in (
            "daemon_id", "gpus", "owner", "pid", "ticks", "shim", "boot_id", "at", "exit_code",
            "signal", "oom_killed", "error", "grace", "make", "log_cap",
        )
    },
)  # fmt: skip


@given(st.lists(events, max_size=4))
def test_whatever_a_journal_says_is_told_as_a_workload(said: list[dict[str, Any]]) -> None:
    made: Any = {"event": "created", "daemon_id": "d1"}
    job = Job("/jobs/a-1", [made, *said])
    told = json.loads(json.dumps(job.workload(False, "b"), allow_nan=False))
    assert host_reports.workload(told, "work").attempt_id == "a-1"


@pytest.mark.parametrize("said", [{}, {"pid": 0}, {"pid": -1, "ticks": 5}, {"pid": "1"}])
def test_a_start_that_names_no_process_signals_nobody(
    said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`killpg` of 0 would end the agent itself, of -1 all that the login runs."""
    signalled: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, number: signalled.append(pid))
    job = Job("/jobs/a-1", [])
    job.started = journal.started({"event": "started", **said})
    Stopper(Proc(), "boot").signal_group(job, 15)
    assert signalled == []
