"""Makes and checks the folder of all users' leases (mode and owner), waits 5 seconds for the one
lock in it, and says who can correct what is wrong.

The owner of the folder, or of the one above it, may replace its content at any moment. So no step
follows a link, and everything below is opened through the descriptor of a checked folder. Modes are
changed only on a folder that the same call has made.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from typing import Iterator, Optional, Tuple

from hostler_agent.folders import Refusal

LOCK = ".lock"
_LOCK_PATIENCE = 5.0
_MAKING_PATIENCE = 1.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_EVERYBODY = 0o1777
_NO_FOLDER = (errno.ELOOP, errno.ENOTDIR)
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.EPERM, errno.EACCES, errno.ENOTDIR)


class Unusable(Refusal):
    """Leases are unavailable at the moment. Nothing has changed, so the caller may try again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "Unreachable")


class Busy(Unusable):
    """Another process holds the lock for too long."""


def open_folder(path: str, make: bool = False) -> int:
    """Open the folder; the caller closes the descriptor.

    Raises FileNotFoundError if it is missing and `make` is false, Unusable if it is unsafe.
    """
    parent = os.path.dirname(path)
    top = os.open(os.path.dirname(parent), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        above = _step(top, parent, make)
    finally:
        os.close(top)
    try:
        _check_mode(above, parent, 0o022)
        folder = _step(above, path, make)
    finally:
        os.close(above)
    try:
        _check_mode(folder, path, 0o7777)
    except Unusable:
        os.close(folder)
        raise
    return folder


def _step(above: int, path: str, make: bool) -> int:
    """Open the folder `path`, whose parent is open as `above`; make it if `make` is true."""
    name = os.path.basename(path)
    until = time.monotonic() + _MAKING_PATIENCE
    while True:
        try:
            return os.open(name, _FOLDER, dir_fd=above)
        except FileNotFoundError:
            if not make or time.monotonic() > until:
                raise
            with _explained(path, "made", above):
                _make(above, name)
        except OSError as error:
            if error.errno in _NO_FOLDER:
                what = "%s is a link or no folder: %s"
                raise Unusable(what % (path, _who_removes(above, name))) from error
            with _explained(path, "opened", above):
                raise


def _make(above: int, name: str) -> None:
    """Make a folder for all users. It gets its final name last, so that no other process sees it
    with a wrong mode."""
    own = ".%s.%s" % (name, os.urandom(8).hex())
    os.mkdir(own, 0o700, dir_fd=above)
    try:
        folder = os.open(own, _FOLDER, dir_fd=above)
        try:
            _open_to_all(folder)
        finally:
            os.close(folder)
        os.rename(own, name, src_dir_fd=above, dst_dir_fd=above)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.rmdir(own, dir_fd=above)
        if error.errno not in _TAKEN:  # another process was faster
            raise


def _open_to_all(folder: int) -> None:
    status = os.fstat(folder)
    mine = status.st_uid == os.geteuid() and status.st_mode & 0o1777 == 0o700
    if not mine or os.listdir(folder):
        # The folder was replaced: the owner of the folder above can move our files there.
        raise Unusable("a folder for leases was exchanged while it was made")
    os.fchmod(folder, _EVERYBODY)


def _check_mode(folder: int, path: str, others: int) -> None:
    """Raise Unusable if users could remove files of others: a folder whose mode has a bit of the
    mask `others` must be sticky. With the mask 0o7777, it must also be open to all users."""
    mode = os.fstat(folder).st_mode
    if mode & others and not mode & stat.S_ISVTX:
        wrong = True
    else:
        wrong = others == 0o7777 and mode & _EVERYBODY != _EVERYBODY
    if wrong:
        text = "%s has mode %o and should have 1777: ask %s or root to run: chmod 1777 %s"
        raise Unusable(text % (path, mode & 0o7777, owner_of(os.fstat(folder).st_uid), path))


@contextlib.contextmanager
def locked(path: str) -> Iterator[int]:
    """Hold the lock of the folder `path`, which is made if missing. Yields the folder's descriptor.
    Raises Unusable."""
    folder, lock = _locked(path)
    try:
        yield folder
    finally:
        os.close(lock)
        os.close(folder)


def _locked(path: str) -> Tuple[int, int]:
    until = time.monotonic() + _MAKING_PATIENCE
    while True:
        try:
            return _open_and_lock(path)
        except FileNotFoundError:
            # Another process made one of the folders too and got the name, so our folder is gone.
            # This happens only to empty folders, never to one with a held lock.
            if time.monotonic() > until:
                raise


def _open_and_lock(path: str) -> Tuple[int, int]:
    folder = open_folder(path, make=True)
    try:
        return folder, _lock(folder, os.path.join(path, LOCK))
    except BaseException:
        os.close(folder)
        raise


def _lock(folder: int, path: str) -> int:
    until = time.monotonic() + _LOCK_PATIENCE
    while True:
        descriptor = _open_lock(folder, path)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                        raise
                if time.monotonic() > until:
                    text = "the lease lock %s is held for too long by %s"
                    raise Busy(text % (path, _who_holds(descriptor)))
                time.sleep(0.005)
            # A cleaner may have removed the file during the wait; then this lock protects nothing.
            if _is_there(descriptor, folder):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _who_holds(lock: int, table: str = "/proc/locks") -> str:
    """Text for people: who holds the lock, as far as the kernel shows it here."""
    from hostler_agent.processes import Proc

    status = os.fstat(lock)
    device = os.major(status.st_dev), os.minor(status.st_dev)
    wanted = "%02x:%02x:%d" % (*device, status.st_ino)
    with contextlib.suppress(OSError), open(table) as file:
        for line in file:
            fields = line.split()
            if fields[1:2] == ["FLOCK"] and fields[5:6] == [wanted] and fields[4].isdigit():
                uid = Proc().uid(int(fields[4]))
                who = "somebody" if uid is None else owner_of(uid)
                return "%s (PID %s)" % (who, fields[4])
    return "somebody"


def check_lock(folder: int, path: str) -> None:
    """Raise Unusable if there is a lock that this user cannot take."""
    try:
        os.close(reach(folder, LOCK))
    except FileNotFoundError:
        return
    os.close(_open_lock(folder, os.path.join(path, LOCK)))


def reach(folder: int, name: str) -> int:
    """Return a descriptor (O_PATH) of a file in the folder, without opening the file. Raises
    OSError, and Unusable if something is mounted on it: access to a user's file system may hang for
    ever."""
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    if _mount_of(found) != _mount_of(folder):
        os.close(found)
        raise Unusable("something is mounted on %s in the folder of leases: ask root" % name)
    return found


def open_plain(folder: int, name: str) -> int:
    """Open a file in the folder for reading; links and mounts are refused. Raises OSError,
    Unusable."""
    found = reach(folder, name)
    try:
        again = "/proc/self/fd/%d" % found
        return os.open(again, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(found)


def _mount_of(descriptor: int) -> Optional[str]:
    with open("/proc/self/fdinfo/%d" % descriptor) as file:
        return next((line for line in file if line.startswith("mnt_id:")), None)


def _open_lock(folder: int, path: str) -> int:
    # With fs.protected_regular, the kernel refuses O_CREAT for another user's file in a sticky
    # folder, even if the file may be opened.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        try:
            descriptor = open_plain(folder, LOCK)
            break
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(LOCK, flags | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
                os.fchmod(descriptor, 0o644)
                break
        except OSError as error:
            text = "the lease lock %s cannot be opened (%s): %s"
            raise Unusable(text % (path, error.strerror, _who_removes(folder, LOCK))) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        text = "the lease lock %s is not a plain file: %s"
        raise Unusable(text % (path, _who_removes(folder, LOCK)))
    return descriptor


def _is_there(descriptor: int, folder: int) -> bool:
    try:
        there = _stat(folder, LOCK)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _stat(folder: int, name: str) -> os.stat_result:
    found = reach(folder, name)
    try:
        return os.fstat(found)
    finally:
        os.close(found)


def owner(folder: int, name: str) -> Optional[int]:
    """The uid of a file's owner, without following a link; None if the file is gone or a mount."""
    try:
        return _stat(folder, name).st_uid
    except (OSError, Unusable):
        return None


@contextlib.contextmanager
def explained(folder: int, name: str, path: str) -> Iterator[None]:
    """Add to a kernel error about a file of the folder which user can repair it. Raises
    Unusable."""
    try:
        yield
    except PermissionError as error:
        text = "%s cannot be written (%s): %s"
        raise Unusable(text % (path, error.strerror, _who_removes(folder, name))) from error


@contextlib.contextmanager
def _explained(path: str, done: str, above: int) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        owner = owner_of(os.fstat(above).st_uid)
        text = "%s cannot be %s (%s): ask root, or %s, who owns the folder that holds it"
        raise Unusable(text % (path, done, error.strerror, owner)) from error


def _who_removes(folder: int, name: str) -> str:
    """Text for people: who may remove the file from a sticky folder (its owner, the folder's owner,
    root)."""
    above = os.fstat(folder).st_uid
    own = owner(folder, name)
    own = above if own is None else own
    names = [owner_of(uid) for uid in dict.fromkeys((own, above)) if uid != 0]
    return "%s can remove it" % " or ".join([*names, "root"])


def owner_of(uid: int) -> str:
    """The user for people: the name if this machine knows it, else the number."""
    from hostler_agent.processes import Users

    return "root" if uid == 0 else Users().name(uid)
