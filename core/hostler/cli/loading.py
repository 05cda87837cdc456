"""Load a program's code faster."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_garbage() -> Iterator[None]:
    """For imports: what they make stays. Looking through it for garbage again and again while it
    comes is a sixth of a daemon's start; afterwards every look would go through it once more."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
