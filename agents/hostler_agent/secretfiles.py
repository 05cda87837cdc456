"""Secrets of attempts as files in memory (tmpfs): where they lie, which places are refused, and
when leftovers are removed.

They lie in the login's own folder below /run/user, otherwise in /dev/shm, where other users can
make files, too. So every step is opened through the descriptor of a checked folder, and follows no
link. Only a tmpfs is used, because a value must not reach a disk. A reboot removes all of them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import stat
import time
from typing import Collection, Dict, Iterator, List, Mapping, Optional, Tuple

from hostler_agent.folders import Refusal, check_attempt

VARIABLE = "HOSTLER_SECRETS"
"""The variable with the path of the attempt's folder."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = 3600.0
"""Seconds after which the folder of an unknown attempt is removed."""
_DEPTH = 20
_IN_MEMORY = ("tmpfs", "ramfs")


def decoded(values: object) -> Dict[str, bytes]:
    """Decode the names and values of a request. Raises Refusal, which never contains a value."""
    if not isinstance(values, dict):
        raise Refusal("secrets should be an object", "InputError")
    found: Dict[str, bytes] = {}
    for name, text in values.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise Refusal("a secret has no usable name", "InputError")
        try:
            found[name] = base64.b64decode(text, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise Refusal("the secret %s cannot be read" % name, "InputError") from None
    return found


def put(attempt: str, values: Mapping[str, bytes], places: Optional[List[str]] = None) -> str:
    """Write the secrets of an attempt, and remove its earlier ones. Returns their folder. Raises
    Refusal if this host has no place for them."""
    check_attempt(attempt)
    with _opened(_places(places), make=True) as (base, path):
        with contextlib.suppress(FileExistsError):
            os.mkdir(attempt, 0o700, dir_fd=base)
        with _inside(base, attempt) as folder:
            for name in os.listdir(folder):
                if name not in values:
                    os.unlink(name, dir_fd=folder)
            for name, value in values.items():
                _write(folder, name, value)
        return os.path.join(path, attempt)


def given(attempt: str, secrets: object, variables: List[str]) -> Dict[str, str]:
    """Write the secrets of a request. Returns the variables for the process. Raises Refusal."""
    values = decoded(secrets)
    env = {VARIABLE: put(attempt, values)}
    for name in variables:
        if name in values:
            env[name] = values[name].decode("utf-8", "surrogateescape")
    return env


def drop(attempt: str, places: Optional[List[str]] = None) -> None:
    """Remove the secrets of an attempt from all places. No error if there are none."""
    check_attempt(attempt)
    for place in _places(places):
        with contextlib.suppress(OSError, Refusal), _opened([place], make=False) as (base, _):
            _remove(base, attempt)


def sweep(alive: Collection[str], places: Optional[List[str]] = None) -> None:
    """Remove leftover secrets of attempts whose end was not reported."""
    for place in _places(places):
        with contextlib.suppress(OSError, Refusal), _opened([place], make=False) as (base, _):
            for name in os.listdir(base):
                with contextlib.suppress(OSError):  # an error with one does not stop the others
                    made = os.stat(name, dir_fd=base, follow_symlinks=False).st_mtime
                    if name not in alive and abs(time.time() - made) > _OLD:
                        _remove(base, name)


def _places(places: Optional[List[str]]) -> List[str]:
    if places is not None:
        return places
    # The variable is for tests, like HOSTLER_LEASES.
    given = os.environ.get("HOSTLER_SECRET_PLACES")
    if given:
        return given.split(os.pathsep)
    uid = os.geteuid()
    return ["/run/user/%d/hostler-secrets" % uid, "/dev/shm/hostler-secrets-%d" % uid]


@contextlib.contextmanager
def _opened(places: List[str], make: bool) -> Iterator[Tuple[int, str]]:
    """Open the first of these folders that is private and in memory. Yields its descriptor and
    path."""
    problems: List[str] = []
    for place in places:
        try:
            descriptor = _open(place, make)
        except OSError as error:
            problems.append("%s: %s" % (place, error.strerror or error))
            continue
        except Refusal as error:
            problems.append(str(error))
            continue
        try:
            yield descriptor, place
        finally:
            os.close(descriptor)
        return
    raise Refusal("this host takes no secrets: %s" % "; ".join(problems), "EngineError")


def _open(place: str, make: bool) -> int:
    parent, name = os.path.split(place)
    above = os.open(parent, _FLAGS)
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
        descriptor = os.open(name, _FLAGS, dir_fd=above)
    finally:
        os.close(above)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise Refusal("%s belongs to uid %d" % (place, found.st_uid))
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise Refusal("%s is open to others" % place)
        if not _is_in_memory(found.st_dev):
            raise Refusal("%s is not in memory" % place)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_in_memory(device: int, table: str = "/proc/self/mountinfo") -> bool:
    """Whether the file system with this device number keeps its files in memory."""
    wanted = "%d:%d" % (os.major(device), os.minor(device))
    with open(table, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            fields = before.split(" ", 3)
            if len(fields) > 2 and fields[2] == wanted:
                return after.split(" ", 1)[0] in _IN_MEMORY
    return False


@contextlib.contextmanager
def _inside(base: int, name: str) -> Iterator[int]:
    descriptor = os.open(name, _FLAGS, dir_fd=base)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(folder: int, name: str, value: bytes) -> None:
    """Write a file as one step, because a container may be reading it."""
    new = ".new-" + name
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    descriptor = os.open(new, _NEW, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(value)
    os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)


def _remove(base: int, attempt: str) -> None:
    """Remove the folder with all its files, including those of a stage, so that no value stays."""
    with contextlib.suppress(FileNotFoundError):
        with _inside(base, attempt) as folder:
            _empty(folder, _DEPTH)
        os.rmdir(attempt, dir_fd=base)


def _empty(folder: int, depth: int) -> None:
    """Remove all files, and all folders down to a depth that no real folder exceeds."""
    for name in os.listdir(folder):
        try:
            os.unlink(name, dir_fd=folder)
        except (IsADirectoryError, PermissionError):
            with contextlib.suppress(OSError):
                if depth:
                    with _inside(folder, name) as below:
                        _empty(below, depth - 1)
                os.rmdir(name, dir_fd=folder)
