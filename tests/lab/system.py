"""Running the machine's programs and waiting for things, with errors that say what happened."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.lab.layout import LabError


def run(argv: Sequence[str | Path], *, text: str = "", timeout: float = 60.0) -> str:
    """Run a program of this machine; its stdout. Raises LabError with its stderr when it fails."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, input=text, capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed: see tests/lab/packages.txt") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(words)}` did not end within {timeout:g} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"`{' '.join(words)}` failed with {done.returncode}: {said}")
    return done.stdout


def wait_until(
    ready: Callable[[], object],
    what: str,
    *,
    timeout: float = 20.0,
    interval: float = 0.02,
    why: Callable[[], str] = str,
) -> None:
    """Poll until `ready()` is true. Raises LabError with `what` and `why()` after `timeout` s."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(f"{what} did not happen within {timeout:g} s. {why()}".strip())
        time.sleep(interval)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, made if need be, against other lab processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def process_start(pid: int) -> int:
    """When a process began, in ticks since boot; 0 when it is gone or a zombie.

    With the pid this names a process for good: pids are used again.
    """
    try:
        rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if rest[0] in "ZX" else int(rest[19])
