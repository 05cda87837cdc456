"""What changes a host: drain, give it work again, trust its key, connect. Each asks first."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from hostler.base.errors import HostlerError
from hostler.base.programs import own_argv, safe_environ
from hostler_tui.fleet.detail import find
from hostler_tui.host.rows import Findings
from hostler_tui.widgets.dialog import Confirm
from hostler_tui.widgets.sheet import Ask

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp

DOCTOR_LIMIT = 120.0
"""Seconds after which a check of one host is given up."""


def drain_command(name: str, reason: str) -> str:
    """The same on the command line."""
    more = ["--reason", reason] if reason else []
    return shlex.join(["hostler", "drain", name, *more])


def work_on(app: LabApp, name: str) -> list[str]:
    """What this daemon runs on a host, for people."""
    return [
        f"{run['run_id']} {run['pipeline']}/{stage['label']} of {run['owner']}"
        for run in app.lab.runs
        for stage in run["stages"]
        if (attempt := stage.get("attempt")) and attempt["host"] == name
        and attempt.get("finished_at") is None
    ]  # fmt: skip


async def drain(app: LabApp, name: str) -> None:
    """Ask for the reason and once more, then give the host no new work. Within a worker."""
    work = work_on(app, name)
    effects = [f"No new work starts on {name}.", *_goes_on(work)]
    asked = Ask(
        f"Why is {name} drained? Everybody sees it", effects, "PSU replacement, back Monday"
    )
    reason = await app.push_screen_wait(asked)
    if reason is None:
        return
    sure = Confirm(
        f"Drain {name}?", [*effects, f"Reason: {reason or 'none given'}"], "drain",
        command=drain_command(name, reason), typed=name if work else "",
    )  # fmt: skip
    if await app.push_screen_wait(sure):
        await _do(app, app.client.drain(name, reason), f"{name}: drained; what runs there goes on")


def _goes_on(work: Sequence[str]) -> list[str]:
    if not work:
        return ["Nothing of this lab runs there now."]
    more = [f"... and {len(work) - 5} more"] if len(work) > 5 else []
    return ["What runs there goes on:", *(f"  {one}" for one in work[:5]), *more]


async def undrain(app: LabApp, name: str, reason: str) -> None:
    """Ask, then give the host work again. Within a worker."""
    why = f"It was drained: {reason}" if reason else "It was drained without a reason."
    sure = Confirm(f"Give {name} work again?", [why], "give it work",
                   command=f"hostler undrain {name}")  # fmt: skip
    if await app.push_screen_wait(sure):
        await _do(app, app.client.undrain(name), f"{name}: takes work again")


async def drain_or_undrain(app: LabApp, name: str) -> None:
    """The one that makes sense now. Within a worker."""
    host, _ = find(app.lab.fleet or {"hosts": ()}, (name, None))
    if host is None:
        return
    if host.get("drained") is None:
        await drain(app, name)
    else:
        await undrain(app, name, str(host["drained"]))


async def reconnect(app: LabApp, name: str) -> None:
    """Connect at once, after a refused login too."""
    await _do(app, app.client.retry_host(name), f"{name}: connecting")


async def _do(app: LabApp, change: Awaitable[object], done: str) -> None:
    try:
        await change
    except HostlerError as error:
        app.tell_error(error)
        return
    app.tell(done)
    app.action_refresh()


def trust_in_terminal(app: LabApp, name: str) -> bool:
    """Leave the terminal to `hostler host trust`, which shows the key and asks."""
    try:
        with app.suspend():
            done = subprocess.run(own_argv("host", "trust", name), env=safe_environ())
            input("enter goes back ")
    except SuspendNotSupported:
        app.tell(f"not in this terminal: run hostler host trust {name}", "warning")
        return False
    except EOFError:
        return False
    return done.returncode == 0


async def doctor(name: str) -> Findings:
    """What `hostler doctor` finds on a host, run as a command of its own."""
    argv = own_argv("doctor", name, "--json")
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=safe_environ(),
    )  # fmt: skip
    try:
        async with asyncio.timeout(DOCTOR_LIMIT):
            out, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return Findings(error=f"no answer in {DOCTOR_LIMIT:.0f} s: run hostler doctor {name}")
    except asyncio.CancelledError:
        process.kill()  # the screen was left: nobody waits for it
        raise
    return read_findings(out, errors, name)


def read_findings(out: bytes, errors: bytes, name: str) -> Findings:
    """The checks in the command's answer; its words where it gave none."""
    try:
        told = json.loads(out)["checks"]
    except (ValueError, KeyError, TypeError):
        said = errors.decode(errors="replace").strip().splitlines()
        last = said[-1].removeprefix("hostler: ") if said else ""
        return Findings(error=last or f"hostler doctor {name} said nothing")
    return Findings(checks=tuple(c for c in told if c.get("host") in (name, None)))
