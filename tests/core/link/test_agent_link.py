"""The agent kept running and listened to, against an agent that does as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError, EngineError, Unreachable
from hostler.link import session
from hostler.link.agent_link import AgentLink
from hostler.model.host_reports import GpuFault
from hostler.model.jobs import Claim
from hostler.ports import Dropped, Exited
from tests.support.programs.scripted_agent import (
    BOOT,
    HASH,
    LOOK,
    heard,
    hello,
    running,
    script,
    starts,
)

pytestmark = pytest.mark.programs

WORKLOAD = {
    "attempt_id": "r1-train-1", "daemon_id": "d", "runtime": "process", "ref": "r1-train-1",
    "running": False, "exit_code": 3,
}  # fmt: skip


async def test_says_hello_and_looks(link: AgentLink, folder: Path) -> None:
    said = await link.connect()
    assert said.boot_id == BOOT
    assert said.agent_version == HASH
    assert said.facts.hostname == "scripted"
    look = await link.look(1234.5, 30.0)
    assert look.asked_at == 1234.5
    assert [gpu.uuid for gpu in look.gpus] == ["GPU-1"]
    assert heard(folder)[0] == {"mode": "serve", "daemon": "daemon-1", "protocol": 1}


async def test_sections_that_are_left_out_are_kept(link: AgentLink, folder: Path) -> None:
    changed = {"g": [[20, 50.0, None, None, None, None]]}
    script(folder, answers={"look": [{"ok": LOOK}, {"ok": changed}]})
    await link.connect()
    first, second = await link.look(1.0, 30.0), await link.look(2.0, 30.0)
    assert second.gpus[0].name == first.gpus[0].name == "Model A100"
    assert second.gpus[0].utilization == 50.0
    assert second.machine == first.machine


async def test_requests_are_answered_out_of_order(link: AgentLink, folder: Path) -> None:
    script(folder, answers={"slow": "ignore"})
    await link.connect()
    slow = asyncio.create_task(link.call("slow", {}, timeout=1.0))
    answers = await asyncio.gather(*(link.call("ping", {}) for _ in range(50)))
    assert answers == [{}] * 50
    with pytest.raises(Unreachable, match="no answer to slow within 1 s"):
        await slow


async def test_pushes_end_with_dropped(link: AgentLink, folder: Path) -> None:
    xid = {"gpu": "GPU-1", "xid": 79, "message": "fell off the bus"}
    script(folder, pushes=[{"exit": WORKLOAD}, {"xid": xid}, {"of": "a newer agent"}])
    await link.connect()
    await link.look(1.0, 30.0)  # a fault is one of a GPU that a look has had
    pushes = link.pushes()
    exited, fault = await anext(pushes), await anext(pushes)
    assert isinstance(exited, Exited)
    assert exited.workload.exit_code == 3
    assert fault == GpuFault("GPU-1", "fell off the bus", 79)
    await link.close()
    assert [type(push) async for push in pushes] == [Dropped]


async def test_pushes_of_a_link_that_is_not_connected_end_at_once(link: AgentLink) -> None:
    assert [type(push) async for push in link.pushes()] == [Dropped]


async def test_claim_bind_release(link: AgentLink, folder: Path) -> None:
    refused = {"ok": {"refused": "GPU 0: in use by bob"}}
    answers = {"claim": {"ok": {"lease_ids": ["l1"], "refused": None}}, "bind": refused}
    script(folder, answers=answers)
    await link.connect()
    claim = Claim(("GPU-1",), "r1-t-1", "d", "ana", memory_floor=1, ignore=("Xorg",))
    assert (await link.claim(claim)).lease_ids == ("l1",)
    assert (await link.bind(["l1"], "123:456", claim)).refused == "GPU 0: in use by bob"
    await link.release(["l1"])
    told = [{k: v for k, v in line.items() if k != "id"} for line in heard(folder)[1:]]
    assert told[0]["claim"]["gpus"] == ["GPU-1"]
    assert told[1:] == [
        {"bind": {"lease_ids": ["l1"], "workload": "123:456", "claim": told[0]["claim"]}},
        {"release": {"lease_ids": ["l1"]}},
    ]


async def test_errors_keep_their_kind(link: AgentLink, folder: Path) -> None:
    engine = {"kind": "EngineError", "message": "no \x1b[31mspace", "remedy": "make some"}
    script(
        folder,
        answers={"a": {"error": engine}, "b": {"error": {"kind": "Odd", "message": "?"}}},
    )
    await link.connect()
    with pytest.raises(EngineError, match="make some") as caught:
        await link.call("a", {})
    assert "\x1b" not in caught.value.message
    assert caught.value.host == "gpu1"
    with pytest.raises(AgentError):
        await link.call("b", {})


async def test_agent_that_dies_is_started_anew_and_asked_again(
    link: AgentLink, folder: Path
) -> None:
    script(folder, answers={"look": [{"ok": LOOK}, "die"]}, stderr="killed")
    await link.connect()
    await link.look(1.0, 30.0)
    script(folder)
    look = await link.look(2.0, 30.0)
    assert look.gpus[0].name == "Model A100"
    assert starts(folder) == 2
    assert await link.call("ping", {}) == {}
    assert starts(folder) == 2


async def test_agent_that_dies_in_the_middle_of_a_line_is_started_anew(
    link: AgentLink, folder: Path
) -> None:
    """It breaks no rule by that: its host is not quarantined."""
    script(folder, answers={"look": {"raw": '{"id":1,"ok":{"boot":', "dies": True}})
    await link.connect()
    script(folder)
    assert (await link.look(1.0, 30.0)).gpus
    assert starts(folder) == 2


async def test_agent_that_dies_in_its_hello_is_no_surprise(link: AgentLink, folder: Path) -> None:
    script(folder, word=None, noise='{"agent":"ready"}\n{"hello":{"pro', stderr="killed")
    with pytest.raises(AgentError, match="the agent ended before it was ready: killed"):
        await link.connect()
    script(folder)
    await link.connect()


async def test_agent_that_keeps_dying_is_given_up(link: AgentLink, folder: Path) -> None:
    link.timings = replace(link.timings, restart_pauses=(0.0, 0.0))
    script(folder, answers={"look": "die"}, stderr="out of memory")
    await link.connect()
    with pytest.raises(Unreachable, match="out of memory"):
        await link.look(1.0, 30.0)
    assert starts(folder) == 3
    assert [type(push) async for push in link.pushes()] == [Dropped]
    script(folder)
    await link.connect()
    assert (await link.look(1.0, 30.0)).gpus


async def test_agent_that_hangs_is_started_anew(link: AgentLink, folder: Path) -> None:
    link.timings = replace(link.timings, hung_after=0.6)
    script(folder, answers={"look": "hang"})
    await link.connect()
    asking = asyncio.create_task(link.look(1.0, 30.0))
    async with asyncio.timeout(30):
        while len(heard(folder)) < 2:
            await asyncio.sleep(0.01)
    script(folder)
    assert (await asking).gpus
    assert starts(folder) == 2


async def test_slow_answers_do_not_count_as_hanging(link: AgentLink, folder: Path) -> None:
    link.timings = replace(link.timings, hung_after=1.5, ping_after=0.3)
    script(folder, answers={"job.stop": "ignore"})
    await link.connect()
    with pytest.raises(Unreachable):
        await link.call("job.stop", {}, timeout=4.0)
    assert starts(folder) == 1


async def test_an_idle_agent_is_pinged(link: AgentLink, folder: Path) -> None:
    link.timings = replace(link.timings, idle_ping=0.2)
    await link.connect()
    async with asyncio.timeout(30):
        while not any("ping" in line for line in heard(folder)):
            await asyncio.sleep(0.01)


MANY = [[f"GPU-{number}", number, "A100", 1000, 400.0] for number in range(200)]
HOSTILE: dict[str, dict[str, Any]] = {
    "no JSON": {"raw": "hello\n"},
    "a list": {"raw": "[]\n"},
    "deep": {"raw": "[" * 100_000 + "\n"},
    "deep but closed": {"raw": '{"a":' + "[" * 40 + "]" * 40 + "}\n"},
    "a long line": {"raw": "x" * 1_000_000, "times": 9},
    "an answer to nothing": {"raw": '{"id":77,"ok":{}}\n'},
    "a strange id": {"raw": '{"id":[1],"ok":{}}\n'},
    "NaN": {"raw": '{"id":1,"ok":{"g":[[NaN]]}}\n'},
    "infinite": {"raw": '{"id":1,"ok":{"g":[[1e999]]}}\n'},
    "bytes": {"raw": "\x00\x01\x02\n"},
    "wrong types": {"ok": {**LOOK, "names": "many"}},
    "no sections": {"ok": {}},
    "no result": {"ok": [1]},
    "a wrong error": {"error": "no"},
    "a wrong push": {"raw": '{"exit":{"attempt_id":5}}\n'},
    "too many GPUs": {
        "ok": {**LOOK, "names": MANY, "g": [LOOK["g"][0]] * 200, "slow": [LOOK["slow"][0]] * 200}
    },
    "a flood": {"raw": '{"of":"something"}\n', "times": 3000},
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_hostile_output_is_quarantined(link: AgentLink, folder: Path, what: str) -> None:
    script(folder, answers={"look": HOSTILE[what]})
    await link.connect()
    pushes = link.pushes()
    with pytest.raises(AgentError):
        await link.look(1.0, 30.0)
    assert [type(push) async for push in pushes] == [Dropped]
    with pytest.raises(AgentError, match="quarantine"):
        await link.connect()
    assert starts(folder) == 1


async def test_faults_of_gpus_that_no_look_has_are_ignored_and_then_quarantined(
    link: AgentLink, folder: Path
) -> None:
    def xid(gpu: str) -> dict[str, Any]:
        return {"xid": {"gpu": gpu, "xid": 79, "message": "m" * 3000}}

    faults = [xid("GPU-none"), xid("GPU-1"), *(xid(f"GPU-x{n}") for n in range(150))]
    script(folder, pushes=faults)
    await link.connect()
    pushes = link.pushes()
    with contextlib.suppress(AgentError):  # they may all be there before it
        await link.look(1.0, 30.0)
    said = [push async for push in pushes]
    (fault,) = [push for push in said if isinstance(push, GpuFault)]
    assert (fault.gpu, len(fault.message)) == ("GPU-1", 500)
    assert isinstance(said[-1], Dropped)
    with pytest.raises(AgentError, match="quarantine"):
        await link.connect()


@pytest.mark.parametrize("of", ["x" * 2_000_000, [[]] * 30_000], ids=["bytes", "values"])
async def test_messages_that_are_large_are_quarantined(
    link: AgentLink, folder: Path, of: object
) -> None:
    """One may hold all that a line may: a second of the daemon's time each."""
    script(folder, pushes=[{"of": of}])
    await link.connect()
    with pytest.raises(AgentError, match="a message of more than"):
        await link.look(1.0, 30.0)
    with pytest.raises(AgentError, match="quarantine"):
        await link.connect()


