"""Named moments at which a fault test makes the agent die, stall or fail.

The same variable as in the daemon (`hostler.base.failpoints`) arms them:
"agent.after_claim:kill@2". They are off, and cost one lookup each, unless HOSTLER_FAILPOINTS is set
in the login's environment on the host.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Dict, List, Tuple


def _read(text: str) -> Dict[str, Tuple[str, float, List[int]]]:
    armed = {}
    for item in text.split(","):
        name, _, rest = item.strip().partition(":")
        if name.startswith("agent."):
            what, _, number = rest.partition("@")
            action, _, seconds = what.partition("=")
            armed[name[len("agent.") :]] = (action, float(seconds or 0), [int(number or 1)])
    return armed


_armed = _read(os.environ.get("HOSTLER_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """Mark the moment `name`. If a failpoint is armed for it, it takes effect here, once."""
    if name not in _armed:
        return
    action, seconds, left = _armed[name]
    left[0] -= 1
    if left[0]:
        return
    del _armed[name]
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "hang":
        time.sleep(seconds)
    else:
        raise OSError("failpoint " + name)
