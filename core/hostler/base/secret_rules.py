"""Which names and values of secrets are accepted (8 characters to be masked, 16 KiB, 200 of a
user), and which names look like a secret. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hostler.base.text import shown
from hostler.base.units import KIB

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TAKEN = re.compile(
    r"(?:HOSTLER_|LD_|PYTHON|NVIDIA_).*|PATH|HOME|SHELL|USER|IFS|ENV|BASH_ENV"
    r"|CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER"
)
"""Variables by which a system, an interpreter or Hostler itself works."""
_TELLING = re.compile(r".*(?:token|secret|password|key)", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|true|false", re.IGNORECASE)
SHORTEST = 8
"""Characters. Shorter values are not masked: they would match many words that are not secret."""
MAX_VALUE = 16 * KIB
"""Bytes of one value."""
MAX_LINES = 200
MAX_NAMES = 32
"""Secrets of a stage."""
MAX_VALUES = 64 * KIB
"""Bytes of all of them together."""
MAX_KEPT = 200
"""Secrets of a person."""


def read_secret_name(value: object) -> str:
    """The name of a secret, which is that of a variable and of a file, too. Raises ValueError."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(
            f"{shown(value)} cannot name a secret: use at most 64 of A-Z a-z 0-9 _, and no digit "
            "first"
        )
    if _TAKEN.fullmatch(value):
        raise ValueError(f"{value} cannot name a secret: the system uses this variable")
    return value


def check_secret_value(text: str) -> None:
    """Raises ValueError, without the value, for an unacceptable value."""
    if not text:
        raise ValueError("the value is empty")
    if "\0" in text:
        raise ValueError("the value holds a NUL byte, which no variable can hold")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("the value is no valid Unicode") from None
    if size > MAX_VALUE:
        raise ValueError(f"the value has {size:,} bytes, more than {MAX_VALUE:,}")
    lines = len(text.splitlines())
    if lines > MAX_LINES:
        raise ValueError(f"the value has {lines:,} lines, more than {MAX_LINES}")


def too_large_together(values: Iterable[str]) -> str | None:
    """Why these secrets are too large for one stage together; None: they are not."""
    size = sum(len(value.encode()) for value in values)
    if size <= MAX_VALUES:
        return None
    return f"its secrets have {size:,} bytes together, more than {MAX_VALUES:,}"


def is_masked(text: str) -> bool:
    """Whether a value is long enough to be masked in logs."""
    return len(text.strip()) >= SHORTEST


def looks_secret(name: str, value: str) -> bool:
    """Whether a parameter or variable has the name of a secret, and its value is not just a
    number."""
    return _TELLING.fullmatch(name) is not None and _NUMBER.fullmatch(value.strip()) is None