async def test_answers_of_very_many_values_are_quarantined(link: AgentLink, folder: Path) -> None:
    script(folder, answers={"ping": {"ok": {"of": [[]] * 30_000}}})
    await link.connect()
    with pytest.raises(AgentError, match="more than 20000 values"):
        await link.call("ping", {})
    with pytest.raises(AgentError, match="quarantine"):
        await link.connect()


async def test_runs_may_be_very_many(link: AgentLink, folder: Path) -> None:
    runs = [f"r{number}" for number in range(90_000)]
    script(folder, answers={"run.list": {"ok": {"runs": runs}}})
    await link.connect()
    assert (await link.call("run.list", {"daemon_id": "d"}))["runs"] == runs


async def test_a_hello_of_very_many_values_is_not_read(link: AgentLink, folder: Path) -> None:
    """A host may greet again and again."""
    first = hello()
    first["hello"]["more"] = [[]] * 100_000
    script(folder, hello=first)
    with pytest.raises(AgentError, match="a line of more than"):
        await link.connect()


async def test_messages_that_are_many_bytes_together_are_quarantined(
    link: AgentLink, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_MAX_PUSH_BYTES", 3_000_000)
    script(folder, pushes=[{"of": "x" * 900_000}] * 4)
    await link.connect()
    with pytest.raises(AgentError, match="unasked"):
        await link.look(1.0, 30.0)


async def test_looks_that_are_large_again_and_again_are_quarantined(
    link: AgentLink, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_MAX_LOOK_BYTES", 3000)
    script(folder)
    await link.connect()

    async def look_on() -> None:
        while True:
            await link.look(1.0, 30.0)

    with pytest.raises(AgentError):
        await look_on()
    with pytest.raises(AgentError, match="quarantine"):
        await link.connect()


async def test_quarantine_ends(link: AgentLink, folder: Path) -> None:
    link.timings = replace(link.timings, quarantine=0.0)
    script(folder, answers={"look": HOSTILE["NaN"]})
    await link.connect()
    with pytest.raises(AgentError):
        await link.look(1.0, 30.0)
    script(folder)
    await link.connect()
    assert (await link.look(1.0, 30.0)).gpus


@pytest.mark.parametrize(
    "first",
    [
        {"hello": {"protocol": 2, "agent": HASH, "boot_id": "b", "facts": {}}},
        {"hello": {"protocol": 1, "agent": "0" * 64, "boot_id": "b", "facts": {}}},
        {"hello": {"protocol": 1, "agent": HASH, "boot_id": "b", "facts": {"uid": "root"}}},
        {"hello": []},
        {"error": {"kind": "AgentError", "message": "wrong protocol"}},
        {},
    ],
)
async def test_wrong_hello(link: AgentLink, folder: Path, first: dict[str, Any]) -> None:
    script(folder, hello=first)
    with pytest.raises(AgentError):
        await link.connect()
    script(folder)
    await link.connect()


async def test_closing_under_a_request_ends_it(link: AgentLink, folder: Path) -> None:
    script(folder, answers={"wait": "ignore"})
    await link.connect()
    waiting = asyncio.create_task(link.call("wait", {}, timeout=30))
    async with asyncio.timeout(30):
        while len(heard(folder)) < 2:
            await asyncio.sleep(0.01)
    await link.close()
    with pytest.raises(Unreachable, match="closed"):
        await waiting
    with pytest.raises(Unreachable):
        await link.call("ping", {})
    await link.close()


async def test_connecting_twice_ends_the_first_agent(link: AgentLink, folder: Path) -> None:
    await link.connect()
    (first,) = running(folder)
    await link.connect()
    assert (await link.look(1.0, 30.0)).gpus
    assert starts(folder) == 2
    (second,) = running(folder)
    assert second != first


async def test_a_hello_of_too_many_bytes_is_no_surprise(link: AgentLink, folder: Path) -> None:
    script(folder, hello={"hello": "x" * 9_000_000})
    with pytest.raises(AgentError, match="a line of more than"):
        await link.connect()
