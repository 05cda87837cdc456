"""A shared daemon that answers what no daemon does: one clear error, and never a traceback."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hostler.base.dates import clock_text, exact_time
from hostler.base.errors import HostlerError
from hostler.client import AsyncClient, Client
from hostler.quick import socket as quick_socket
from hostler.show.runs import summary_row
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import Answer, ScriptedDaemon, json_lines
from tests.support.values.fleets import fleet, host
from tests.support.values.run_objects import run, summary

NESTED = b"[" * 100_000 + b"]" * 100_000
BROKEN = {
    "nested": NESTED,
    "nested in an object": b'{"runs":' + NESTED + b',"run":' + NESTED + b"}",
    "a number without end": b'{"runs": [%b]}' % (b"9" * 5000),
    "a number": b"7",
    "a text": b'"\xc3("',
    "not JSON": b"<html>",
    "runs of another kind": b'{"runs": [7], "alerts": 3, "events": {}, "stages": [[]], "hosts": 1}',
    "no numbers": b'{"hosts": [], "at": "x", "summary": {}, "runs": [{"run_id": {}}]}',
}
COMMANDS = [
    ["gpus"], ["gpus", "--need", "1"], ["gpus", "--json"], ["ps"], ["runs"], ["show", "r7"],
    ["why", "r7"], ["alerts"], ["usage"], ["audit"], ["compare", "r7", "r8"], ["daemon", "status"],
    ["doctor", "--json"], ["version"], ["events"], ["wait", "r7"], ["ls", "r7/a"], ["hosts"],
]  # fmt: skip


@pytest.mark.programs
@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_no_answer_makes_a_traceback(
    hostler: CommandLine, daemon: ScriptedDaemon, answer: bytes
) -> None:
    daemon.on("GET", "/v1/*", Answer(parts=[answer]))
    for words in COMMANDS:
        said = hostler(*words)
        assert "unexpected" not in said.err, (words, said.err)
        assert "Traceback" not in said.err, (words, said.err)
        if words[0] in ("gpus", "ps", "show"):
            assert (said.code, said.out) == (1, ""), words
            assert "the daemon's answer could not be read: " in said.err


@pytest.mark.parametrize(
    "line", [NESTED, b'{"event": ' + NESTED + b"}", b"{", b"[]", b'{"event": 7}', b"9" * 5000]
)
def test_no_line_of_a_stream_does(
    hostler: CommandLine, daemon: ScriptedDaemon, line: bytes
) -> None:
    daemon.on("GET", "/v1/events", Answer(parts=[*json_lines({}), line + b"\n"]))
    with pytest.raises(HostlerError, match="the daemon's answer could not be read: a line of"):
        list(Client(daemon.path).events())

    async def read() -> list[Any]:
        return [each async for each in AsyncClient(daemon.path).events()]

    with pytest.raises(HostlerError, match="the daemon's answer could not be read: a line of"):
        asyncio.run(read())
    said = hostler("events")
    assert said.code == 1
    assert "the daemon's answer could not be read" in said.err


@pytest.mark.parametrize(
    "headers",
    [
        {"content-range": "bytes x-/y"},
        {"content-range": "bytes 5-9/3"},
        {"content-range": "bytes -5-9/30"},
        {"content-range": "bytes 1_0-20/3_0"},
        {"content-range": f"bytes 0-1/{'9' * 5000}"},
        {},
    ],
)
def test_no_head_of_a_file_does(daemon: ScriptedDaemon, headers: dict[str, str]) -> None:
    where = "/v1/runs/r7/files/a/content"
    daemon.on("GET", where, Answer(body="x" * 100, status=206, headers=headers))
    with pytest.raises(HostlerError, match="could not be read: its head does not say how large"):
        Client(daemon.path).read_file("r7", "a", "model.pt", offset=5)


def test_an_answer_that_ends_as_something_else_is_told_from_a_daemon_that_goes_away(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    head = {"transfer-encoding": "chunked\r\n\r\n-5\r\n"}
    daemon.on("GET", "/v1/*", Answer(headers=head))
    for command in ("gpus", "ps"):
        said = hostler(command)
        assert said.code == 1
        assert "could not be read: the answer's chunks are malformed" in said.err


def test_an_answer_without_end_takes_no_memory_without_end(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_socket, "MOST_OF_VALUE", 1000)
    daemon.on("GET", "/v1/*", Answer(parts=[b" " * 2000, b"{}"]))
    for command in ("gpus", "ps", "events"):
        assert "could not be read: it has no end" in hostler(command).err


@pytest.mark.parametrize("at", [9e18, -9e18, 1e308, float("inf"), float("nan"), 10**17, -(10**17)])
def test_times_that_no_calendar_has_are_shown_as_unknown(
    hostler: CommandLine, daemon: ScriptedDaemon, at: float
) -> None:
    assert clock_text(at) == "?"
    assert exact_time(at) == "?"
    assert summary_row(summary(submitted_at=at, started_at=at), 0.0, piped=False)
    absurd = run(submitted_at=at, started_at=at, finished_at=-at)
    daemon.on("GET", "/v1/runs", {"runs": [absurd]})
    daemon.on("GET", "/v1/runs/*", absurd)
    for words in (["ps"], ["runs"], ["show", "r7"]):
        for tty in (False, True):
            said = hostler(*words, tty=tty)
            assert "unexpected" not in said.err, (words, said.err)


@pytest.mark.parametrize("key", ["age_s", "at"])
@pytest.mark.parametrize("value", [9e18, 1e308, float("inf"), float("nan")])
def test_a_fleet_with_such_numbers_is_no_fleet(
    hostler: CommandLine, daemon: ScriptedDaemon, key: str, value: float
) -> None:
    whole = fleet(host("gpu1", ".."))
    absurd = {**whole, key: value} if key == "at" else fleet(host("gpu1", "..", age_s=value))
    daemon.on("GET", "/v1/gpus", absurd)
    for words in (["gpus"], ["gpus", "--need", "1"], ["gpus", "--html", "-"]):
        said = hostler(*words)
        assert said.code == 1
        assert "the daemon's answer could not be read: " in said.err


def test_what_a_fleet_does_not_say_is_not_known() -> None:
    from hostler.show.fleet import checked

    bare: dict[str, Any] = {"at": 0.0, "summary": {"total": 1, "free": 0}, "hosts": [
        {"host": "a", "condition": "up", "gpus": [{"index": 0, "uuid": "G", "state": "free"}]}
    ]}  # fmt: skip
    gpu = checked(bare)["hosts"][0]["gpus"][0]
    assert (gpu["model"], gpu["power"]) == (None, None)
    with pytest.raises(ValueError, match="an owner is no text"):
        checked({**bare, "hosts": [{**bare["hosts"][0], "gpus": [{**gpu, "owners": [1]}]}]})
