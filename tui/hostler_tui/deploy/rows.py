"""Columns and rows of services, replicas and releases, filter fields, and how long stopped
services are listed. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hostler.base.dates import local_text
from hostler.base.units import counted, format_age
from hostler.model.views.services import ReleaseView
from hostler.show.progress import Indices, ranges
from hostler_tui.deploy.curves import Curves, cells
from hostler_tui.filtering import Filter, Value
from hostler_tui.services import Replica, Service
from hostler_tui.table_rows import Head, Row

CURVE = 16
"""Cells of the curve of requests."""
SERVICE_HEADS = (
    Head("SERVICE", 12, flex=True), Head("RELEASE", 7), Head("READY", 5, right=True),
    Head("STATE", 10), Head("REQUESTS", CURVE, drop=8), Head("REQ/s", 6, right=True, drop=3),
    Head("ERR/min", 7, right=True, drop=4), Head("P50", 6, right=True, drop=9),
    Head("P95", 6, right=True, drop=5), Head("UP", 6, right=True, drop=6), Head("OWNER", 8, drop=7),
    Head("RESTARTS", 8, right=True, drop=10), Head("ADDRESS", 16, flex=True, drop=2),
)  # fmt: skip
REPLICA_HEADS = (
    Head("REPLICA", 10), Head("REL", 3, right=True, drop=6), Head("STATE", 9),
    Head("HOST", 10), Head("GPUS", 6, drop=4), Head("SINCE", 6, right=True, drop=1),
    Head("RESTARTS", 8, right=True, drop=5), Head("PORT", 5, right=True, drop=7),
    Head("LAST REASON", 14, flex=True, drop=2),
)  # fmt: skip
RELEASE_HEADS = (
    Head("RELEASE", 7), Head("STATE", 10), Head("WHEN", 11, drop=2), Head("BY", 8, drop=3),
    Head("RUN", 8, drop=5), Head("IMAGE", 14, flex=True, drop=4), Head("", 18, flex=True, drop=1),
)  # fmt: skip
FIELDS = ("service", "state", "owner", "release", "run", "host", "ready", "restarts", "address")
"""The fields that a filter may use."""
NARROW = 140
"""Cells of a screen; narrower screens have no space for addresses."""
TARGET = "< rollback target"
STOPPED_S = 7 * 86400.0
"""Seconds for which a stopped service is shown without a filter."""


def ordered(services: Iterable[Service]) -> list[Service]:
    """By name; services of one name by age."""
    return sorted(services, key=lambda one: one.name)


def service_rows(
    services: Iterable[Service],
    wanted: Filter,
    now: float,
    curves: Mapping[str, Curves],
    *,
    width: int,
    stale: bool = False,
) -> list[Row]:
    """The services that match the filter; without a filter, none that was stopped long ago."""
    recent = (one for one in ordered(services) if wanted or not is_old(one, now))
    shown = (one for one in recent if wanted.holds(_fields(one)))
    is_narrow = width < NARROW
    return [_service_row(one, curves.get(one.key), now, stale, is_narrow) for one in shown]


def is_old(one: Service, now: float) -> bool:
    """Whether it was stopped so long ago that only a filter shows it."""
    return one.is_stopped and now - one.since >= STOPPED_S


def _service_row(
    one: Service, curves: Curves | None, now: float, stale: bool, is_narrow: bool
) -> Row:
    ready = "-" if one.is_stopped else f"{one.ready}/{one.wanted}"
    role = "" if one.ready >= one.wanted else "warn"
    is_dim = stale or one.is_stopped
    name = f"{one.name}~" if stale else one.name
    return Row(
        one.key,
        (
            (name, "dim" if is_dim else "title"), one.release_text,
            (ready, "dim" if is_dim else role), (one.state, "dim" if is_dim else one.state),
            *cells(one, curves, CURVE),
            _ago(one.since, now) if one.ready else "-", one.owner, str(one.restarts),
            address_text(one, is_narrow=is_narrow),
        ),
        role="dim" if is_dim else "",
    )  # fmt: skip


def address_text(one: Service, *, is_narrow: bool = False) -> str:
    """Where it is reached: at the gateway, or at the host of its one replica: on loopback, where it
    is not published. On narrow screens its path at the gateway, or its name and port; all of it
    stands above the replicas."""
    if one.url is not None:
        *_, where, path = one.url.split("/", 3)
        return (f"/{path}" if path else where) if is_narrow else one.url
    there = [replica.view for replica in one.replicas if replica.view.port is not None]
    return f"{there[0].address or there[0].host}:{there[0].port}" if len(there) == 1 else "-"


def _fields(one: Service) -> Mapping[str, Value]:
    hosts = dict.fromkeys(r.view.host for r in one.replicas if r.view.host)
    return {
        "service": one.name, "state": one.state, "owner": one.owner, "release": one.release_text,
        "run": " ".join(part.run_id for part in one.parts), "host": " ".join(hosts),
        "ready": one.ready, "restarts": one.restarts, "address": address_text(one),
    }  # fmt: skip


def replica_rows(replicas: Sequence[Replica], indices: Indices, now: float) -> list[Row]:
    """All replicas of a service."""
    return [_replica_row(replica, indices, now) for replica in replicas]


def _replica_row(replica: Replica, indices: Indices, now: float) -> Row:
    view, number = replica.view, replica.number
    return Row(
        replica.key,
        (
            view.name, "-" if number is None else str(number), (view.state, view.state),
            view.host or "-", gpus_text(view.gpus, indices), _ago(view.since, now),
            str(view.restarts), "-" if view.port is None else str(view.port),
            view.error or "-",
        ),
    )  # fmt: skip


def gpus_text(uuids: Sequence[str], indices: Indices) -> str:
    """ "0,2-3": their numbers on the host; "-" for none, "2 GPUs" if the numbers are unknown."""
    known = sorted(indices[uuid] for uuid in uuids if uuid in indices)
    return counted(len(uuids), "GPU") if len(known) < len(uuids) else ranges(known) or "-"


def release_rows(one: Service, images: Mapping[str, str], now: float) -> list[Row]:
    """The newest first. `images`: of the runs whose image was requested."""
    target = one.target
    return [
        _release_row(
            replace(release, state="stopped")
            if one.is_stopped and release is one.live
            else release,
            images.get(release.run_id, ""),
            now,
            is_target=release is target,
        )
        for release in one.releases
    ]


def _release_row(release: ReleaseView, image: str, now: float, *, is_target: bool) -> Row:
    return Row(
        str(release.number),
        (
            (str(release.number), "title"), (release.state, release.state),
            local_text("%m-%d %H:%M", release.at), release.by, release.run_id, image or "-",
            (TARGET, "accent") if is_target else said_of(release, now),
        ),
    )  # fmt: skip


def said_of(release: ReleaseView, now: float) -> str:
    """The reason for its state; for the live release, how long it has been live."""
    if release.state == "live" and not release.reason:
        return f"for {_ago(release.changed_at, now)}"
    return release.reason


def _ago(since: float | None, now: float) -> str:
    return "-" if since is None else format_age(max(0.0, now - since))


def summary(services: Sequence[Service]) -> str:
    """ "services 5   ready 3   shifting 1   failing 1"."""
    counts: dict[str, int] = {}
    for one in services:
        counts[one.state] = counts.get(one.state, 0) + 1
    parts = [f"services {len(services)}", *(f"{state} {n}" for state, n in counts.items())]
    return "   ".join(parts)
