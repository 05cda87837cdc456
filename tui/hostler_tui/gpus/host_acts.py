"""Drain, undrain and reconnect from the screen: the questions and what they list of the work on
the host."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from hostler.base.errors import HostlerError
from hostler_tui.gpus.detail import find
from hostler_tui.widgets.modal import Ask, Confirm

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp


def drain_command(name: str, reason: str) -> str:
    """The same on the command line."""
    more = ["--reason", reason] if reason else []
    return shlex.join(["hostler", "drain", name, *more])


def work_on(app: LabApp, name: str) -> list[str]:
    """This daemon's work on a host, for people."""
    return [
        f"{run.run_id} {run.pipeline}/{stage.label} of {run.owner}"
        for run in app.lab.runs
        for stage in run.stages
        if (attempt := stage.attempt) and attempt.host == name
        and attempt.finished_at is None
    ]  # fmt: skip


async def drain(app: LabApp, name: str) -> None:
    """Ask for the reason and for confirmation, then drain the host. Within a worker."""
    work = work_on(app, name)
    effects = [f"No new work starts on {name}.", *_goes_on(work)]
    asked = Ask(
        f"Reason for draining {name}, shown to all users", effects, "PSU replacement, back Monday"
    )
    reason = await app.push_screen_wait(asked)
    if reason is None:
        return
    sure = Confirm(
        f"Drain {name}?", [*effects, f"Reason: {reason or 'none given'}"], "drain",
        command=drain_command(name, reason), typed=name if work else "",
    )  # fmt: skip
    if await app.push_screen_wait(sure):
        await _do(app, app.client.drain(name, reason), f"{name}: drained; running work continues")


def _goes_on(work: Sequence[str]) -> list[str]:
    if not work:
        return ["No work of this lab runs there now."]
    more = [f"... and {len(work) - 5} more"] if len(work) > 5 else []
    return ["Running work continues:", *(f"  {one}" for one in work[:5]), *more]


async def undrain(app: LabApp, name: str, reason: str) -> None:
    """Ask, then undrain the host. Within a worker."""
    why = f"It was drained: {reason}" if reason else "It was drained without a reason."
    sure = Confirm(f"Undrain {name}?", [why], "undrain",
                   command=f"hostler undrain {name}")  # fmt: skip
    if await app.push_screen_wait(sure):
        await _do(app, app.client.undrain(name), f"{name}: accepts work again")


async def drain_or_undrain(app: LabApp, name: str) -> None:
    """Drain or undrain, depending on the host's state. Within a worker."""
    host, _ = find(app.lab.told, (name, None))
    if host is None:
        return
    if host.get("drained") is None:
        await drain(app, name)
    else:
        await undrain(app, name, str(host["drained"]))


async def reconnect(app: LabApp, name: str) -> None:
    """Connect at once, even after a refused login."""
    await _do(app, app.client.retry_host(name), f"{name}: connecting")


async def _do(app: LabApp, change: Awaitable[object], done: str) -> None:
    try:
        await change
    except HostlerError as error:
        app.tell_error(error)
        return
    app.tell(done)
    app.action_refresh()
