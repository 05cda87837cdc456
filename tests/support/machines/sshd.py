"""A real OpenSSH server on a loopback port with keys of its own, and people who log in there."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from hostler.ssh.target import SshSettings, SshTarget
from tests.support.programs.cache import cache

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
WHY_NOT = "needs OpenSSH's sshd and root (it starts one on a loopback port)"
_PORTS = (11_000, 20_000)
"""Below those that the agent gives to services and Linux to whoever asks for any."""
_any = random.SystemRandom()


def can_run() -> bool:
    """Whether an sshd can be started here."""
    return SSHD is not None and os.geteuid() == 0


def free_port() -> int:
    """A port that nothing listens on now. Not one that the kernel chooses: until somebody listens
    there, it could give it to any other program of this machine."""
    while True:
        port = _any.randrange(*_PORTS)
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port


@dataclass
class Sshd:
    """One server. `stop` it in the end."""

    folder: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def host_key(self) -> Path:
        """Its private host key."""
        return self.folder / "host_key"

    @property
    def user_key(self) -> Path:
        """A private key that may log in as root."""
        return self.folder / "user_key"

    @property
    def log(self) -> str:
        """All that it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def public_line(self) -> str:
        """Its host key as `algorithm base64`."""
        return " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])

    @property
    def known_line(self) -> str:
        """Its line in a known_hosts file."""
        return f"[127.0.0.1]:{self.port} {self.public_line}\n"

    def with_agent(self) -> Sshd:
        """Have the agent there already, compiled, as most often in life."""
        base = self.folder / "agent"
        base.mkdir(mode=0o700, parents=True)
        (base / "agent").symlink_to(cache("hostler-test-agents"))
        return self

    def start(self) -> Sshd:
        """Make keys where there are none, run, and wait until it listens."""
        assert SSHD is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.host_key, self.user_key):
            if not path.exists():
                write_key(path)
        shutil.copy(self.user_key.with_suffix(".pub"), self.folder / "authorized_keys")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text("\n".join(self._config()) + "\n")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=log
            )
        self._wait()
        return self

    def stop(self) -> None:
        """End it and every session of it."""
        if self.process is None:
            return
        self.kill_sessions()
        self.process.terminate()
        self.process.wait(60)
        self.process = None

    def sessions(self) -> list[int]:
        """Process ids of the servers of its connections."""
        assert self.process is not None
        return _children(self.process.pid)

    def kill_sessions(self) -> None:
        """Cut every connection from the server's side."""
        for pid in self.sessions():
            for each in (*_children(pid), pid):
                try:
                    os.kill(each, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def _config(self) -> list[str]:
        return [
            *self.options,
            # Sessions get a home of their own: root's real ~/.bashrc may do anything, slowly.
            f"SetEnv HOME={self.folder} HOSTLER_FOLDER={self.folder / 'agent'} "
            f"HOSTLER_LEASES={self.folder / 'leases'}",
            f"ListenAddress 127.0.0.1:{self.port}",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "LogLevel VERBOSE",
            "PrintMotd no",
            # Tests fail logins on purpose; newer servers would shut this machine out for it.
            *(["PerSourcePenalties no"] if _has_penalties() else []),
        ]

    def _wait(self) -> None:
        assert self.process is not None
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            if self.process.poll() is not None:
                raise AssertionError(f"sshd ended: {self.log}")
            if "Server listening on" in self.log:
                return
            time.sleep(0.01)
        raise AssertionError(f"sshd does not listen: {self.log}")


@dataclass
class Home:
    """The SSH files of an invented person."""

    folder: Path

    def __post_init__(self) -> None:
        self.ssh.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def ssh(self) -> Path:
        """Their ~/.ssh."""
        return self.folder / ".ssh"

    @property
    def known_hosts(self) -> Path:
        """Their known_hosts."""
        return self.ssh / "known_hosts"

    def settings(self, **changes: float | str | tuple[str, ...] | None) -> SshSettings:
        """Settings with which nothing of this machine's own SSH files is read."""
        values: dict[str, object] = {
            "home": str(self.folder),
            "config_files": (str(self.ssh / "config"),),
            "system_known_hosts": (),
            "agent_socket": str(self.folder / "no-agent"),
            "connect_timeout": 60.0,  # a login needs processor time, which a busy machine lacks
            **changes,
        }
        return SshSettings(**values)  # type: ignore[arg-type]

    def know(self, *servers: Sshd) -> None:
        """Trust the host keys of these servers."""
        with self.known_hosts.open("a") as file:
            file.writelines(server.known_line for server in servers)

    def config(self, text: str) -> None:
        """Write their ssh_config."""
        (self.ssh / "config").write_text(text)


def target(server: Sshd, name: str = "gpu1", **changes: str | int | None) -> SshTarget:
    """How to reach a server."""
    values: dict[str, object] = {
        "name": name,
        "address": "127.0.0.1",
        "port": server.port,
        "user": "root",
        "key": str(server.user_key),
        **changes,
    }
    return SshTarget(**values)  # type: ignore[arg-type]


def write_key(path: Path, algorithm: str = "ssh-ed25519") -> None:
    """A fresh key pair, as files."""
    key = asyncssh.generate_private_key(algorithm)
    key.write_private_key(path)
    path.chmod(0o600)
    key.write_public_key(path.with_suffix(".pub"))


@functools.cache
def _has_penalties() -> bool:
    assert SSHD is not None
    said = subprocess.run([SSHD, "-V"], capture_output=True, text=True, check=False).stderr
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
    return found is not None and (int(found[1]), int(found[2])) >= (9, 8)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it may end at any time
        for task in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{task}/children")
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
    return found
