from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon


def alert(number: int, **changes: Any) -> dict[str, Any]:
    made = {"id": number, "severity": "critical", "at": 0.0, "count": 2, "last_at": 0.0,
            "where": "gpu1:2", "what": "Xid\x1b[2J 79", "remedy": None, "run_id": None,
            "host": "gpu1", "gpu": "GPU-a", "acknowledged_by": None, "acknowledged_at": None,
            "resolved_at": None}  # fmt: skip
    return {**made, **changes}


def test_alerts_are_listed(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    found = {"open": 1, "alerts": [
        alert(9), alert(8, acknowledged_by="ana", acknowledged_at=1.0), alert(7, resolved_at=2.0),
    ]}  # fmt: skip
    daemon.on("GET", "/v1/alerts", found)
    rows = [line.split("\t") for line in hostler("alerts", "--open").out.splitlines()]
    assert [(row[0], row[5]) for row in rows] == [
        ("9", "open"), ("8", "seen by ana"), ("7", "resolved"),
    ]  # fmt: skip
    assert rows[0][6:] == ["Xid␛[2J 79", "-"]
    assert daemon.asked[-1].query == {"open": "1", "limit": "200"}
    assert hostler("alerts", "--json").json == {"schema": "hostler.alerts/1", **found}
    assert hostler("alerts", "-q").out == "9\n8\n7\n"
    daemon.on("GET", "/v1/alerts", {"open": 0, "alerts": []})
    assert "no alerts" in hostler("alerts", tty=True).err


@pytest.mark.parametrize("width", [60, 80])
def test_on_a_narrow_terminal_what_and_remedy_can_be_read(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    what = "gpu1: GPU 2 has fallen off the bus; nothing new is placed on it until it answers again"
    remedy = "Reset it, or reboot the host: hostler drain gpu1 --reason 'GPU 2 is lost'"
    alerts = [alert(9, what=what, remedy=remedy, acknowledged_by="ana"), alert(8, what="short")]
    daemon.on("GET", "/v1/alerts", {"open": 1, "alerts": alerts})
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    shown = hostler("alerts", tty=True).out
    lines = shown.splitlines()
    assert all(len(line) <= width for line in lines)
    assert lines[0].split() == ["ID", "SEVERITY", "LAST", "TIMES", "WHERE", "STATE"]
    told = " ".join(shown.split())
    assert f"{what} try: {remedy}" in told
    assert lines[-1] == "      short"
    assert "seen by" in lines[1]


def test_on_a_wide_terminal_an_alert_is_a_line(
    hostler: CommandLine, daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = [alert(9, what="gpu1 does not answer", remedy="hostler doctor gpu1"), alert(8)]
    daemon.on("GET", "/v1/alerts", {"open": 1, "alerts": alerts})
    monkeypatch.setenv("COLUMNS", "120")
    lines = hostler("alerts", tty=True).out.splitlines()
    assert lines[0].split()[-2:] == ["WHAT", "TRY"]
    assert lines[1].endswith("gpu1 does not answer  hostler doctor gpu1")
    assert len(lines) == 3


def test_alerts_are_acknowledged(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("POST", "/v1/alerts/9/acknowledge", alert(9, acknowledged_by="ana"))
    daemon.on("POST", "/v1/alerts/9/unacknowledge", alert(9))
    ran = hostler("alerts", "ack", "8", "9")
    assert (ran.code, ran.out) == (2, "9: seen by ana\n")
    assert hostler("alerts", "unack", "9").out == "9: open\n"
    assert hostler("alerts", "ack").code == 2
    assert hostler("alerts", "ack", "nine").code == 2
