"""Code of a test as another user of this machine, in a child process."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable

import pytest

NEEDS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="needs to become other users")
MALLORY, BOB, CAROL = 50_001, 50_002, 50_003
"""Uids that nobody on a machine has."""


def spawn(work: Callable[[], int]) -> int:
    """The PID of a child that does the work; what it gives is the exit status, 99 says that it
    raised something."""
    with warnings.catch_warnings():
        # Python 3.12 and later warn where a test before has left a thread. The child uses none.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
    raise AssertionError  # not reached


def spawn_as(uid: int, work: Callable[[], int]) -> int:
    """The same for work that is done as that user."""

    def become() -> int:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        return work()

    return spawn(become)


def run_as(uid: int, work: Callable[[], str]) -> str:
    """What the work gives as that user; AssertionError when it raised something."""
    reader, writer = os.pipe()

    def tell() -> int:
        os.write(writer, work().encode())
        return 0

    pid = spawn_as(uid, tell)
    os.close(writer)
    with open(reader, "rb") as said:
        text = said.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "it raised something"
    return text
