"""Finds HAProxy on a host: the oldest version accepted (2.8), and how to install it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostler.base.errors import EngineError
from hostler.base.text import clean_line
from hostler.ports import HostLink

OLDEST = (2, 8)
_VERSION = re.compile(r"HAProxy version (\d{1,3})\.(\d{1,4})")
_FIND_S = 30.0
GET_IT = (
    "install the package haproxy there; without root, on Debian: `apt-get download haproxy "
    "liblua5.4-0 libjemalloc2 libopentracing-c-wrapper0t64 libopentracing1`, then `for i in *.deb; "
    "do dpkg -x $i ~/haproxy; done`, and name ~/haproxy/usr/sbin/haproxy as `haproxy` under "
    "[gateway] in config.toml"
)


@dataclass(frozen=True, slots=True)
class Program:
    """The HAProxy of a host."""

    path: str
    version: tuple[int, int]
    libraries: tuple[str, ...] = ()


def version_of(said: str) -> tuple[int, int] | None:
    """From the first line of `haproxy -v`."""
    found = _VERSION.match(said)
    return (int(found[1]), int(found[2])) if found else None


async def find(link: HostLink, named: str | None = None) -> Program:
    """HAProxy on a host, at the configured path or in the usual places. Raises EngineError if none
    is new enough, AgentError, Unreachable."""
    answer = await link.call("gateway.find", {"program": named}, _FIND_S)
    path = answer["program"]
    if path is None:
        where = f"{clean_line(named, 100)} is no HAProxy" if named else "there is no HAProxy"
        raise EngineError(link.host, f"{where} on {link.host}", remedy=GET_IT)
    version = version_of(answer["version"])
    if version is None or version < OLDEST:
        said = clean_line(answer["version"], 100)
        needed = ".".join(map(str, OLDEST))
        text = f"{clean_line(path, 100)} is too old or no HAProxy ({said}); {needed} is needed"
        raise EngineError(link.host, text, remedy=GET_IT)
    return Program(path, version, tuple(answer["libraries"]))
