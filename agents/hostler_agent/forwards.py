"""The OpenSSH options and arguments of a gateway's forwarder, the connections it should have, and
which messages of ssh count as a refused login."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import re
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

from hostler_agent.json_values import integer, items, table

WANTED = "forwards"
"""File in the gateway's folder: the wanted state, as JSON."""
STATE = "forwards.state"
"""File in the gateway's folder: the present state."""
SOCKETS = "r"
"""Folder of the sockets."""
_NAME = re.compile(r"[0-9a-f]{10}")
_OPTIONS = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ConnectTimeout=5",
    "ServerAliveInterval=2", "ServerAliveCountMax=3", "TCPKeepAlive=yes", "LogLevel=INFO",
    "ClearAllForwardings=yes", "ExitOnForwardFailure=yes", "ForwardAgent=no", "ForwardX11=no",
    "PermitLocalCommand=no", "RemoteCommand=none", "RequestTTY=no", "Tunnel=no",
    "ControlPersist=no",
)  # fmt: skip
"""Override the login's ssh_config. Forwards in that file are ignored: another connection may
already use their addresses."""
_SOCKET_OPTIONS = ("StreamLocalBindUnlink=yes", "StreamLocalBindMask=0177")
_MOST_FILES = 200
_REFUSALS = (
    "permission denied", "host key verification failed", "too many authentication failures",
    "no supported authentication",
)  # fmt: skip


class Wanted(NamedTuple):
    """The wanted connection to one host."""

    ssh: Tuple[str, ...]
    """Options of ssh and, last, the destination."""
    sockets: Dict[str, int]
    """Name of a socket -> port on the host's loopback."""


def control_of(host: str, ssh: Sequence[str]) -> str:
    """The path of a connection's control socket."""
    words = "\0".join((host, *ssh)).encode("utf-8", "replace")
    return os.path.join(SOCKETS, "c" + hashlib.sha256(words).hexdigest()[:9])


def hidden(name: str) -> str:
    """The name of a socket whose port refuses connections now."""
    return name + ".closed"


def read_wanted(text: str) -> Dict[str, Wanted]:
    """The wanted connections by host, without invalid entries."""
    try:
        hosts = table(json.loads(text))
    except ValueError:
        return {}
    found = {}
    for host, each in hosts.items():
        words = tuple(w for w in items(table(each).get("ssh")) if isinstance(w, str))
        ports = {n: integer(p) or 0 for n, p in table(table(each).get("sockets")).items()}
        if words:
            fits = {n: p for n, p in ports.items() if _NAME.fullmatch(n) and 0 < p < 65536}
            found[host] = Wanted(words, fits)
    return found


def connect_command(control: str, words: Sequence[str], env: Mapping[str, str]) -> List[str]:
    """The command for one connection, which takes requests for sockets at `control`."""
    options = [o for name in (*_OPTIONS, *_SOCKET_OPTIONS) for o in ("-o", name)]
    return ["ssh", *_config(env), *options, "-N", "-T", "-M", "-S", control, *_to(words)]


def check_command(words: Sequence[str], env: Mapping[str, str]) -> List[str]:
    """Log in and request a port on which nothing listens: a refused connection shows that the login
    may forward."""
    options = [o for name in _OPTIONS if "ClearAll" not in name for o in ("-o", name)]
    return ["ssh", *_config(env), *options, "-S", "none", "-W", "127.0.0.1:1", *_to(words)]


def request_command(control: str, what: str, name: str, port: int) -> List[str]:
    """Request the open connection to open or to close a socket."""
    where = "%s:127.0.0.1:%d" % (os.path.join(SOCKETS, hidden(name)), port)
    return ["ssh", "-F", "none", "-S", control, "-O", what, "-L", where, "host"]


def last_line(said: bytes) -> str:
    """The last line of the output of ssh."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines()]
    return next((line[:400] for line in reversed(lines) if line), "")


def is_closed(said: bytes) -> bool:
    """Whether ssh says that the far side refused a connection to a port."""
    return b"open failed" in said


def is_refusal(said: str) -> bool:
    """Whether sshd refused the login, so that another try now would be one more failed login."""
    return any(each in said.lower() for each in _REFUSALS)


def login_files(env: Mapping[str, str]) -> Tuple[Tuple[str, int], ...]:
    """When the login's keys, known hosts and configuration changed: a refusal depends on them."""
    folder = os.path.join(env.get("HOME", ""), ".ssh")
    found = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder))[:_MOST_FILES]:
            found.append((name, os.stat(os.path.join(folder, name)).st_mtime_ns))
    return tuple(found)


def why_not(said: str) -> str:
    """Why forwarding does not work, from the output of `check_command`; "": it works."""
    found = next((line for line in said.splitlines() if "open failed" in line), "")
    if "connection refused" in found.lower():
        return ""
    return found[:400] or last_line(said.encode("utf-8", "replace")) or "ssh said nothing"


def _to(words: Sequence[str]) -> List[str]:
    return [*words[:-1], "--", words[-1]]


def _config(env: Mapping[str, str]) -> List[str]:
    """The option that names the login's ssh_config: OpenSSH searches the home folder of the user
    database, the daemon searches $HOME."""
    home = env.get("HOME", "")
    path = os.path.join(home, ".ssh", "config")
    try:
        is_other = os.path.realpath(home) != os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        is_other = True
    return ["-F", path] if home and is_other and os.path.isfile(path) else []
