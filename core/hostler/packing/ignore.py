"""Patterns of `.hostlerignore`, written like those of `.gitignore`: how they match, how many and
how long patterns may be. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from hostler.base.errors import InputError

MOST_PATTERNS = 1000
_LONGEST = 1024
"""Characters of a pattern; a longer one matches no path."""
_STAR = "*"
_FOLDERS = ["**"]


class Ignore:
    """The paths that a list of patterns excludes; if several match, the last decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises InputError if there are too many patterns."""
        rules = (rule for line in lines if (rule := _rule(line)) is not None)
        self._rules = [*islice(rules, MOST_PATTERNS + 1)]
        if len(self._rules) > MOST_PATTERNS:
            raise InputError(
                f".hostlerignore has more than {MOST_PATTERNS:,} patterns",
                remedy="name folders instead of single files",
            )
        self._folders: dict[str, bool] = {}

    def leaves_out(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether `path` (relative, with slashes), or a folder it lies in, is left out."""
        parent = path.rpartition("/")[0]
        if self._folder(parent):
            return True
        return self._folder(path) if is_folder else self._decide(path, is_folder=False)

    def _folder(self, path: str) -> bool:
        out, end = False, 0
        while end < len(path) and not out:
            end = path.find("/", end + 1)
            end = len(path) if end < 0 else end
            part = path[:end]
            if part not in self._folders:
                self._folders[part] = self._decide(part, is_folder=True)
            out = self._folders[part]
        return out

    def _decide(self, path: str, *, is_folder: bool) -> bool:
        out = False
        for regex, negated, folders_only in self._rules:
            if (is_folder or not folders_only) and regex.fullmatch(path):
                out = not negated
        return out


def _rule(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    pattern = line.rstrip("\r\n")
    stripped = pattern.rstrip(" ")
    # "name\ " keeps one space at its end.
    pattern = stripped + " " if stripped.endswith("\\") and pattern != stripped else stripped
    if not pattern or pattern.startswith("#"):
        return None
    negated = pattern.startswith("!")
    pattern = pattern[1:] if negated else pattern
    folders_only = pattern.endswith("/")
    regex = pattern_of(pattern.removesuffix("/"))
    return None if regex is None else (regex, negated, folders_only)


def pattern_of(pattern: str) -> re.Pattern[str] | None:
    """The regular expressions that paths have to match; a pattern with a slash in it begins at the
    root. None: it is empty or too long, and matches nothing."""
    if not pattern or len(pattern) > _LONGEST:
        return None
    anchored = "/" in pattern
    body = _regex(_segments(pattern.removeprefix("/")), anchored=anchored)
    return re.compile(body, re.DOTALL)


def _regex(segments: list[list[str]], *, anchored: bool) -> str:
    """One regular expression for a path. What lies between two `**` is tried from the left and
    never again (an atomic group): its first fit is as good as any other, since it has a fixed
    number of folders. So the time is bounded, whatever the pattern."""
    chunks: list[list[str]] = [[]] if anchored else [[], []]
    any_end = False
    for place, segment in enumerate(segments):
        if segment != _FOLDERS:
            chunks[-1].append(_segment(segment))
        elif place == len(segments) - 1:
            any_end = True
        else:
            chunks.append([])
    *before, last = chunks
    out = ""
    for place, chunk in enumerate(before):
        text = "".join(f"{segment}/" for segment in chunk)
        out += f"(?>(?:[^/]*/)*?{text})" if place else text
    out += "(?:.*/)?" if before else ""
    return out + "/".join([*last, ".*"] if any_end else last)


def _segment(tokens: list[str]) -> str:
    """A pattern without slashes. As above: only what follows its last star is tried anew."""
    *before, last = _split(tokens, _STAR)
    if not before:
        return "".join(last)
    first, *middle = before
    out = "".join(first) + "".join(f"(?>[^/]*?{''.join(chunk)})" for chunk in middle if chunk)
    return out + "[^/]*" + "".join(last)


def _split(tokens: list[str], at: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == at:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _segments(pattern: str) -> list[list[str]]:
    """The parts of a pattern between slashes, each as regular expressions of one character, and
    stars."""
    tokens: list[str] = []
    index = 0
    while index < len(pattern):
        token, length = _token(pattern[index : index + _LONGEST])
        tokens.append(token)
        index += length
    # Two stars and more mean folders where they stand alone between slashes, else any text.
    parts = _split(tokens, "/")
    return [_FOLDERS if len(part) > 1 and set(part) == {_STAR} else _single(part) for part in parts]


def _single(tokens: list[str]) -> list[str]:
    """Without repeated stars."""
    pairs = zip(["", *tokens], tokens, strict=False)
    return [token for before, token in pairs if (before, token) != (_STAR, _STAR)]


def _token(rest: str) -> tuple[str, int]:
    if rest[0] == "*":
        return _STAR, 1
    if rest[0] == "?":
        return "[^/]", 1
    if rest[0] == "[" and (length := _class_length(rest)):
        return _class(rest[:length]), length
    if rest[0] == "\\" and len(rest) > 1:
        return re.escape(rest[1]), 2
    return re.escape(rest[0]), 1


def _class_length(text: str) -> int:
    """Length of a "[...]" at the start of `text`; 0 if it does not end."""
    begin = 2 if text[1:2] in ("!", "^") else 1
    end = text.find("]", begin + 1)
    return end + 1 if end > 0 else 0


def _class(text: str) -> str:
    inner = text[1:-1]
    negated = inner[:1] in ("!", "^")
    inner = inner[1:] if negated else inner
    escaped = inner.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    body = f"[{'^/' if negated else ''}{escaped}]"
    try:
        re.compile(body)
    except re.error:
        return re.escape(text)
    return f"(?!/){body}"
