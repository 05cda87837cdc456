"""Replaces secret values in bytes by asterisks, in each encoding (base64, URL, JSON, shell quotes),
also where a value arrives in two chunks. Pure.

A value is found as it is, line by line, as shells quote it, URL-encoded, in JSON, and in base64 at
any of the three places that it can have in the encoded text. The length never changes, so offsets
into what is masked are those of what came.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from hostler.base.secret_rules import SHORTEST

_WIDTHS = (76, 64)
"""Characters in a line of base64, as `base64` and PEM files write it."""
_IN_HTML = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&"}
"""As Go writes JSON."""
_SHELL_QUOTES = (r"'\''", "'\"'\"'")
"""A single quote as `set -x` of bash and of dash shows it."""
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def patterns_of(values: Iterable[str]) -> tuple[bytes, ...]:
    """All patterns to search for, each once, the longest first."""
    found = {text for value in values for text in _forms(value)}
    return tuple(sorted(found, key=lambda each: (-len(each), each)))


class Masker:
    """Masks a stream. It holds back bytes that may begin a value until more bytes arrive."""

    def __init__(self, values: Iterable[str]) -> None:
        self._patterns = patterns_of(values)
        self._searches = [_search(pattern) for pattern in self._patterns]
        self._firsts = {pattern[0] for pattern in self._patterns}
        self._longest = len(self._patterns[0]) if self._patterns else 0
        self._held = b""
        self._covered = 0
        """The number of held bytes at the start that belong to a value that has ended there."""

    @property
    def held(self) -> int:
        """Bytes that were received and not yet returned."""
        return len(self._held)

    def feed(self, data: bytes) -> bytes:
        """The bytes that are certain by now, masked."""
        if not self._patterns:
            return data
        data = self._held + data
        keep = self._beginning(data)
        spans = [*self._spans(data)]
        masked = self._masked(data, spans)
        # A value that begins in what is held is found there again.
        ends = [self._covered, *(end for begin, end in spans if begin < keep)]
        self._held, self._covered = data[keep:], max(0, max(ends) - keep)
        return masked[:keep]

    def rest(self) -> bytes:
        """The bytes that were held back: the stream has ended."""
        masked = self._masked(self._held, self._spans(self._held))
        self._held, self._covered = b"", 0
        return masked

    def _masked(self, data: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
        result = bytearray(data)
        for begin, end in [*spans, (0, self._covered)]:
            result[begin:end] = b"*" * (end - begin)
        return bytes(result)

    def _spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        for pattern, search in zip(self._patterns, self._searches, strict=True):
            if pattern not in data:  # many times as fast as the expression
                continue
            at = 0
            while (found := search.search(data, at)) is not None:
                yield found.span()
                at = found.end() - len(pattern) + 1

    def _beginning(self, data: bytes) -> int:
        """Where a possible beginning of a value starts; the length if there is none."""
        for at in range(max(0, len(data) - self._longest + 1), len(data)):
            if data[at] in self._firsts and self._may_begin(data[at:]):
                return at
        return len(data)

    def _may_begin(self, end: bytes) -> bool:
        return any(len(end) < len(each) and each.startswith(end) for each in self._patterns)


def plain_forms(values: Iterable[str]) -> tuple[bytes, ...]:
    """The values themselves, and their lines, as far as they are masked."""
    return tuple({_bytes(text) for value in values for text in _texts(value)})


def mask(text: str, values: Iterable[str]) -> str:
    """Mask a whole text; each character of a value becomes one star for each of its bytes."""
    masker = Masker(values)
    data = _bytes(text)
    return (masker.feed(data) + masker.rest()).decode("utf-8", "surrogateescape")


def _search(pattern: bytes) -> re.Pattern[bytes]:
    """Finds a pattern with all that overlap it by its shortest period, as one match."""
    again = pattern[len(pattern) - _period(pattern) :]
    return re.compile(b"%s(?:%s)*" % (re.escape(pattern), re.escape(again)))


def _period(pattern: bytes) -> int:
    """The smallest number of bytes by which a shifted pattern matches itself. Computed by the
    failure function of Knuth, Morris and Pratt (1977)."""
    borders = [0] * len(pattern)
    length = 0
    for at in range(1, len(pattern)):
        while length and pattern[at] != pattern[length]:
            length = borders[length - 1]
        if pattern[at] == pattern[length]:
            length += 1
        borders[at] = length
    return len(pattern) - (borders[-1] if borders else 0)


def _forms(value: str) -> Iterator[bytes]:
    for text in _texts(value):
        yield from _encoded(text)


def _texts(value: str) -> Iterator[str]:
    if len(value.strip()) >= SHORTEST:
        yield value
    for text in (value, *value.splitlines()):
        if len(text.strip()) >= SHORTEST:
            yield text.strip()


def _encoded(text: str) -> Iterator[bytes]:
    plain = _bytes(text)
    yield plain
    for spelled in (quote(plain, safe=""), quote(plain), quote_plus(plain)):
        yield spelled.encode()
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), spelled).encode()
    for spelled in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield _bytes(spelled)
        yield _bytes(spelled.replace("/", r"\/"))
        yield _bytes(spelled.translate(_IN_HTML))
    for quote_mark in _SHELL_QUOTES:
        yield _bytes(text.replace("'", quote_mark))
    for before in range(3):
        inside = _inside(plain, before)
        for width in (len(inside), *(_WIDTHS if before == 0 else ())):
            for at in range(0, len(inside), width):
                if len(piece := inside[at : at + width]) >= SHORTEST:
                    yield piece
                    yield piece.translate(_URL_SAFE)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _inside(plain: bytes, before: int) -> bytes:
    """The base64 characters that depend on these bytes alone, with `before` others before them in
    the first group of three."""
    encoded = base64.b64encode(b"\0" * before + plain)
    first = (before * 8 + 5) // 6
    last = (before + len(plain)) * 8 // 6
    return encoded[first:last]
