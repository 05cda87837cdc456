"""Fetches the wheels of a requirements file, by pip in a process with an empty environment, with
limits of time and bytes; the errors when these are exceeded."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hostler.base.errors import InputError, StateError
from hostler.base.failpoints import failpoint
from hostler.base.units import format_duration, format_size
from hostler.model.packages import PackagesConfig
from hostler.ports import Progress
from hostler.store.faults import disk_faults
from hostler.store.files import require_room
from hostler.wheels import explain, program
from hostler.wheels.folder import listing
from hostler.wheels.requirements import Requirement
from hostler.wheels.shelf import Shelf, Wheel
from hostler.wheels.target import Target

_OUTPUT = 64 * 1024
_EVERY = 0.25
_LIST_SECONDS = 60.0
_PIP = Requirement("pip")
_LIST_SIZE = 4 * 1024 * 1024
_PROGRAM = Path(program.__file__).read_bytes()
"""Read at import: an upgrade during the daemon's life may replace or remove the file."""
_START = (
    "import sys; source = sys.stdin.buffer.read(int(sys.argv[1])); "
    "exec(compile(source, 'program.py', 'exec'), {'__name__': '__main__'})"
)
"""The program comes on stdin, before the request."""


@dataclass(frozen=True, slots=True)
class Order:
    """The requested packages and their source."""

    requirements: tuple[Requirement, ...]
    target: Target
    packages: PackagesConfig
    seconds: float
    """The time limit of a download."""

    @property
    def source(self) -> str:
        """The source of packages, for people."""
        return self.packages.source

    def key(self) -> str:
        """Names what is fetched. What lies in a folder of wheels counts, by names, sizes and
        times. Raises InputError."""
        listed = "" if self.packages.wheels is None else listing(self.packages.wheels)
        lines = [str(each) for each in self.requirements]
        text = "\n\n".join((self.source, self.target.key, "\n".join(lines), listed))
        return hashlib.sha256(b"hostler wheels 1\n" + text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Ended:
    code: int
    output: str


class _TooLarge(Exception):
    pass


async def fetch_all(order: Order, shelf: Shelf, progress: Progress) -> tuple[Wheel, ...]:
    """The wheels, and pip for a host on which new environments would have none. Raises InputError,
    StateError."""
    wheels = await fetch(order, shelf, progress)
    if order.target.has_pip or any(wheel.name.startswith("pip-") for wheel in wheels):
        return wheels
    with shelf.using(wheels):
        try:
            # By itself: with hashes, each package of the file needs one.
            pip = await fetch(replace(order, requirements=(_PIP,)), shelf, progress)
        except InputError as error:
            raise InputError(
                f"the host has no pip for new environments, and {error.message}",
                remedy="install it there (on Debian and Ubuntu the package python3-venv)",
            ) from error
    return (*wheels, *pip)


async def fetch(order: Order, shelf: Shelf, progress: Progress) -> tuple[Wheel, ...]:
    """The wheels, from the shelf if they are there. Raises InputError with the reason in a sentence
    if there are none, StateError."""
    key = await asyncio.to_thread(order.key)
    found = await asyncio.to_thread(shelf.find, key)
    if found is not None:
        return found
    failpoint("before_wheels")
    with shelf.work_folder() as folder:
        dest = folder / "wheels"
        with disk_faults(folder):
            for made in (dest, folder / "tmp"):
                made.mkdir(mode=0o700)
        if order.requirements:
            await _download(order, folder, dest, progress)
        failpoint("after_wheels")
        wheels = await asyncio.to_thread(shelf.take, dest, key)
    with shelf.using(wheels):
        await asyncio.to_thread(shelf.shrink, order.packages.cache)
    return wheels


async def _download(order: Order, folder: Path, dest: Path, progress: Progress) -> None:
    file = folder / "requirements.txt"
    with disk_faults(folder):
        file.write_text("".join(f"{each}\n" for each in order.requirements))
    asked = _asked(order, "download", file=file, dest=dest)
    what = f"fetching packages from {order.source}"
    try:
        ended = await _run(asked, folder, order.seconds, progress, what)
    except _TooLarge:
        raise _too_large(order) from None
    except StateError as full:
        raise InputError(full.message, remedy=full.remedy) from full
    except TimeoutError:
        raise InputError(
            f"the packages were not fetched from {order.source} within "
            f"{format_duration(order.seconds)}",
            remedy="retry: hostler retry",
        ) from None
    if ended.code:
        raise await _failure(order, ended, folder)


async def _failure(order: Order, ended: _Ended, folder: Path) -> InputError:
    """The meaning of pip's end."""
    if ended.code == program.NO_PIP:
        return InputError(
            f"there is no pip for {sys.executable} on the daemon's machine",
            remedy=f"install it there: {sys.executable} -m ensurepip, or the package python3-pip",
        )
    if ended.code == program.STRANGE_PIP:
        return InputError(
            f"the pip of {sys.executable} on the daemon's machine is not one that Hostler knows",
            remedy=f"replace it there: {sys.executable} -m pip install --upgrade pip",
        )
    if "[Errno 27]" in ended.output or -ended.code == signal.SIGXFSZ:
        return _too_large(order)
    trouble = explain.trouble_here(ended.output, order.source)
    if trouble is not None:
        return InputError(trouble[0], remedy=trouble[1])
    said = explain.other_failure(ended.output)
    if said is not None:
        return InputError(said, remedy="correct the requirements file")
    missing = explain.missing_in(ended.output)
    if missing is None:
        return InputError(
            f"pip did not fetch the packages from {order.source}: "
            f"{explain.last_errors(ended.output)}"
        )
    return await _not_there(order, missing, folder)


async def _not_there(order: Order, missing: explain.Missing, folder: Path) -> InputError:
    name = explain.normalized(missing.name)
    asked = _asked(order, "list", names=[name])
    try:
        ended = await _run(asked, folder, _LIST_SECONDS, _silent, "")
        listed: dict[str, list[str]] = json.loads(ended.output) if ended.code == 0 else {}
    except (TimeoutError, _TooLarge, ValueError):
        ended, listed = _Ended(program.UNREACHABLE, "no answer"), {}
    if name not in listed:
        why = explain.last_errors(ended.output)
        return InputError(
            f"{order.source} cannot be read from the daemon's machine: {why}",
            remedy="check `index` or `wheels` under [packages] in config.toml, and that machine's "
            "network",
        )
    said = explain.not_there(missing, listed[name], order.source, order.target)
    return InputError(said, remedy="name another version, or another host (hostler hosts)")


def _too_large(order: Order) -> InputError:
    return InputError(
        f"the packages are larger than {format_size(order.packages.size)} together",
        remedy="raise `size` under [packages] in config.toml",
    )


def _asked(
    order: Order, mode: str, *, names: Sequence[str] = (), file: Path = Path(), dest: Path = Path()
) -> program.Asked:
    seconds = order.seconds if mode == "download" else _LIST_SECONDS
    target = order.target
    return {
        "mode": mode, "parent": os.getpid(), "seconds": math.ceil(seconds) + 5,
        "size": order.packages.size, "index": order.packages.index,
        "folder": order.packages.wheels, "names": [*names], "file": str(file), "dest": str(dest),
        "python": target.python, "abi": target.abi, "platforms": [*target.platforms],
        "markers": {**target.markers},
    }  # fmt: skip


async def _run(
    asked: program.Asked, folder: Path, seconds: float, progress: Progress, what: str
) -> _Ended:
    """Run the program to its end. Raises TimeoutError, _TooLarge, StateError where the disk is
    nearly full; then, and when cancelled, the program is ended."""
    home, tmp = str(folder), str(folder / "tmp")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", _START, str(len(_PROGRAM)), cwd=home, start_new_session=True,
        env={"HOME": home, "TMPDIR": tmp, "PIP_CONFIG_FILE": os.devnull, "LC_ALL": "C.UTF-8"},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output = asyncio.ensure_future(
        _output(process, _PROGRAM + json.dumps(asked).encode(), asked["mode"])
    )
    try:
        async with asyncio.timeout(seconds):
            while not output.done():
                await asyncio.wait((output,), timeout=_EVERY)
                size = await asyncio.to_thread(_size_of, folder)
                require_room(folder, 0)  # the daemon's own files lie there
                if size > asked["size"]:
                    raise _TooLarge
                if size and what:
                    progress(what, size, None)
        return _Ended(await process.wait(), output.result())
    finally:
        output.cancel()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _output(process: asyncio.subprocess.Process, given: bytes, mode: str) -> str:
    """All output at its end: for a download the last part, for a list all of it."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(given)
        await process.stdin.drain()
    process.stdin.close()
    most, said = _OUTPUT if mode == "download" else _LIST_SIZE, b""
    while piece := await process.stdout.read(65536):
        said = (said + piece)[-most:]
    return said.decode("utf-8", "replace")


def _size_of(folder: Path) -> int:
    """Bytes of the wheels so far: pip puts them first into its own folder, then into the target
    folder."""
    return max(_sum(folder / "tmp"), _sum(folder / "wheels"))


def _sum(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_size  # noqa: PTH118
    return total


def _silent(what: str, done: int, total: int | None) -> None:
    pass
