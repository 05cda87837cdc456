"""Signals of programs that tests start."""

from __future__ import annotations

import signal


def hears_ctrl_c() -> None:
    """`preexec_fn` of a program that is sent SIGINT: where the tests run in the background, a shell
    has all that they start ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
