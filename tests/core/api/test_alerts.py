from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from hostler.base.errors import InputError, NotFoundError
from hostler.base.users import own_name
from hostler.client import Client
from hostler.daemon.assemble import SystemClock
from hostler.model.codec import to_json
from hostler.model.events import EventKind
from hostler.model.records import NewEvent
from tests.support.daemons.served import Served, served
from tests.support.machines.desk import wait_until

if TYPE_CHECKING:
    from hostler.model.views.alerts import AlertList

T = TypeVar("T")
NOW = 1_764_000_000.0


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """One for which time stands still."""
    monkeypatch.setattr(SystemClock, "now", lambda _clock: NOW)
    with served(tmp_path) as running:
        client = Client(running.socket_path)  # its host's alert comes in a moment, and counts
        wait_until(lambda: client.alerts().open == 1, "the host `nowhere` is unreachable")
        yield running


def put(daemon: Served, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, daemon.loop).result(60)


def tell(daemon: Served, kind: str, severity: str = "error", at: float = NOW, **more: Any) -> int:
    made = replace(NewEvent(at=at, kind=EventKind(kind), message=kind, severity=severity), **more)
    return put(daemon, daemon.service.context.store.add_event(made)).seq


def ids(found: AlertList) -> list[int]:
    return [alert.id for alert in found.alerts if alert.host != "nowhere"]


def test_an_alert_is_seen_resolved_and_open_again(daemon: Served) -> None:
    client = Client(daemon.socket_path)
    number = tell(daemon, "gpu.fault", host="gpu1", gpu="GPU-a")
    alert = next(a for a in client.alerts().alerts if a.id == number)
    assert to_json(alert) == {
        "id": number, "severity": "critical", "at": NOW, "count": 1, "last_at": NOW,
        "where": "gpu1", "what": "gpu.fault", "remedy": alert.remedy, "run_id": None,
        "host": "gpu1", "gpu": "GPU-a", "acknowledged_by": None, "acknowledged_at": None,
        "resolved_at": None,
    }  # fmt: skip
    assert "hostler doctor gpu1" in str(alert.remedy)
    before = client.alerts().open
    seen = client.acknowledge(number)
    assert (seen.acknowledged_by is not None, seen.acknowledged_at) == (True, NOW)
    assert client.alerts().open == before - 1
    assert number not in ids(client.alerts(open_only=True))
    assert client.unacknowledge(number).acknowledged_by is None
    assert client.alerts().open == before
    client.acknowledge(number)
    tell(daemon, "gpu.healthy", "info", NOW + 1, host="gpu1", gpu="GPU-a")
    (over,) = [a for a in client.alerts().alerts if a.id == number]
    assert over.resolved_at == NOW + 1
    assert number not in ids(client.alerts(open_only=True))
    tell(daemon, "gpu.fault", "error", NOW + 2, host="gpu1", gpu="GPU-a")
    (again,) = [a for a in client.alerts(open_only=True).alerts if a.id == number]
    assert (again.count, again.acknowledged_by) == (2, None)


def test_acknowledging_outlives_the_daemon(daemon: Served, tmp_path: Path) -> None:
    number = tell(daemon, "config.refused")
    Client(daemon.socket_path).acknowledge(number)
    daemon.service.alerts._folded = None  # as a new daemon begins
    daemon.service.alerts._acknowledged = {}
    (alert,) = [a for a in Client(daemon.socket_path).alerts().alerts if a.id == number]
    assert alert.acknowledged_at == NOW
    calls = [entry.call for entry in put(daemon, daemon.service.context.store.audit())]
    assert "acknowledge" in calls


def test_events_tell_who_acknowledged_an_alert(daemon: Served) -> None:
    number, client = tell(daemon, "gpu.fault", host="gpu7", gpu="GPU-z"), Client(daemon.socket_path)
    client.acknowledge(number)
    client.unacknowledge(number)
    told = [line.event for line in client.events(host="gpu7") if line.event]
    assert [(e.kind, e.message) for e in told[-2:]] == [
        ("alert.acknowledged", f"alert {number} acknowledged: gpu.fault"),
        ("alert.unacknowledged", f"alert {number} unacknowledged: gpu.fault"),
    ]
    assert {event.actor for event in told[-2:]} == {own_name()}


def test_what_is_not_there_cannot_be_acknowledged(daemon: Served) -> None:
    client = Client(daemon.socket_path)
    with pytest.raises(NotFoundError, match="no alert 999999"):
        client.acknowledge(999_999)
    with pytest.raises(InputError):
        client.acknowledge(-1)
    with pytest.raises(InputError):
        client.alerts(limit=0)
