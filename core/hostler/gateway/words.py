"""Quotes text for HAProxy's configuration, so that HAProxy never reads it as syntax."""

from __future__ import annotations

import re

_PLAIN = re.compile(rb"[A-Za-z0-9/_.:=,@+*^|~-]")


def word(text: str) -> str:
    """A text as one argument: all bytes but plain letters are escaped by their number."""
    if not text:
        return "''"
    if "\0" in text:
        raise ValueError("HAProxy's configuration holds no NUL")
    return "".join(map(_escaped, text.encode("utf-8")))


def fixed(text: str) -> str:
    """The same for places where HAProxy would replace `%[...]`: the text stays unchanged."""
    return word(text.replace("%", "%%"))


def _escaped(byte: int) -> str:
    one = bytes((byte,))
    return one.decode() if _PLAIN.fullmatch(one) else f"\\x{byte:02x}"
