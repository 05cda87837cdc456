from __future__ import annotations

from typing import Any

from tests.support.commandline import CommandLine
from tests.support.scripted_daemon import ScriptedDaemon


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
    assert "nothing needs eyes" in hostler("alerts", tty=True).err


def test_alerts_are_acknowledged(hostler: CommandLine, daemon: ScriptedDaemon) -> None:
    daemon.on("POST", "/v1/alerts/9/acknowledge", alert(9, acknowledged_by="ana"))
    daemon.on("POST", "/v1/alerts/9/unacknowledge", alert(9))
    ran = hostler("alerts", "ack", "8", "9")
    assert (ran.code, ran.out) == (2, "9: seen by ana\n")
    assert hostler("alerts", "unack", "9").out == "9: open\n"
    assert hostler("alerts", "ack").code == 2
    assert hostler("alerts", "ack", "nine").code == 2
