"""The addresses of this host where a program listens at a TCP port, from /proc; `listening` checks
whether a gateway could have a port."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Iterable, List, Optional

_LISTENS = "0A"
_MOST = 1000


def listening(port: int, root: str = "/proc") -> List[str]:
    """The addresses where a program listens at the port, each once."""
    found: List[str] = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            with open("%s/net/%s" % (root, name), encoding="ascii") as file:
                found += [a for a in _addresses(file, port) if a not in found]
    return found[:_MOST]


def _addresses(lines: Iterable[str], port: int) -> Iterable[str]:
    for line in lines:
        words = line.split()
        if len(words) > 3 and words[3] == _LISTENS:
            address, _, number = words[1].partition(":")
            if number and int(number, 16) == port:
                shown = _shown(address)
                if shown is not None:
                    yield shown


def _shown(hexadecimal: str) -> Optional[str]:
    """Return an address as text. The kernel writes it as words of 32 bits, each in the byte order
    of this machine."""
    data = bytes.fromhex(hexadecimal)
    if sys.byteorder == "little":
        data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    family = {4: socket.AF_INET, 16: socket.AF_INET6}.get(len(data))
    return socket.inet_ntop(family, data) if family is not None else None
