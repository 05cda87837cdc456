"""`make unit`: which tests are unit tests, and what each of them must keep to.

A unit test runs inside the test process. It starts no program, needs no network and no root, and
takes less than LIMIT_S seconds of processor time. This plugin (`pytest -p tests.unit`) selects
every test in tests/core, tests/tui and tests/agents except

- those marked `programs`, `slow`, `lab` or `chaos` (pyproject.toml describes each),
- those with a fixture in STARTERS, which starts a program,
- those of a file that imports one of WHOLE, to run a whole daemon or a whole screen.

Files whose text shows that they hold none are not loaded, and the others by one worker each
(tests/byfile.py).

A selected test that breaks a rule fails, with the rule and the remedy in its message. Processor
time is counted, not wall time, so that a busy machine fails nothing.
"""

from __future__ import annotations

import ipaddress
import re
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from tests import byfile

LIMIT_S = 8.0
"""Seconds of processor time: four times what the slowest needs without coverage."""
MARKERS = ("programs", "slow", "lab", "chaos")
STARTERS = frozenset({"agent", "alone", "clean_lab", "desk", "dockerd", "lab", "place", "sshd"})
"""Fixtures that start a program: an agent, sshd, dockerd, a compiler, a whole lab."""
WHOLE = frozenset(
    f"tests.support.{name}"
    for name in (
        "screens.madefleet",
        "daemons.restoring",
        "daemons.served",
        "daemons.simdaemon",
        "programs.simserved",
    )
)
"""Modules that run a whole daemon, or a whole screen."""

_FILE_MARKS = re.compile(r"^pytestmark = (\[[^]]*\]|.*)$", re.MULTILINE)
_LEFT_OUT = re.compile(rf"\bmark\.({'|'.join(MARKERS)})\b")
_IMPORTS_WHOLE = re.compile(
    rf"^(from|import) ({'|'.join(WHOLE)})\b(?! import [A-Z_, ]+$)", re.MULTILINE
)  # a value of such a module runs nothing
_STARTS = frozenset({
    "subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn",
    "os.system",
})  # fmt: skip
_REMEDY = "Avoid it, or mark the test (or its file's pytestmark) with pytest.mark.programs."


class Guard:
    """Looks at the interpreter's audit events while a unit test runs."""

    def __init__(self) -> None:
        self.broken: list[str] | None = None
        """What the running test did against the rules; None while no test runs."""

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """An audit hook. Raises where a program would start or a connection leave the machine."""
        if self.broken is None:
            return
        why = _against_the_rules(event, arguments)
        if why:
            self.broken.append(why)
            raise PermissionError(why)


def _against_the_rules(event: str, arguments: tuple[object, ...]) -> str:
    """Why a unit test may not do this; "" where it may."""
    if event in _STARTS:
        return f"A unit test starts no program ({_named(event, arguments)}). {_REMEDY}"
    if event == "socket.connect" and not _is_local(arguments[1]):
        return f"A unit test connects to this machine only, not to {arguments[1]}. {_REMEDY}"
    return ""


def _named(event: str, arguments: tuple[object, ...]) -> str:
    return f"{event} {arguments[0]}" if arguments else event


def _is_local(address: object) -> bool:
    """A Unix socket, or a loopback address."""
    if not isinstance(address, tuple):
        return True
    try:
        return ipaddress.ip_address(str(address[0])).is_loopback
    except ValueError:
        return str(address[0]) == "localhost"


def is_unit(item: pytest.Item) -> bool:
    """Whether this test belongs to `make unit`."""
    return may_hold_units(item.path) and not (
        any(map(item.get_closest_marker, MARKERS))
        or STARTERS.intersection(getattr(item, "fixturenames", ()))
        or WHOLE.intersection(_imported(getattr(item, "module", None)))
    )


@cache
def may_hold_units(path: Path) -> bool:
    """Whether this file has to be loaded: not where its text shows that all of its tests are left
    out, by its `pytestmark` or by what it imports."""
    text = path.read_text(encoding="utf-8")
    marks = _FILE_MARKS.search(text)
    return not (marks and _LEFT_OUT.search(marks[1])) and not _IMPORTS_WHOLE.search(text)


def _imported(module: object) -> Iterator[str]:
    """The modules that this one, or what it imports by name, comes from."""
    for value in vars(module).values() if module is not None else ():
        found = (
            value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        )
        if isinstance(found, str):
            yield found


_guard = Guard()


def pytest_configure(config: pytest.Config) -> None:
    """An audit hook stays for the life of the process; it does nothing between tests."""
    sys.addaudithook(_guard)
    byfile.adopt(config, may_hold_units)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is no unit test."""
    others = [item for item in items if not is_unit(item)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if is_unit(item)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """From here on the rules hold."""
    _guard.broken = []
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Fail a test that needs too much, or that swallowed the guard's error."""
    began = time.process_time()
    result = yield
    used = time.process_time() - began
    if _guard.broken:
        pytest.fail(_guard.broken[0], pytrace=False)
    if used > LIMIT_S:
        pytest.fail(
            f"A unit test takes at most {LIMIT_S:g} s of processor time, this one took {used:.1f}"
            " s. Test less of it, or mark it with pytest.mark.slow.",
            pytrace=False,
        )
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Until everything is cleaned up."""
    try:
        return (yield)
    finally:
        _guard.broken = None
