"""A real dockerd of the tests' own: private data, private socket, no network, no iptables."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

IMAGE = "hostler-test:1"
_APPLETS = (
    "sh", "cat", "echo", "sleep", "seq", "id", "ls", "stat", "kill", "true", "false", "dd", "head",
    "env", "mkdir", "touch", "printf", "test", "rm", "tail", "awk", "pwd", "wc", "chmod", "yes",
)  # fmt: skip
LEAN = {"GOGC": "off", "GOMEMLIMIT": "256MiB", "GOMAXPROCS": "1"}
"""Has Docker, and what it starts, look for no garbage and use one core: a container then needs a
tenth less processor time."""


def why_not() -> str | None:
    """Why no dockerd can run here; None: it can."""
    if os.geteuid() != 0:
        return "a private dockerd needs root"
    for program in ("dockerd", "runc", "containerd"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not any(Path(folder, "busybox").exists() for folder in ("/bin", "/usr/bin")):
        return "busybox (static) is not installed"
    return None


class Dockerd:
    """Start, kill and start again; `stop` leaves nothing behind."""

    def __init__(self, *options: str) -> None:
        # Not below pytest's folder: a Unix socket's path is short, and runc wants no long ones.
        self.folder = Path(tempfile.mkdtemp(prefix="hostler-dockerd-", dir="/var/tmp"))
        self.socket = self.folder / "docker.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For the SDK."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Run it until it answers."""
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd", "--data-root", f"{self.folder}/data",
                    "--exec-root", f"{self.folder}/exec", "--pidfile", f"{self.folder}/pid",
                    "-H", self.url, "--bridge=none", "--iptables=false", "--ip6tables=false",
                    *self._options,
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, **LEAN},
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-3000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """As kill -9 does: containers and their shims go on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        (self.folder / "pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """End it and its containers, remove its files."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._end_orphans()
        self._unmount()
        shutil.rmtree(self.folder, ignore_errors=True)

    def load_image(self, name: str = IMAGE, applets: Sequence[str] = _APPLETS) -> None:
        """A tiny image of busybox."""
        import docker  # the SDK takes a fifth of a second, which other tests need not pay

        client = docker.APIClient(base_url=self.url, version="auto")
        try:
            client.import_image_from_data(
                image_tree(applets), repository=name.split(":")[0], tag=name.split(":")[1]
            )
        finally:
            client.close()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(str(self.socket))
            probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in probe.recv(100)
        return False

    def _end_orphans(self) -> None:
        """What outlives a killed dockerd: its containerd, and shims, all named by our folder."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

    def _unmount(self) -> None:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        below = [line.split()[4] for line in mounts if f"{self.folder}/" in line.split()[4]]
        for path in reversed(below):
            subprocess.run(["umount", "-l", path], check=False, capture_output=True)


def image_tree(applets: Sequence[str] = _APPLETS) -> bytes:
    """The tar of a root with busybox and nothing else."""
    program = next(
        path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists()
    )
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("tmp", 0o1777), ("etc", 0o755)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        tar.add(program.resolve(), "bin/busybox")
        for name in applets:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return made.getvalue()


def runs(*words: str) -> bool:
    """Whether any process of this machine has this command line."""
    wanted = "\0".join((*words, "")).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == wanted:
                return True
    return False
