"""What all processes of one test run share: a folder, and what only the first of them does.

tests/conftest.py calls `folder` before pytest's workers start; they inherit its variable.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import hostler

VARIABLE = "HOSTLER_TEST_RUN"


def folder() -> Path:
    """The run's folder. Whoever asks first makes it, and removes it at its end. It is short: the
    path of a Unix socket may have 107 bytes."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="ht-", dir="/tmp")
        atexit.register(_remove, os.environ[VARIABLE], os.getpid())
    return Path(os.environ[VARIABLE])


def _remove(made: str, maker: int) -> None:
    if os.getpid() == maker:  # and none that it has forked
        shutil.rmtree(made, ignore_errors=True)


def own(name: str) -> Path:
    """A path in it for this Hostler and this Python: tests start others of another copy."""
    ours = hashlib.sha256("\0".join([sys.executable, *hostler.__path__]).encode())
    return folder() / f"{ours.hexdigest()[:8]}-{name}"


def is_first(name: str) -> bool:
    """Whether nobody in this run has asked for this name before."""
    try:
        own(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
