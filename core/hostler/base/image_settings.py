"""What a Dockerfile says about how its image runs: command, ports, folder, health. Pure.

What only the base image says is not known here.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hostler.base.dockerfile import filled, instructions, values_of

_HEREDOC = re.compile(r"<<-?[\"']?(\w+)[\"']?")
_URL = re.compile(
    r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])(?::[\w${}]+)?(/[^\s\"'|;)\]]*)?"
)
_SHELL = ("/bin/sh", "-c")
_FROM = re.compile(r"(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?", re.I)
_LONGEST = 4096
_MOST_PORTS = 100


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Settings of the last stage of a Dockerfile, or of a stage that it starts from."""

    command: tuple[str, ...] = ()
    """CMD, as Docker would execute it; empty: none."""
    has_entrypoint: bool = False
    ports: tuple[int, ...] = ()
    """TCP ports of EXPOSE."""
    folder: str = ""
    """WORKDIR; "": none."""
    health: str = ""
    """The path that HEALTHCHECK requests by HTTP; "": unknown."""
    shell: tuple[str, ...] = _SHELL


def settings_of(text: str) -> ImageSettings:
    """The settings of the last stage of a Dockerfile."""
    reader = _Reader()
    for line in _without_heredocs(text):
        name, _, rest = line.partition(" ")
        reader.take(name.upper(), rest.strip())
    return reader.now


class _Reader:
    """Reads the file line by line."""

    def __init__(self) -> None:
        self.now = ImageSettings()
        self._named: dict[str, ImageSettings] = {}
        self._name = ""
        self._known: dict[str, str] = {}
        self._has_command = False

    def take(self, name: str, rest: str) -> None:
        """Read one instruction."""
        match name:
            case "FROM":
                self._begin(rest)
            case "ARG" | "ENV":
                self._known |= values_of(rest, {})
            case "SHELL":
                self.now = replace(self.now, shell=_words(rest) or _SHELL)
            case "WORKDIR":
                there = posixpath.join(self.now.folder or "/", self._value(rest))
                self.now = replace(self.now, folder=posixpath.normpath(there[:_LONGEST]))
            case "EXPOSE":
                ports = dict.fromkeys((*self.now.ports, *_ports(self._value(rest))))
                self.now = replace(self.now, ports=tuple(ports)[:_MOST_PORTS])
            case "CMD":
                self._has_command = True
                self.now = replace(self.now, command=self._command(rest))
            case "ENTRYPOINT":
                # Docker forgets the command that comes from the image before.
                command = self.now.command if self._has_command else ()
                self.now = replace(self.now, has_entrypoint=True, command=command)
            case "HEALTHCHECK":
                found = _URL.search(rest[:_LONGEST])
                self.now = replace(self.now, health=(found[1] or "/") if found else "")
            case _:
                pass
        if self._name:
            self._named[self._name] = self.now

    def _begin(self, rest: str) -> None:
        found = _FROM.match(rest)
        base, name = (found[1], found[2]) if found is not None else ("", None)
        self.now = self._named.get(base.lower(), ImageSettings())
        self._name, self._has_command = (name or "").lower(), False

    def _value(self, text: str) -> str:
        return filled(text.strip("\"'"), self._known)

    def _command(self, rest: str) -> tuple[str, ...]:
        return _words(rest) or ((*self.now.shell, rest) if rest else ())


def _words(text: str) -> tuple[str, ...]:
    """The words of the list form; empty if it is not a list."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    is_list = isinstance(found, list) and all(isinstance(word, str) for word in found)
    return tuple(found) if is_list else ()


def _ports(text: str) -> Iterator[int]:
    for word in text.split():
        number, _, kind = word.partition("/")
        if number.isdecimal() and len(number) < 6 and kind.lower() in ("", "tcp"):
            yield int(number)


def _without_heredocs(text: str) -> Iterator[str]:
    """The instructions; the text of a here-document is not an instruction."""
    waiting: list[str] = []
    for line in instructions(text):
        if waiting:
            if line.strip() == waiting[0]:
                del waiting[0]
            continue
        if line.partition(" ")[0].upper() in ("RUN", "COPY", "ADD"):
            waiting = _HEREDOC.findall(line)
        yield line.strip()
