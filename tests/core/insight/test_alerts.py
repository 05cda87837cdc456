from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.insight.alerts import DAY, RESOLVES, RULES, Alert, Folded, key_of, rule_of
from hostler.insight.gpu_states import ClassifiedGpu
from hostler.insight.watch import Seen, bad_spots, news
from hostler.model.hosts import Gpu, GpuState, Host, HostCondition, Look
from hostler.model.runs import Event


def event(seq: int, kind: str, at: float | None = None, **fields: Any) -> Event:
    made = Event(seq=seq, at=float(seq) if at is None else at, kind=kind, message=f"{kind} {seq}")
    return replace(made, **{"severity": "error", **fields})


def folded(*events: Event) -> Folded:
    found = Folded()
    found.take(events)
    return found


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        ("host.unreachable", "host.returned"),
        ("host.refused", "host.returned"),
        ("host.refused", "host.removed"),
        ("host.drained", "host.undrained"),
        ("gpu.unhealthy", "gpu.healthy"),
        ("gpu.fault", "gpu.healthy"),
        ("gpu.contested", "gpu.settled"),
        ("attempt.gpu_cut_off", "attempt.gpu_cut_off_over"),
        ("attempt.stray", "attempt.stray_over"),
        ("gpu.contested", "host.removed"),
        ("attempt.failed", "run.succeeded"),
        ("run.failed", "run.cancelled"),
        ("config.refused", "config.loaded"),
    ],
)
def test_a_later_event_resolves_what_it_is_about_and_nothing_else(begins: str, ends: str) -> None:
    about: dict[str, Any] = {"host": "gpu1", "gpu": "GPU-a", "run_id": "r7", "attempt_id": "r7-a-1"}
    other: dict[str, Any] = {"host": "gpu2", "gpu": "GPU-b", "run_id": "r8", "attempt_id": "r8-a-1"}
    found = folded(event(1, begins, **about), event(2, ends, severity="info", **other))
    alert = found.get(1)
    assert alert is not None
    whole = ("config.refused",)
    assert (alert.resolved_at(3) is None) is (begins not in whole)
    found.take([event(3, ends, severity="info", **about)])
    ended = found.get(1)
    assert ended is not None
    assert ended.resolved_at(4) is not None
    assert found.standing() == []


def test_what_an_event_opens_or_resolves_is_given_once() -> None:
    found = Folded()
    about: dict[str, Any] = {"host": "gpu1"}

    def turned(*events: Event) -> list[tuple[int, bool]]:
        return [(alert.id, alert.ended_at is None) for alert in found.take(events)]

    assert turned(event(1, "host.unreachable", **about)) == [(1, True)]
    assert turned(event(2, "host.unreachable", **about)) == [], "it is open"
    back, away = event(3, "host.returned", **about), event(4, "host.unreachable", **about)
    assert turned(back, away) == [(1, False), (1, True)]
    assert turned(event(5, "host.returned", **about)) == [(1, False)]
    assert turned(event(6, "host.returned", **about)) == [], "it is resolved"
    assert turned(event(7, "run.failed", run_id="r7")) == [(7, True)]


def test_a_host_that_hostler_closed_needs_eyes_and_one_that_a_person_closed_does_not() -> None:
    found = folded(
        event(1, "host.drained", severity="info", host="gpu1"),
        event(2, "host.drained", severity="error", host="gpu2"),
    )
    assert [(a.host, a.rule.severity) for a in found.standing()] == [
        ("gpu1", "info"), ("gpu2", "critical"),
    ]  # fmt: skip
    assert "restart gpu2" in str(found.standing()[1].remedy)


def test_what_repeats_is_one_alert_and_what_comes_back_soon_is_open_again() -> None:
    down: dict[str, Any] = {"host": "gpu1"}
    up: dict[str, Any] = {"host": "gpu1", "severity": "info"}
    found = folded(
        event(1, "host.unreachable", 0.0, **down),
        event(2, "host.refused", 10.0, **down),
        event(3, "host.returned", 20.0, **up),
        event(4, "host.unreachable", 100.0, **down),
    )
    (alert,) = found.all()
    assert (alert.id, alert.at, alert.opened_at, alert.last_at, alert.count) == (1, 0, 100, 100, 3)
    assert alert.resolved_at(200.0) is None
    assert alert.rule.severity == "warning"
    found.take([event(5, "host.returned", 200.0, **up), event(6, "host.refused", 5000.0, **down)])
    assert [(a.id, a.count, a.rule.severity) for a in found.all()] == [
        (6, 1, "critical"), (1, 3, "warning"),
    ]  # fmt: skip


