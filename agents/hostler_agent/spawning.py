"""Starts the program of a job, and explains why a start failed (no such program on PATH, or the
system's error)."""

from __future__ import annotations

import os
import subprocess
from typing import Dict, List

# Kept here so that only the shim waits for these processes.
_started: List["subprocess.Popen[bytes]"] = []


class Cannot(Exception):
    """The job could not be started; the message is for the person who submitted it."""


def spawn(argv: List[str], env: Dict[str, str], cwd: str, out: int, err: int) -> int:
    """Start a program in a new session. Returns its PID. Raises Cannot if it does not start."""
    try:
        # exec removes the shim's handlers. The shim ignores no signal, since the process would
        # inherit that.
        process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        search = env.get("PATH", "")
        # If a folder in PATH may not be searched, "not found" becomes "permission denied".
        unseen = isinstance(error, (FileNotFoundError, PermissionError)) and "/" not in argv[0]
        if unseen and os.access(cwd, os.X_OK) and not _is_on(search, argv[0]):
            raise Cannot("%s: no such program on PATH (%s)" % (argv[0], search)) from error
        text = getattr(error, "strerror", None) or str(error)
        raise Cannot("%s cannot be run in %s: %s" % (argv[0], cwd, text)) from error
    _started[:] = [process]
    return process.pid


def _is_on(search: str, name: str) -> bool:
    return any(os.path.isfile(os.path.join(path, name)) for path in search.split(os.pathsep))
