"""Text from outside: which control characters are removed before it is shown, how it is cut into
lines and shortened. Pure; on the quick path.

Logs, process names, image names and whatever a host says may carry terminal escapes, bidirectional
overrides and control characters. Text is stored raw and cleaned here on its way to a terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

# Bidirectional controls, zero-width joiners and separators reorder or hide what a person reads.
_HIDDEN = frozenset(
    chr(c)
    for c in (
        0x00AD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF,
        *range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFFF9, 0xFFFC),
        *range(0xE0000, 0xE0080),
    )
)  # fmt: skip


def is_text(value: str) -> bool:
    """Whether it is valid Unicode: arguments, variables and paths with other bytes hold lone
    surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean(text: str, *, keep_newlines: bool = False) -> str:
    """`text` without control characters, escapes or bidirectional tricks.

    Tabs become a space. Newlines become a space too unless `keep_newlines`. Every other control
    character is shown as its picture (ESC becomes `␛`), so that nothing is silently lost.
    """
    plain = text.replace("\n", "") if keep_newlines else text
    if plain.isascii() and plain.isprintable():
        return text
    return "".join(map(_safe_line if keep_newlines else _safe, text))


def clean_line(text: str, width: int) -> str:
    """`clean`, cut to `width` characters with an ellipsis when it is longer."""
    safe = clean(text)
    if len(safe) <= width:
        return safe
    return safe[: max(0, width - 1)] + "…"


def first_of(texts: Sequence[str], most: int) -> str:
    """ "a, b and 7 more": at most that many items."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def shown(value: object) -> str:
    """A value in quotes for a message, safe and short."""
    text = value if isinstance(value, str) else repr(value)
    return f"'{clean_line(text, 60)}'"


def last_words(text: str, width: int) -> str:
    """What a command said on stderr, as one line: of a Python traceback only what it ends with,
    since the way there means nothing to a person."""
    lines = [line for line in text.splitlines() if line.strip()]
    traced = [n for n, line in enumerate(lines) if line.startswith(("Traceback (", '  File "'))]
    if traced:
        ends = [line for line in lines[traced[-1] :] if not line.startswith((" ", "Traceback ("))]
        whole = lines[traced[0]].startswith("Traceback")  # else its beginning was cut off
        lines = (lines[: traced[0]] if whole else []) + ends[-1:]
    return clean_line(" ".join(lines), width)


def _safe_line(char: str) -> str:
    return char if char == "\n" else _safe(char)


@lru_cache(maxsize=2048)  # the same few characters, thousands of times
def _safe(char: str) -> str:
    code = ord(char)
    if char in "\n\t":
        return " "
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000 or char in _HIDDEN:
        return "�"
    if unicodedata.category(char) in {"Cc", "Cn", "Co", "Cs"}:
        return "�"
    return char


def texts_in(value: object) -> Iterator[str]:
    """Every text in a value of TOML or JSON, in order; keys of tables are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


MOST_OF_LINE = 1024 * 1024
"""Bytes. A longer line of a log is given in pieces of about that size."""


class Lines:
    """Cuts what arrives into lines; each byte is looked at once, however long a line is."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.waiting = 0
        """Bytes of the line whose end has not arrived."""

    def feed(self, part: bytes) -> list[bytes]:
        """The lines that end in this part, without their newline."""
        first, *more = part.split(b"\n")
        self._parts.append(first)
        self.waiting += len(first)
        if not more:
            return []
        found = [self.rest(), *more[:-1]]
        self._parts, self.waiting = [more[-1]], len(more[-1])
        return found

    def rest(self) -> bytes:
        """The incomplete last line; it is removed from the buffer."""
        found = b"".join(self._parts)
        self._parts, self.waiting = [], 0
        return found
