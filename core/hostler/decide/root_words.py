"""Log patterns of commands that lack root rights in a container (apt-get, sudo, pip, read-only
paths), and the remedy shown. Pure.

A container never runs as root, so package managers and `sudo` fail there. Each pattern matches a
line of a real program from its beginning; text that only resembles such a line does not count.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from hostler.base.mount_targets import covers
from hostler.base.text import clean_line

_SYSTEM = r"/(?:usr|var|etc|opt|root|s?bin|lib(?:32|64)?)(?:/[^'\"’]*)?"
_BUILD = "install the missing packages by `setup` beside `image`, which runs as root"
_PIP = "install into a virtual environment (python3 -m venv) or with `pip install --user`"
_FOLDERS = "use the working folder, $HOME or /tmp instead"

_PACKAGES = re.compile(
    r"E: (?:List directory|Could not open lock file|Could not get lock) /var/.*Permission denied\)"
    r"|E: Unable to lock directory /var/.*"
    r"|E: Unable to acquire the dpkg frontend lock \(.*\), are you root\?"
    r"|dpkg: error: requested operation requires superuser privilege"
    r"|dpkg: error: unable to (?:access|create|open|lock) .*: Permission denied"
    r"|(?:Error: )?This command has to be run with superuser privileges .*"
    r"|(?:Error: )?The requested operation requires superuser privileges.*"
    r"|You need to be root to perform this command\."
    r"|error: can't create transaction lock on /var/.*"
    r"|ERROR: (?:Unable to lock database|Failed to open apk database): Permission denied"
)
_SHELL = r"(?:[\w./-]+: (?:line )?(?:\d+: )?)"
_SUDO = re.compile(
    rf"{_SHELL}?sudo: (?:command )?not found"
    r"|env: ['‘]?sudo['’]?: No such file or directory"
    r"|sudo: effective uid is not 0, is .*"
    r"|sudo: The \"no new privileges\" flag is set, .*"
    r"|sudo: .* must be owned by uid 0 and have the setuid bit set"
    r"|su: must be suid to work properly"
    r"|.*exec: \"sudo\": executable file not found in \$PATH.*"
)
_PIP_REFUSED = re.compile(
    r"(?:ERROR: )?Could not install packages due to an (?:OSError|EnvironmentError): "
    rf"\[Errno 13\] Permission denied: ['\"]?{_SYSTEM}['\"]?"
    r"|(?:EnvironmentNotWritableError|NotWritableError): .*"
)
_CANNOT = r"(?:cannot|can't|failed to) (?:create|touch|remove|move|copy|open)"
_DENIED = re.compile(
    r"(?:\w+\.)*(?:PermissionError|OSError): \[Errno 13\] Permission denied: "
    rf"['\"](?P<python>{_SYSTEM})['\"].*"
    rf"|{_SHELL}{_CANNOT}\b[^/]*?['\"‘ ](?P<tool>{_SYSTEM})['\"’]?: Permission denied"
    rf"|(?:tee|touch): (?P<tee>{_SYSTEM}): Permission denied"
    rf"|ch(?:own|mod): changing \w+ of ['‘](?P<own>{_SYSTEM})['’]: Operation not permitted"
    rf"|npm (?:ERR!|error) (?:Error: )?EACCES: permission denied, \w+ '(?P<npm>{_SYSTEM})'"
)
_READ_ONLY = re.compile(
    r"(?:\w+\.)*OSError: \[Errno 30\] Read-only file system: ['\"](?P<python>/[^'\"]*)['\"].*"
    rf"|{_SHELL}[^/]*?['\"‘ ](?P<tool>/[^'\"’]*)['\"’]?: Read-only file system"
    r"|(?:tee|touch): (?P<tee>/[^'\"]*): Read-only file system"
)
_LONGEST = 500
"""Longest part of a line that is checked, in characters: none of these programs writes more."""


def needs_root(lines: Sequence[str], mounted: Collection[str] = ()) -> str | None:
    """Why the command of a container failed and what to do, if one of the last lines of its log
    shows that it tried to change the system; None: no line does. A mounted folder is not part of
    the system: a denied file there belongs to another user."""
    return next((said for line in reversed(lines) if (said := _said(line.strip(), mounted))), None)


def _said(line: str, mounted: Collection[str]) -> str | None:
    if len(line) > _LONGEST:
        return None
    if _PACKAGES.fullmatch(line):
        return f"it ran a package manager, and containers never run as root: {_BUILD}"
    if _SUDO.fullmatch(line):
        return f"it used sudo, and containers never run as root: leave it out, or {_BUILD}"
    if _PIP_REFUSED.fullmatch(line):
        return f"it installs into a folder of root, and containers never run as root: {_PIP}"
    if found := _DENIED.fullmatch(line):
        if any(covers(folder, _path(found)) for folder in mounted):
            return None
        path = clean_line(_path(found), 80)
        return f"it may not use {path}, and containers never run as root: {_FOLDERS}, or {_BUILD}"
    if found := _READ_ONLY.fullmatch(line):
        path = clean_line(_path(found), 80)
        return f"{path} is read-only in the container: {_FOLDERS}, or a mount of mode rw"
    return None


def _path(found: re.Match[str]) -> str:
    return next(path for path in found.groupdict().values() if path)
