"""Lines of real programs that fail because a container does not run as root."""

from __future__ import annotations

import pytest

from hostler.decide.causes import conclude
from hostler.decide.root_words import needs_root
from hostler.model.pipelines import Cause
from tests.support.values import planning as lab

PACKAGES = [
    "E: List directory /var/lib/apt/lists/partial is missing. - Acquire (13: Permission denied)",
    "E: Could not open lock file /var/lib/apt/lists/lock - open (13: Permission denied)",
    "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)",
    "E: Unable to lock directory /var/lib/apt/lists/",
    "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?",
    "dpkg: error: requested operation requires superuser privilege",
    "dpkg: error: unable to access the dpkg database directory /var/lib/dpkg: Permission denied",
    "Error: This command has to be run with superuser privileges (under the root user on most "
    "systems).",
    "You need to be root to perform this command.",
    "error: can't create transaction lock on /var/lib/rpm/.rpm.lock (Permission denied)",
    "ERROR: Unable to lock database: Permission denied",
    "ERROR: Failed to open apk database: Permission denied",
]
SUDO = [
    "sh: 1: sudo: not found",
    "/bin/sh: sudo: not found",
    "bash: line 1: sudo: command not found",
    "./setup.sh: line 12: sudo: command not found",
    "env: 'sudo': No such file or directory",
    "sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option set "
    "or an NFS file system without root privileges?",
    'sudo: The "no new privileges" flag is set, which prevents sudo from running as root.',
    "sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set",
    "su: must be suid to work properly",
    'OCI runtime create failed: exec: "sudo": executable file not found in $PATH: unknown',
]
PIP = [
    "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: "
    "'/usr/local/lib/python3.11/site-packages/six.py'",
    "Could not install packages due to an EnvironmentError: [Errno 13] Permission denied: "
    "'/opt/conda/lib/python3.8/site-packages/six.py'",
    "EnvironmentNotWritableError: The current user does not have write permissions to the target "
    "environment.",
]
DENIED = [
    ("PermissionError: [Errno 13] Permission denied: '/root/.cache'", "/root/.cache"),
    ("mkdir: cannot create directory ‘/opt/tools’: Permission denied", "/opt/tools"),
    ("mkdir: can't create directory '/opt/tools': Permission denied", "/opt/tools"),
    ("cp: cannot create regular file '/usr/local/bin/x': Permission denied", "/usr/local/bin/x"),
    ("sh: 1: cannot create /etc/resolv.conf: Permission denied", "/etc/resolv.conf"),
    ("ln: failed to create symbolic link '/usr/bin/python': Permission denied", "/usr/bin/python"),
    ("rm: cannot remove '/var/cache/apt': Permission denied", "/var/cache/apt"),
    ("tee: /etc/apt/sources.list: Permission denied", "/etc/apt/sources.list"),
    ("chown: changing ownership of '/usr/share/x': Operation not permitted", "/usr/share/x"),
    ("npm ERR! Error: EACCES: permission denied, mkdir '/usr/local/lib/node_modules/a'",
     "/usr/local/lib/node_modules/a"),
]  # fmt: skip
READ_ONLY = [
    ("OSError: [Errno 30] Read-only file system: '/data/out'", "/data/out"),
    ("touch: cannot touch '/lab/a b': Read-only file system", "/lab/a b"),
    ("sh: 1: cannot create /data/x: Read-only file system", "/data/x"),
    ("touch: /data/x: Read-only file system", "/data/x"),
]
OTHERS = [
    "",
    "are you root?",
    "Permission denied (publickey).",
    "git@github.com: Permission denied (publickey).",
    "PermissionError: [Errno 13] Permission denied: '/work/out/model.pt'",
    "PermissionError: [Errno 13] Permission denied: '/usrdata/x'",
    "PermissionError: [Errno 13] Permission denied: '/srv/data/alice/x.h5'",
    "PermissionError: [Errno 13] Permission denied: 'usr/lib/x'",
    "cp: cannot create regular file '/data/x': Permission denied",
    "mkdir: cannot create directory '/usr/local/x': File exists",
    "sudo make me a sandwich",
    "to install it, type: sudo apt-get install git",
    "bash: line 1: sudoku: command not found",
    "bash: line 1: nvidia-smi: command not found",
    "WARNING: Running pip as the 'root' user can result in broken permissions",
    "Defaulting to user installation because normal site-packages is not writeable",
    "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    "E: Unable to locate package gti",
    "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 12 (apt)",
    "the test 'Read-only file system' passed",
    "checks of a Read-only file system",
    "x" * 10_000,
]


