"""Patterns of `.hostlerignore`, written like those of `.gitignore`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable


class Ignore:
    """Which paths a list of patterns leaves out; of several that match, the last decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for line in lines if (rule := _rule(line)) is not None]
        self._folders: dict[str, bool] = {"": False}

    def leaves_out(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether `path` (relative, with slashes), or a folder it lies in, is left out."""
        parent = path.rpartition("/")[0]
        if self._folder(parent):
            return True
        return self._folder(path) if is_folder else self._decide(path, is_folder=False)

    def _folder(self, path: str) -> bool:
        known = self._folders.get(path)
        if known is None:
            known = self._folder(path.rpartition("/")[0]) or self._decide(path, is_folder=True)
            self._folders[path] = known
        return known

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
    pattern = pattern.removesuffix("/")
    if not pattern:
        return None
    anchored = "/" in pattern
    body = _translate(pattern.removeprefix("/"))
    return re.compile(body if anchored else f"(?:.*/)?{body}", re.DOTALL), negated, folders_only


def _translate(pattern: str) -> str:
    out, index = "", 0
    while index < len(pattern):
        rest = pattern[index:]
        if rest[0] == "*":
            stars = len(rest) - len(rest.lstrip("*"))
            # Two stars mean folders only where they stand for a whole part of the path.
            whole = stars > 1 and (index == 0 or pattern[index - 1] == "/")
            if whole and rest[stars : stars + 1] == "/":
                out, index = out + "(?:.*/)?", index + stars + 1
            else:
                any_depth = whole and len(rest) == stars
                out, index = out + (".*" if any_depth else "[^/]*"), index + stars
        elif rest[0] == "?":
            out, index = out + "[^/]", index + 1
        elif rest[0] == "[" and (length := _class_length(rest)):
            out, index = out + _class(rest[:length]), index + length
        elif rest[0] == "\\" and len(rest) > 1:
            out, index = out + re.escape(rest[1]), index + 2
        else:
            out, index = out + re.escape(rest[0]), index + 1
    return out


def _class_length(text: str) -> int:
    """Length of a "[...]" at the begin of `text`; 0 where it does not end."""
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