def test_a_failed_run_says_how_its_attempt_failed_and_is_old_news_after_a_day() -> None:
    run: dict[str, Any] = {"run_id": "r7"}
    (alert,) = folded(event(1, "attempt.failed", **run), event(2, "run.failed", **run)).all()
    assert (alert.what, alert.count, alert.where) == ("attempt.failed 1", 1, "r7")
    assert "hostler logs r7" in (alert.remedy or "")
    assert alert.resolved_at(2 + DAY - 1) is None
    assert alert.resolved_at(2 + DAY) == 2 + DAY


def test_what_is_no_trouble_is_no_alert() -> None:
    assert rule_of(event(1, "attempt.not_started", severity="info")) is None
    assert rule_of(event(1, "run.submitted", severity="info")) is None
    assert rule_of(event(1, "stop.failed", severity="warning")) is not None


kinds = st.sampled_from([*RULES, *RESOLVES, "run.submitted", "stop.failed"])
names = st.sampled_from(["a", "b"])


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    steps = draw(st.lists(st.tuples(kinds, names, st.sampled_from([1.0, 700.0, 90_000.0]))))
    found, at = [], 0.0
    for seq, (kind, name, step) in enumerate(steps, 1):
        at += step
        about: dict[str, Any] = {"host": name, "gpu": f"GPU-{name}", "run_id": f"r{name}"}
        found.append(event(seq, kind, at, **about))
    return found


@given(events=logs(), cut=st.integers(0, 50))
def test_folding_piece_by_piece_is_folding_at_once(events: list[Event], cut: int) -> None:
    piecewise = folded(*events[:cut])
    piecewise.take(events[cut:])
    assert piecewise.all() == folded(*events).all()


@given(events=logs())
def test_every_trouble_is_counted_once_and_none_is_resolved_before_it_was_told(
    events: list[Event],
) -> None:
    found = folded(*events).all()
    told = [e for e in events if rule_of(e) is not None]
    uncounted = sum(e.kind == "run.failed" for e in told)
    assert len(told) - uncounted <= sum(a.count for a in found) <= len(told)
    first = {e.seq for e in told}
    assert {a.id for a in found} <= first
    assert [a.last_at for a in found] == sorted((a.last_at for a in found), reverse=True)
    for alert in found:
        assert alert.at <= alert.opened_at <= alert.last_at
        assert alert.ended_at is None or alert.ended_at >= alert.last_at
    open_keys = [a.key for a in found if a.ended_at is None and a.rule.lasts]
    assert len(open_keys) == len(set(open_keys))


def seen(state: GpuState, condition: HostCondition = HostCondition.UP, at: float = 10.0) -> Seen:
    gpu = Gpu(uuid="GPU-a", index=2)
    host = Host("gpu1", "ssh", condition, 0.0, look=Look(asked_at=at, boot_id="b", gpus=(gpu,)))
    return Seen(host, (ClassifiedGpu(gpu, state, (), "Xid 79", None),))


def standing(kind: str, **about: Any) -> list[Alert]:
    return folded(event(1, kind, **about)).standing()


@pytest.mark.parametrize(
    ("state", "begins"),
    [(GpuState.UNHEALTHY, "gpu.unhealthy"), (GpuState.CONTESTED, "gpu.contested")],
)
def test_a_gpu_that_stays_out_of_order_is_told_once(state: GpuState, begins: str) -> None:
    now = {"gpu1": seen(state)}
    assert news(now, [], ()) == []
    (told,) = news(now, [], bad_spots(now.values()))
    assert (told.kind, told.host, told.gpu) == (begins, "gpu1", "GPU-a")
    assert told.message == f"gpu1: GPU 2 is {state.value}: Xid 79"
    assert news(now, standing(begins, host="gpu1", gpu="GPU-a"), bad_spots(now.values())) == []


@pytest.mark.parametrize(
    ("alert", "now", "ends"),
    [
        ("gpu.unhealthy", seen(GpuState.FREE), "gpu.healthy"),
        ("gpu.contested", seen(GpuState.LEASED), "gpu.settled"),
        ("gpu.unhealthy", seen(GpuState.UNKNOWN), None),
        ("gpu.unhealthy", seen(GpuState.FREE, HostCondition.UNREACHABLE), None),
        ("gpu.fault", seen(GpuState.FREE, at=0.5), None),
        ("host.unreachable", seen(GpuState.FREE), "host.returned"),
        ("host.refused", seen(GpuState.FREE, HostCondition.REFUSED), None),
        ("host.drained", seen(GpuState.FREE), "host.undrained"),
        ("host.unreachable", None, "host.removed"),
        ("gpu.unhealthy", None, "host.removed"),
    ],
)
def test_the_end_of_a_trouble_is_told_when_it_is_seen(
    alert: str, now: Seen | None, ends: str | None
) -> None:
    told = news({"gpu1": now} if now else {}, standing(alert, host="gpu1", gpu="GPU-a"), ())
    assert [item.kind for item in told] == ([ends] if ends else [])