@pytest.mark.parametrize("line", PACKAGES)
def test_package_managers_need_root(line: str) -> None:
    said = needs_root([line])
    assert said is not None
    assert said.startswith("it ran a package manager, and containers never run as root: install")
    assert said.endswith("by `setup` beside `image`, which runs as root")


@pytest.mark.parametrize("line", SUDO)
def test_sudo_needs_root(line: str) -> None:
    said = needs_root([line])
    assert said is not None
    assert said.startswith("it used sudo, and containers never run as root: leave it out")


@pytest.mark.parametrize("line", PIP)
def test_pip_is_told_where_to_install(line: str) -> None:
    said = needs_root([line])
    assert said is not None
    assert "python3 -m venv" in said
    assert "pip install --user" in said


@pytest.mark.parametrize(("line", "path"), DENIED)
def test_system_folders_are_those_of_root(line: str, path: str) -> None:
    said = needs_root([line])
    assert said is not None
    assert said.startswith(f"it may not use {path}, and containers never run as root: use the")


@pytest.mark.parametrize(("line", "path"), READ_ONLY)
def test_a_read_only_path_is_named(line: str, path: str) -> None:
    said = needs_root([line])
    assert said is not None
    assert said.startswith(f"{path} is read-only in the container: use the working folder")


@pytest.mark.parametrize("line", OTHERS)
def test_what_only_resembles_is_not_taken(line: str) -> None:
    assert needs_root([line]) is None


def test_the_last_such_line_counts_and_others_are_passed_over() -> None:
    said = needs_root([SUDO[0], f"  {PACKAGES[0]}\r", "make: *** [Makefile:3: all] Error 100"])
    assert said is not None
    assert said.startswith("it ran a package manager")


@pytest.mark.parametrize(
    ("runtime", "exit_code", "tail", "detail"),
    [
        ("docker", 100, PACKAGES, "exit code 100; it ran a package manager"),
        ("process", 100, PACKAGES, "exit code 100"),
        ("docker", 0, PACKAGES, ""),
        ("docker", 1, OTHERS, "exit code 1"),
    ],
)
def test_a_container_that_wanted_to_be_root_is_told(
    runtime: str, exit_code: int, tail: list[str], detail: str
) -> None:
    tried = lab.attempt()
    ended = lab.workload(tried, running=False, started_at=5.0, exit_code=exit_code, runtime=runtime)
    _, cause, said = conclude(tried, lab.stage(), ended, tail=tail)
    assert cause is (Cause.USER_ERROR if exit_code else None)
    assert said.startswith(detail)
    assert ("root" in said) == ("package" in detail)


@pytest.mark.parametrize(("path", "is_told"), [("/opt/data/al/x", False), ("/opt/database", True)])
def test_a_closed_file_in_a_mounted_folder_is_no_matter_of_root(path: str, is_told: bool) -> None:
    tried = lab.attempt()
    ended = lab.workload(tried, running=False, started_at=5.0, exit_code=1, runtime="docker")
    stage = lab.stage(mount_targets={"/opt/data": "data"})
    tail = [f"PermissionError: [Errno 13] Permission denied: '{path}'"]
    _, _, said = conclude(tried, stage, ended, tail=tail)
    assert ("never run as root" in said) is is_told


def test_sudo_as_the_command_itself_is_told() -> None:
    tried = lab.attempt()
    error = 'exec: "sudo": executable file not found in $PATH'
    ended = lab.workload(tried, running=False, exit_code=127, error=error, runtime="docker")
    _, cause, said = conclude(tried, lab.stage(), ended)
    assert cause is Cause.START_FAILED
    assert said.startswith(f"{error}; it used sudo")
