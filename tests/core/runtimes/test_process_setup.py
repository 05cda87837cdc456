"""What the agent is asked of a setup, and what is made of its answers."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any, cast

from hostler.base.secret import Secret
from hostler.model.jobs import GivenSecret, SetupEnd
from hostler.model.timings import RuntimeTimings
from hostler.ports import HostLink
from hostler.runtimes.process.setup import prepare
from tests.core.runtimes.support import MemorySink, make_job, silent

AT_ONCE = RuntimeTimings(setup_first=0.0, setup_last=0.0, job_stop_slack=0.0)
RUNNING = {"state": "running"}


class Host:
    """Answers of an agent, one after the other; the last again and again."""

    host = "gpu1"

    def __init__(self, *answers: dict[str, Any], output: bytes = b"") -> None:
        self.answers, self.output = list(answers), output
        self.asked: list[dict[str, Any]] = []

    async def call(self, verb: str, payload: dict[str, Any], timeout: float) -> dict[str, Any]:
        if verb == "job.log":
            data = self.output[payload["offset"] :]
            return {"offset": payload["offset"], "data": base64.b64encode(data).decode()}
        assert verb == "job.prepare"
        self.asked.append(payload)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def end(self, sink: MemorySink, **more: Any) -> SetupEnd:
        job = replace(make_job("true", image=None), setup="pip install x", **more)
        return await prepare(cast(HostLink, self), job, sink, silent, AT_ONCE)


async def test_it_is_asked_for_once_and_then_awaited() -> None:
    host, sink = Host(RUNNING, RUNNING, {"state": "ready"}, output=b"said\n"), MemorySink()
    given = (GivenSecret("TOKEN", Secret("sesame-open")),)
    end = await host.end(sink, gpus=("GPU-1",), gpu_indices=(0,), secrets=given)
    assert (end.is_ready, bytes(sink.data)) == (True, b"said\n")
    first, *others = host.asked
    assert first["setup"]["text"] == "pip install x"
    assert first["env"]["CUDA_VISIBLE_DEVICES"] == ""
    assert first["secret_variables"] == ["TOKEN"]
    assert [set(other) for other in others] == [{"attempt_id"}] * 2, "secrets travel once"


async def test_how_it_failed_is_passed_on() -> None:
    failed = {"state": "failed", "exit_code": 143, "signal": 15, "late": True, "error": "full"}
    end = await Host(failed).end(MemorySink())
    assert end == SetupEnd(143, 15, late=True, error="full")
    assert not end.is_ready
    assert not (await Host({"state": "failed", "exit_code": 0}).end(MemorySink())).is_ready


async def test_a_host_that_never_ends_it_is_not_believed_for_ever() -> None:
    end = await Host(RUNNING).end(MemorySink(), setup_timeout=0.02, grace=0.0)
    assert end == SetupEnd(late=True)
