"""Runs `hostler doctor` (with its time limit) and `hostler host trust` as separate commands for
the terminal screen."""

from __future__ import annotations

import asyncio
import json
import subprocess

from hostler.base.errors import HostError, HostlerError
from hostler.base.programs import own_argv, safe_environ
from hostler.model.check import Check
from hostler.model.codec import from_answer

DOCTOR_LIMIT_S = 120.0
"""A check of one host is ended after this time."""


class CommandTools:
    """Starts `hostler doctor` and `hostler host trust`."""

    async def doctor(self, name: str) -> tuple[Check, ...]:
        """The checks of `hostler doctor` for a host. Raises HostlerError with its output if there
        are none."""
        process = await asyncio.create_subprocess_exec(
            *own_argv("doctor", name, "--json"), env=safe_environ(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(DOCTOR_LIMIT_S):
                out, errors = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise HostError(
                name,
                f"no answer in {DOCTOR_LIMIT_S:.0f} s",
                remedy=f"Run hostler doctor {name}",
            ) from None
        except asyncio.CancelledError:
            process.kill()  # the screen was left: nobody waits for it
            raise
        return read_checks(out, errors, name)

    def trust(self, name: str) -> bool:
        """Run `hostler host trust` in this terminal."""
        done = subprocess.run(own_argv("host", "trust", name), env=safe_environ())
        return done.returncode == 0


def read_checks(out: bytes, errors: bytes, name: str) -> tuple[Check, ...]:
    """The checks of a host in the command's answer. Raises HostlerError with the command's output
    if it gave none."""
    try:
        told = [from_answer(Check, check) for check in json.loads(out)["checks"]]
    except (ValueError, KeyError, TypeError):
        said = errors.decode(errors="replace").strip().splitlines()
        last = said[-1].removeprefix("hostler: ") if said else ""
        raise HostlerError(last or f"hostler doctor {name} printed nothing") from None
    return tuple(check for check in told if check.host in (name, None))
