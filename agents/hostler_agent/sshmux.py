"""Asks an open connection of OpenSSH whether a port at its far end accepts connections, for
`forwardsockets`.

A socket that `ssh` forwards accepts every connection, and closes it if the far side refuses. A
request through the control socket shows whether it refuses; `PROTOCOL.mux` of OpenSSH describes
this request.
"""

from __future__ import annotations

import array
import contextlib
import socket
import struct
from typing import Optional, Tuple

_HELLO, _VERSION = 0x00000001, 4
_NEW_STDIO_FWD = 0x10000008
_SESSION_OPENED = 0x80000006
_FAILURE = 0x80000003
_MOST_BYTES = 65536


def listens(control: str, port: int, within: float) -> Optional[bool]:
    """Whether this port of the remote loopback accepts a connection, which is closed at once
    without data. None: there was no answer."""
    try:
        with socket.socket(socket.AF_UNIX) as master:
            master.settimeout(within)
            master.connect(control)
            answer, _ = _exchange(master, struct.pack(">II", _HELLO, _VERSION))
            if answer != _HELLO:
                return None
            return _opened(master, port)
    except (OSError, struct.error):
        return None


def _opened(master: socket.socket, port: int) -> Optional[bool]:
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        request = struct.pack(">III", _NEW_STDIO_FWD, 0, 0)
        _send(master, request + _text(b"127.0.0.1") + struct.pack(">I", port))
        for _ in range(2):  # standard input and output
            _send_descriptor(master, theirs.fileno())
        answer, _ = _receive(master)
    return {_SESSION_OPENED: True, _FAILURE: False}.get(answer)


def _exchange(master: socket.socket, message: bytes) -> Tuple[int, bytes]:
    _send(master, message)
    return _receive(master)


def _send(master: socket.socket, message: bytes) -> None:
    master.sendall(_text(message))


def _text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _send_descriptor(master: socket.socket, descriptor: int) -> None:
    rights = array.array("i", [descriptor])
    master.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def _receive(master: socket.socket) -> Tuple[int, bytes]:
    """Receive a message; return its kind and the rest. Raises OSError, struct.error."""
    (size,) = struct.unpack(">I", _read(master, 4))
    if size > _MOST_BYTES:
        raise OSError("too long")
    data = _read(master, size)
    return struct.unpack(">I", data[:4])[0], data[4:]


def _read(master: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = master.recv(size - len(data))
        if not piece:
            raise OSError("closed")
        data += piece
    return data