LASTING = {
    "host.unreachable", "host.refused", "host.starts_nothing", "host.drained", "gpu.fault",
    "gpu.unhealthy", "gpu.contested", "attempt.gpu_cut_off", "attempt.stray", "config.refused",
    "files.expiring", "files.expiring_fetched", "outputs.expiring", "files.over_budget",
    "state.disk_low", "daemon.superseded", "service.failing",
}  # fmt: skip


def test_which_alerts_stand_until_something_resolves_them() -> None:
    assert {str(kind) for kind, rule in RULES.items() if rule.lasts} == LASTING
    closed = rule_of(event(1, "host.drained", severity="error"))
    assert closed is not None
    assert closed.lasts


@pytest.mark.parametrize(("kind", "where"), [("host", "gpu1"), ("drain", "gpu1"), ("noise", "gpu1"),
                                             ("start", "gpu1"), ("kept", "gpu1")])  # fmt: skip
def test_alerts_about_a_host_are_one_a_host(kind: str, where: str) -> None:
    told = event(1, "x", host=where, gpu="GPU-a", run_id="r7", attempt_id="r7-a-1")
    assert key_of(kind, told) == (kind, where)
    assert key_of(kind, event(1, "x")) == (kind, "")


@pytest.mark.parametrize(
    ("topic", "key"),
    [
        ("gpu", ("gpu1", "GPU-a")),
        ("contest", ("gpu1", "GPU-a")),
        ("xid", ("gpu1", "GPU-a")),
        ("cutoff", ("r7-a-1",)),
        ("expiry", ("r7",)),
        ("run", ("r7",)),
        ("config", ()),
        ("state", ()),
        ("disk", ()),
        ("outputs", ()),
        ("files", ("x", "gpu1", "r7", "x 1")),
    ],
)
def test_what_makes_two_events_one_alert(topic: str, key: tuple[str, ...]) -> None:
    told = event(1, "x", host="gpu1", gpu="GPU-a", run_id="r7", attempt_id="r7-a-1")
    assert key_of(topic, told) == (topic, *key)
    bare = event(1, "x")
    assert key_of(topic, bare)[1:] == tuple(
        "" if part not in ("x", "x 1") else part for part in key
    )
    assert key_of("run", event(1, "x", attempt_id="r7-a-1")) == ("run", "r7-a-1")


def test_what_comes_back_within_ten_minutes_is_the_same_trouble() -> None:
    def ids(gap: float) -> list[int]:
        down: dict[str, Any] = {"host": "gpu1"}
        return [a.id for a in folded(
            event(1, "host.unreachable", 5000.0, **down),
            event(2, "host.returned", 6000.0, severity="info", **down),
            event(3, "host.unreachable", 6000.0 + gap, **down),
        ).all()]  # fmt: skip

    assert ids(599.0) == [1]
    assert ids(600.0) == [3, 1]


def test_what_happened_is_another_alert_after_a_day() -> None:
    def counts(gap: float) -> list[int]:
        about: dict[str, Any] = {"host": "gpu1", "gpu": "GPU-a"}
        events = event(1, "gpu.xid", 5e6, **about), event(2, "gpu.xid", 5e6 + gap, **about)
        return [alert.count for alert in folded(*events).all()]

    assert counts(DAY - 1) == [2]
    assert counts(DAY) == [1, 1]


def test_a_run_that_is_forgotten_takes_only_its_own_alerts_along() -> None:
    found = folded(
        event(1, "run.failed", run_id="r7"),
        event(2, "run.failed", run_id="r8"),
        event(3, "host.refused", host="gpu1"),
    )
    found.forget_run("r7")
    assert [alert.id for alert in found.all()] == [3, 2]
    found.take([event(4, "run.failed", run_id="r7")])
    assert [alert.id for alert in found.all()] == [4, 3, 2]
    assert found.seq == 4
    assert Folded().seq == 0


def trouble(host: str, number: int, first: int) -> list[Event]:
    """So many alerts about one host that are old news after a day."""
    return [event(first + n, "workload.unknown", host=host, message=f"{n}") for n in range(number)]


def test_of_one_host_two_hundred_alerts_are_kept_and_the_oldest_tenth_goes() -> None:
    found = folded(*trouble("gpu1", 200, 1), *trouble("gpu2", 5, 201))
    assert len(found.all()) == 205
    found.take(trouble("gpu1", 1, 300))
    assert len(found.all()) == 205, "the same again"
    found.take([event(301, "workload.unknown", host="gpu1", message="new")])
    ids = {alert.id for alert in found.all()}
    assert len(ids) == 186
    assert not ids & set(range(2, 22))
    assert set(range(201, 206)) | {1, 301} <= ids
    found.take(
        [event(400 + n, "workload.unknown", host="gpu1", message=f"m{n}") for n in range(19)]
    )
    assert len(found.all()) == 205
    found.take([event(500, "workload.unknown", host="gpu1", message="more")])
    assert len(found.all()) == 186


