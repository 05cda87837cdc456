"""Checks whether a program of this login could listen at a TCP port, by listening there briefly;
`ports` names the addresses in use."""

from __future__ import annotations

import errno
import socket
from typing import Iterable, List, Optional

from hostler_agent.fields import texts
from hostler_agent.folders import Refusal
from hostler_agent.json_values import Message, Outgoing

_MOST = 1000


def taken(payload: Message) -> Outgoing:
    """Ports at which a program could not listen, at all of some IP addresses, and why; "": another
    program listens there."""
    addresses, ports = texts(payload, "bind"), payload.get("ports")
    if not isinstance(ports, list) or len(ports) > _MOST:
        raise Refusal("ports should be a list of at most %d" % _MOST, "InputError")
    found: List[Outgoing] = []
    for port in ports:
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
            raise Refusal("%r is no port" % (port,), "InputError")
        why = _why_not(addresses, port)
        if why is not None:
            found.append({"port": port, "why": why})
    return {"taken": found}


def _why_not(addresses: Iterable[str], port: int) -> Optional[str]:
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            # As HAProxy does: closing connections do not block the port.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((address, port))
                tried.listen(1)
            except OSError as error:
                is_used = error.errno == errno.EADDRINUSE
                return "" if is_used else error.strerror or str(error)
    return None
