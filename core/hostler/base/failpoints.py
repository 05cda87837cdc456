"""Named moments at which a fault test makes this process die, stall or fail.

Off, and one lookup each, unless HOSTLER_FAILPOINTS names them: "after_create:kill",
"before_commit:hang=2", "after_start:error", several with commas between; "@3" behind one means
its third time. Names that begin with "agent." are the agent's, and are passed over here.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hostler.base.errors import ConfigError, Unreachable

VARIABLE = "HOSTLER_FAILPOINTS"


@dataclass(slots=True)
class _Armed:
    action: str
    """ "kill", "hang" or "error"."""
    seconds: float
    left: int
    """The failpoint acts when the code passes it for the `left`-th time from now."""


def _unreachable(message: str) -> Exception:
    return Unreachable("a host", message)


def read_failpoints(text: str) -> dict[str, _Armed]:
    """The failpoints that the variable names. Raises ConfigError for invalid text: a fault test
    that tests nothing must not look like a success."""
    armed = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = item.partition(":")
        what, _, number = rest.partition("@")
        action, _, seconds = what.partition("=")
        try:
            one = _Armed(action, float(seconds or 0), int(number or 1))
        except ValueError:
            action = ""
        if action not in ("kill", "hang", "error"):
            raise ConfigError(
                f"{VARIABLE}: {item!r} is not a failpoint",
                remedy="write NAME:kill, NAME:hang=SECONDS or NAME:error, and @N for its Nth time",
            )
        if not name.startswith("agent."):
            armed[name] = one
    return armed


_armed = read_failpoints(os.environ.get(VARIABLE, ""))
_lock = threading.Lock()


def failpoint(name: str, error: Callable[[str], Exception] = _unreachable) -> None:
    """The moment `name`. A failpoint that is armed here fires once; `error` makes the exception for
    "error"."""
    if not _armed:
        return
    with _lock:
        one = _armed.get(name)
        if one is None:
            return
        one.left -= 1
        if one.left:
            return
        del _armed[name]
    if one.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif one.action == "hang":
        time.sleep(one.seconds)  # the whole process, as a disk that stalls does it
    else:
        raise error(f"failpoint {name}")