def test_a_host_with_too_many_alerts_costs_another_one_none_of_its_older_ones() -> None:
    found = folded(*trouble("gpu2", 5, 1), *trouble("gpu1", 201, 6))
    ids = {alert.id for alert in found.all()}
    assert set(range(1, 6)) <= ids
    assert len(ids) == 5 + 201 - 20


def test_what_still_stands_goes_last() -> None:
    found = folded(
        event(1, "host.unreachable", host="gpu1"),
        event(2, "gpu.fault", host="gpu1", gpu="GPU-a"),
        event(3, "gpu.healthy", severity="info", host="gpu1", gpu="GPU-a"),
        *trouble("gpu1", 199, 4),
    )
    ids = {alert.id for alert in found.all()}
    assert 1 in ids
    assert 2 not in ids
    assert found.standing()[0].id == 1


def test_of_all_hosts_two_thousand_alerts_are_kept() -> None:
    found = Folded()
    for n in range(20):
        found.take(trouble(f"gpu{n}", 100, 1 + 100 * n))
    assert len(found.all()) == 2000
    found.take([event(9000, "state.failed")])
    assert len(found.all()) == 1801


@pytest.mark.parametrize(
    ("alert", "about", "now", "message"),
    [
        ("host.unreachable", {}, seen(GpuState.FREE), "gpu1 answers again"),
        ("host.drained", {}, seen(GpuState.FREE), "gpu1 accepts work again"),
        ("host.drained", {}, None, "gpu1 is no longer in the config"),
        ("gpu.fault", {"gpu": "GPU-a"}, seen(GpuState.FREE), "gpu1: GPU 2 is healthy again"),
        ("gpu.fault", {"gpu": "GPU-b"}, seen(GpuState.FREE), None),
        ("host.starts_nothing", {}, seen(GpuState.FREE), None),
        ("attempt.gpu_cut_off", {}, None, None),
    ],
)
def test_what_is_told_of_an_end(
    alert: str, about: dict[str, Any], now: Seen | None, message: str | None
) -> None:
    told = news({"gpu1": now} if now else {}, standing(alert, host="gpu1", **about), ())
    assert [item.message for item in told] == ([message] if message else [])
    assert all(item.severity == "info" for item in told)


def test_a_host_that_is_still_drained_takes_no_work_yet() -> None:
    now = seen(GpuState.DRAINED)
    drained = replace(now, host=replace(now.host, drained="fans"))
    assert news({"gpu1": drained}, standing("host.drained", host="gpu1"), ()) == []


def test_what_an_earlier_daemon_told_later_than_now_counts_as_before_any_look() -> None:
    now = {"gpu1": seen(GpuState.FREE, at=50.0)}
    told = folded(event(1, "gpu.fault", at=60.0, host="gpu1", gpu="GPU-a")).standing()
    assert news(now, told, (), now=60.0) == []
    assert len(news(now, told, (), now=59.0)) == 1
    looked = {"gpu1": seen(GpuState.FREE, at=60.0)}
    assert news(looked, told, (), now=60.0) == []


def test_nobody_says_why_where_nobody_does() -> None:
    made = seen(GpuState.CONTESTED)
    now = {"gpu1": replace(made, gpus=(replace(made.gpus[0], why=None),))}
    (told,) = news(now, [], bad_spots(now.values()))
    assert told.message == "gpu1: GPU 2 is contested: reason unknown"
    assert told.severity == "error"


def test_an_old_alert_that_is_dropped_does_not_hide_the_present_one_of_its_kind() -> None:
    down: dict[str, Any] = {"host": "gpu1"}
    found = folded(
        event(1, "host.unreachable", 1.0, **down),
        event(2, "host.returned", 2.0, severity="info", **down),
        event(3, "host.unreachable", 1000.0, **down),
        *trouble("gpu1", 199, 2000),
        event(5000, "host.unreachable", 5000.0, **down),
    )
    assert found.get(1) is None
    present = found.get(3)
    assert present is not None
    assert (present.count, present.last_at) == (2, 5000.0)
    assert [alert.id for alert in found.standing()] == [3]


def test_an_alert_about_a_replica_ends_when_it_is_ready_or_its_service_ends() -> None:
    folded = Folded()
    folded.take([
        event(n, "service.failing", run_id="r7", stage=f"serve.{n}", severity="error")
        for n in (1, 2)
    ])  # fmt: skip
    folded.take([event(3, "attempt.ready", run_id="r7", stage="serve.1")])
    assert [a.id for a in folded.standing()] == [2]
    folded.take([event(4, "service.stopping", run_id="r8")])
    assert [a.id for a in folded.standing()] == [2]
    folded.take([event(5, "service.stopping", run_id="r7")])
    assert folded.standing() == []
