"""`hostler audit`: who asked for what."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hostler.cli.commands.audit import what
from hostler.model.calls import AuditEntry
from hostler.model.codec import from_answer
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon

AT = 1_790_000_000.0
REFUSED = {"call": "cancel", "run": "rb", "why": "run rb belongs to bo", "times": 100}


def made(call: str, /, **arguments: object) -> AuditEntry:
    return from_answer(AuditEntry, entry(call, **arguments))


def entry(call: str, /, **arguments: object) -> dict[str, Any]:
    return {"at": AT, "uid": 1000, "user": "ana", "call": call, "arguments": arguments}


ENTRIES = [entry("refused", **REFUSED), entry("submit", run="ra", pipeline="x\x1b[2J")]


def test_calls_are_listed_for_scripts_and_people(
    daemon: ScriptedDaemon, hostler: CommandLine
) -> None:
    daemon.on("GET", "/v1/audit", {"entries": ENTRIES})
    piped = hostler("audit")
    first, second = piped.out.splitlines()
    assert first.split("\t")[1:] == ["ana", "refused", what(from_answer(AuditEntry, ENTRIES[0]))]
    assert second.endswith("\tana\tsubmit\trun ra, pipeline x␛[2J")
    shown = hostler("audit", tty=True)
    assert shown.out.splitlines()[0].split() == ["AT", "USER", "CALL", "WHAT"]
    assert "cancel: run rb belongs to bo (100 times that day)" in shown.out
    assert hostler("audit", "--json").json == {"schema": "hostler.audit/1", "entries": ENTRIES}


def test_filters_go_to_the_daemon(daemon: ScriptedDaemon, hostler: CommandLine) -> None:
    daemon.on("GET", "/v1/audit", {"entries": []})
    words = ("--user", "ana", "--since", "2h", "--call", "cancel", "--run", "ra", "--limit", "7")
    ran = hostler("audit", *words, tty=True)
    assert (ran.code, ran.out) == (0, "")
    assert "no such calls" in ran.err
    (asked,) = daemon.requests("GET", "/v1/audit")
    query = dict(asked.query)
    since = float(query.pop("since"))
    assert query == {"user": "ana", "call": "cancel", "run": "ra", "limit": "7"}
    assert time.time() - 7300 < since < time.time() - 7100


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--since", "x"), "should be an age like"), (("--run", "a/b"), "is a stage"),
     (("--limit", "0"), "is not a whole number from 1")],
)  # fmt: skip
def test_wrong_filters_are_wrong_usage(
    hostler: CommandLine, words: tuple[str, str], said: str
) -> None:
    ran = hostler("audit", *words)
    assert ran.code == 2
    assert said in ran.err


def test_what_a_call_was_about_in_words() -> None:
    assert what(made("gc")) == "-"
    assert what(made("drain", host="gpu1", reason="")) == "host gpu1"
    assert what(made("priority", run="ra", priority=-3)) == "run ra, priority -3"
    clean = made("clean", host="gpu1", checkpoints=False, kept=True, until=None)
    assert what(clean) == "host gpu1, kept"
    assert what(made("priority", run="ra", priority=0)) == "run ra, priority 0"
    many = made("refused", call="connect", why="no", times=1000, with_others=True)
    assert what(many) == "connect: no (1,000 times that day, other users included)"
