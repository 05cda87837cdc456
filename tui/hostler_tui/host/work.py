"""Commands for a host in their own process: check it, and trust its key."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from hostler.base.programs import own_argv, safe_environ
from hostler_tui.host.rows import Findings

if TYPE_CHECKING:
    from hostler_tui.lab_app import LabApp

DOCTOR_LIMIT = 120.0
"""Seconds after which a check of one host is given up."""


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
