"""The second log of a job, at the path in `--output` of sbatch: fills in patterns such as %j and
%x, refuses paths that lead out or through links.

The file lies below the folder that the job starts in. It is opened step by step, through no link,
and only appended to. Errors here never stop the job or its log.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import stat
from typing import Mapping, Optional

from hostler_agent.joblog import Writer
from hostler_agent.jobnumbers import job_number

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PLACE = re.compile(r"%([0-9]*)([%AJNajnstux])")
_LONGEST = 10


class LogCopy:
    """Appends to the second log file, at most about `cap` bytes."""

    def __init__(self, folder: str, path: str, cap: int) -> None:
        """Raises OSError."""
        self._left = cap
        self._descriptor: Optional[int] = _opened(folder, path)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def write(self, data: bytes) -> None:
        """Append data. After the first failure, nothing more is written."""
        if self._descriptor is None:
            return
        view = memoryview(data)[: self._left]
        self._left -= len(view)
        with contextlib.suppress(OSError):
            while view:
                view = view[os.write(self._descriptor, view) :]
            if self._left:
                return
            os.write(
                self._descriptor, b"\nhostler: the file ends here; hostler logs has the rest\n"
            )
        self.close()


def copy_of(
    pattern: str, cwd: str, env: Mapping[str, str], cap: int, log: Writer,
    opened: contextlib.ExitStack,
) -> Optional[LogCopy]:  # fmt: skip
    """Open the second file of a job's log; `opened` closes it. If that fails, write the reason to
    the log and return None."""
    try:
        copy = LogCopy(cwd, named(pattern, env), cap)
    except (OSError, ValueError) as error:  # ValueError: this host's encoding cannot write the name
        text = "hostler: the log is not also written to %s: %s\n" % (pattern, error)
        log.write(text.encode("utf-8", "replace"))
        return None
    opened.callback(copy.close)
    return copy


def _opened(folder: str, path: str) -> int:
    *above, name = path.split("/")
    descriptor = os.open(folder, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for step in above:
            with contextlib.suppress(FileExistsError):
                os.mkdir(step, 0o777, dir_fd=descriptor)
            inner = os.open(step, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        file = os.open(name, _FILE, 0o600, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    try:
        _check(os.fstat(file), path)
    except OSError:
        os.close(file)
        raise
    return file


def _check(status: os.stat_result, path: str) -> None:
    """Raise OSError for a file of another user, or a link."""
    is_own = status.st_uid == os.geteuid() and status.st_nlink == 1
    if not (stat.S_ISREG(status.st_mode) and is_own):
        raise PermissionError(1, "is no plain file of this login", path)


def named(pattern: str, env: Mapping[str, str]) -> str:
    """The path that a pattern means for a job with these variables. A slash in the value of a
    pattern such as `%x` becomes "_". Raises OSError if the path leads out of the folder."""
    path = _PLACE.sub(lambda match: _value(match[2], match[1], env), pattern)
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise PermissionError(1, "is no path below the folder", path)
    return path


def _value(letter: str, width: str, env: Mapping[str, str]) -> str:
    run, cell = env.get("HOSTLER_RUN", ""), env.get("HOSTLER_CELL", "")
    task = env.get("SLURM_ARRAY_TASK_ID", "")
    if letter in "AjJ":
        of_task = letter != "A" and task
        text = str(job_number("%s/%s" % (run, cell) if of_task else run))
    elif letter in "nst":
        text = "0"
    else:
        text = {
            "%": "%",
            "N": os.uname().nodename.split(".")[0],
            "a": task or str(2**32 - 2),
            "u": _login(),
            "x": env.get("SLURM_JOB_NAME", ""),
        }[letter]
    text = text.replace("/", "_")
    # A limited number of digits: Python refuses numbers with thousands of digits.
    return text.rjust(min(int(width[:9]), _LONGEST), "0") if width and text.isdigit() else text


def _login() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
