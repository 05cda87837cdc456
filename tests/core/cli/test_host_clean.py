"""`hostler host clean HOST`, as it is typed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon

PATH = "/v1/hosts/gpu1/clean"
FOUND = [
    {
        "what": "kept folder",
        "count": 4,
        "bytes": 4096,
        "names": ["r1-a-1", "r2-a-1", "r3-a-1", "x"],
    },
    {"what": "notes of an ended run", "count": 1, "bytes": 0, "names": ["r1"]},
    {"what": "venv", "count": 2, "bytes": 1 << 30, "names": ["v1", "v2"]},
]


def answers(daemon: ScriptedDaemon, found: list[dict[str, Any]], *stays: str) -> None:
    told = {"host": "gpu1", "dry_run": False, "at": 7.5, "found": found, "stays": list(stays)}
    daemon.on("POST", PATH, told)


def asked(daemon: ScriptedDaemon) -> list[dict[str, Any]]:
    return [request.json for request in daemon.requests("POST", PATH)]


def test_a_dry_run_shows_it_and_asks_for_nothing(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    answers(daemon, FOUND, "caches not removed: r9-a-1 is running")
    ran = hostler("host", "clean", "gpu1", "--dry-run", "--kept")
    assert ran.code == 0, ran
    assert ran.out.splitlines() == [
        "gpu1: 4 kept folders (4 KiB): r1-a-1, r2-a-1, r3-a-1 and 1 more would be removed",
        "gpu1: 1 notes of an ended run would be removed",
        "gpu1: 2 virtual environments (1 GiB) would be removed",
    ]
    assert "gpu1: caches not removed: r9-a-1 is running" in ran.err
    assert asked(daemon) == [{"dry_run": True, "checkpoints": False, "kept": True}]


def test_it_asks_before_it_removes(
    hostler: CommandLine, daemon: ScriptedDaemon, terminal: Any
) -> None:
    answers(daemon, FOUND)
    refused = hostler("host", "clean", "gpu1")
    assert refused.code == 2
    assert "--yes" in refused.err
    terminal("n\n")
    assert hostler("host", "clean", "gpu1", tty=True).code == 130
    assert {request["dry_run"] for request in asked(daemon)} == {True}
    ran = hostler("host", "clean", "gpu1", "-y", "--checkpoints")
    assert "gpu1: 2 virtual environments (1 GiB) removed" in ran.out
    assert asked(daemon)[-1] == {
        "dry_run": False, "checkpoints": True, "kept": False, "shown_at": 7.5,
    }  # fmt: skip


def test_where_there_is_nothing_nobody_is_asked(
    hostler: CommandLine, daemon: ScriptedDaemon
) -> None:
    answers(daemon, [])
    ran = hostler("host", "clean", "gpu1")
    assert (ran.code, ran.out) == (0, "gpu1: nothing to remove\n")
    told = hostler("host", "clean", "gpu1", "--json").json
    assert (told["schema"], told["found"]) == ("hostler.host.clean/1", [])
    assert {request["dry_run"] for request in asked(daemon)} == {True}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("clean", "gpu1", "gpu2"), "takes one host"),
        (("trust", "gpu1", "--kept"), "--kept is for hostler host clean"),
        (("trust", "gpu1", "-y"), "--yes is for hostler host clean"),
    ],
)
def test_what_cannot_be_meant_is_told(
    hostler: CommandLine, daemon: ScriptedDaemon, words: tuple[str, ...], said: str
) -> None:
    ran = hostler("host", *words)
    assert ran.code == 2
    assert said in ran.err
    assert not asked(daemon)
