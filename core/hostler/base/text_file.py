"""Reads text files that users name, up to 4 MiB."""

from __future__ import annotations

LARGEST = 4 * 1024 * 1024
"""Bytes. Callers may set a lower limit."""


def read_text(path: str) -> str:
    """The text of a file. Raises OSError, UnicodeDecodeError, or ValueError where it is too large
    (or has no end, as /dev/zero)."""
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST // 1024**2} MiB")
    return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
