"""Finds placeholders inside quotes of a shell command. Pure.

A value enters as one quoted word. Where quotes are open already, those of the value would close
them, and the shell would read the value itself.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

EXPANDED = "<<"
"""Result of `read` in here-documents and arithmetic: there quotes protect nothing."""
_QUOTES = frozenset(("'", '"', "`", "$'"))
_SUM = "(("
_ENDS = {_SUM: ")", "(": ")", "$(": ")", "${": "}"}
_BEARING = frozenset(("\\", "$"))
_BEFORE_COMMENT = frozenset(" \t\n;&|()<>")
_BEGIN = re.compile(r"<<(-?)[ \t]*((?:[^\s;&|()<>'\"\\]|\\.|'[^'\n]*'|\"[^\"\n]*\")*)")
_BRACKET = re.compile(r"\$\(|\$\{|[)}`]")
_BEGINS = {")": "$(", "}": "${"}
_PLAIN = re.compile(r"[^\\'\"`$#()}<\n]+")


@functools.lru_cache(maxsize=8)  # thousands of cells share a line
def open_at(line: str, place: re.Pattern[str]) -> tuple[str, ...]:
    """The result of `Quotes` for each place in a line."""
    quotes, end, found = Quotes(), 0, []
    for match in place.finditer(line):
        found.append(quotes.read(line[end : match.start()]))
        end = match.end()
    return tuple(found)


class _Document(NamedTuple):
    """A here-document."""

    word: str
    """The word that ends it."""
    tabs: bool
    """Whether tabs may precede that word."""
    is_expanded: bool


class Quotes:
    """The open quotes while a shell line is read piece by piece; between two pieces is a place."""

    def __init__(self) -> None:
        self._open: list[str] = []
        """Quotes, and brackets of commands and variables, the innermost last."""
        self._marks: list[str] = []
        """The quotes among these."""
        self._sums = 0
        """The number of `((` among these."""
        self._is_comment = False
        self._is_first = True
        self._before = "\n"
        """The previous character; a backslash only if it escapes the next one."""
        self._awaited: list[_Document] = []
        """Here-documents that begin at the end of this line."""
        self._in_document = False
        self._line: str | None = ""
        """The current line of a here-document, as far as it was read; None: it cannot end the
        document."""
        self._unclosed = {"$(": 0, "${": 0}
        self._is_backquoted = False
        """As these, in a here-document."""

    def read(self, text: str) -> str:
        """The mark that is open after this text, or affects a following quote; EXPANDED where
        quotes mean nothing; "" for none."""
        at, self._before = 0, self._before if self._is_first else "}"
        self._is_first = False
        while at < len(text):
            if self._in_document:
                at = self._read_document(text, at)
            elif self._is_comment:
                end = text.find("\n", at)
                self._is_comment = end < 0
                at = len(text) if end < 0 else end
            else:
                at = self._read_sign(text, at)
        if self._in_document:
            self._line = None
            return EXPANDED
        if self._marks:
            return self._marks[0]
        if self._sums:
            return EXPANDED
        return self._before if self._before in _BEARING and not self._is_comment else ""

    def _read_document(self, text: str, at: int) -> int:
        end = text.find("\n", at)
        part = text[at : end if end >= 0 else len(text)]
        if self._awaited[0].is_expanded:
            self._count(part)
        if self._line is not None:
            self._line += part
        if end < 0:
            return len(text)
        awaited, line = self._awaited[0], self._line
        if awaited.is_expanded and (self._goes_on() or (len(part) - len(part.rstrip("\\"))) % 2):
            self._line = None  # the next line belongs to this one
            return end + 1
        if line is not None and (line.lstrip("\t") if awaited.tabs else line) == awaited.word:
            self._awaited.pop(0)
            self._in_document = bool(self._awaited)
        self._line, self._before = "", "\n"
        return end + 1

    def _goes_on(self) -> bool:
        return self._is_backquoted or any(self._unclosed.values())

    def _count(self, part: str) -> None:
        """Count the brackets of commands and variables: dash reads up to their ends, whatever the
        previous word."""
        for match in _BRACKET.finditer(part):
            sign = match[0]
            if sign == "`":
                self._is_backquoted = not self._is_backquoted
            elif sign in ("$(", "${"):
                self._unclosed[sign] += 1
            elif self._unclosed[_BEGINS[sign]]:
                self._unclosed[_BEGINS[sign]] -= 1

    def _read_sign(self, text: str, at: int) -> int:
        """Read one character, or all up to the next relevant one; returns the end."""
        plain = _PLAIN.match(text, at)
        if plain is not None:
            self._before = text[plain.end() - 1]
            return plain.end()
        inner = self._open[-1] if self._open else ""
        if inner == "'":
            return self._close(inner, text, at, "'")
        char = text[at]
        if char == "\\":
            self._before = char if at + 1 == len(text) else "}"
            if inner == "$'" and text.startswith("'", at + 1) and self._marks[:2] != [inner] * 2:
                self._marks.insert(
                    0, inner
                )  # for good: dash knows no `$'`, and ends the quote here
            return at + 2
        if inner == "$'":
            return self._close(inner, text, at, "'")
        if inner == "`":
            return self._close(inner, text, at, "`")
        return self._read_command(inner, text, at, char)

    def _close(self, inner: str, text: str, at: int, mark: str) -> int:
        if text[at] == mark:
            self._leave()
        self._before = text[at]
        return at + 1

    def _enter(self, mark: str) -> None:
        self._open.append(mark)
        if mark in _QUOTES:
            self._marks.append(mark)
        self._sums += mark == _SUM

    def _leave(self) -> None:
        mark = self._open.pop()
        if mark in _QUOTES:
            self._marks.pop()
        self._sums -= mark == _SUM

    def _read_command(self, inner: str, text: str, at: int, char: str) -> int:
        """In a command, between double quotes, or in the brackets of a variable."""
        before, self._before = self._before, char
        if text.startswith("$$", at):  # the shell's own number
            self._before = "}"
            return at + 2
        if text.startswith(("$(", "${"), at):
            self._enter(text[at : at + 2])
            self._before = text[at + 1]
            return at + 2
        if inner and char == _ENDS.get(inner, inner):
            self._before = char if inner == "(" else "}"  # `$(a)#b` is one word
            self._leave()
        elif char in '"`':
            self._enter(char)
        elif inner != '"' and not (inner == "${" and self._marks):
            return self._read_bare(text, at, before)
        return at + 1

    def _read_bare(self, text: str, at: int, before: str) -> int:
        """Read characters that have no meaning between double quotes."""
        char = text[at]
        if char == "'":
            self._enter("$'" if before == "$" else "'")
        elif self._open and self._open[-1] == "${":
            pass  # the rest is text there
        elif char == "(":
            self._enter(_SUM if before == "(" and self._open else char)
        elif char == "#" and before in _BEFORE_COMMENT:
            self._is_comment = True
        elif char == "\n" and self._awaited:
            self._in_document, self._line = True, ""
        elif char == "<" and self._open[-1:] != [_SUM]:  # `((1 << 2))` is none
            return self._read_redirection(text, at)
        return at + 1

    def _read_redirection(self, text: str, at: int) -> int:
        begin = _BEGIN.match(text, at)
        if text.startswith("<<<", at):
            return at + 3
        if begin is None:
            return at + 1
        word = re.sub(r"[\\'\"]", "", begin[2])
        self._awaited.append(_Document(word, bool(begin[1]), is_expanded=word == begin[2]))
        return max(begin.end(), at + 2)
