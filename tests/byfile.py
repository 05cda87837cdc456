"""Workers of a test run that take whole files: each loads a file when it begins with it.

pytest-xdist has every worker collect every test beforehand, and reports each step of each test in
a message of its own. `make unit` runs thousands of tests of a millisecond, for which that took as
much processor time as half of the tests. Here xdist distributes files in place of tests. A worker
collects a file, runs its tests, and sends what it has to say about them together.

A step that has passed is not worth a message, except the test itself: the main process counts it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.listed import Files

INPUT = "hostler_files"
_TOGETHER = "hostler_together"
_CAN_WAIT = frozenset({"testreport", "collectreport", "warning_recorded"})
_STEPS = frozenset({"logstart", "logfinish"})


def adopt(config: pytest.Config, is_wanted: Callable[[Path], bool]) -> None:
    """Take part in the run, in its main process or in a worker. Of the files in the folders that
    the command names, those are taken that are wanted. Single tests are left to xdist.

    Where a worker dies, xdist names the file; without workers (-n 0) pytest shows the test."""
    given = getattr(config, "workerinput", {}).get(INPUT)
    if given is not None:
        config.pluginmanager.register(Worker(given))
    elif _is_distributed(config) and are_paths(config.args, config.invocation_params.dir):
        config.pluginmanager.register(Main(_files(config, is_wanted)))


def _is_distributed(config: pytest.Config) -> bool:
    return bool(config.getoption("tx", None) and config.getoption("dist") == "loadfile")


def are_paths(arguments: Iterable[str], folder: Path) -> bool:
    """Whether each names a file or a folder; otherwise it is a single test, or a mistake, which
    pytest itself explains."""
    return all((folder / argument).exists() for argument in arguments)


def _files(config: pytest.Config, is_wanted: Callable[[Path], bool]) -> list[str]:
    """The largest first: what is begun last should be short."""
    places = [config.invocation_params.dir / argument for argument in config.args]
    found = {path for place in places for path in _below(place)}
    wanted = sorted(filter(is_wanted, found), key=lambda path: (-path.stat().st_size, path))
    return [path.relative_to(config.rootpath).as_posix() for path in wanted]


def _below(place: Path) -> Iterable[Path]:
    return place.rglob("test_*.py") if place.is_dir() else [place]


class Main:
    """In the process that starts the workers."""

    def __init__(self, files: list[str]) -> None:
        self._files = files
        self._ended = 0
        self._tests = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass the files to a worker, and take apart what it says together."""
        node.workerinput[INPUT] = self._files
        receive = node.process_from_remote

        def receive_each(said: Any) -> None:
            if not isinstance(said, tuple) or said[0] != _TOGETHER:
                receive(said)
                return
            for name, values in said[1]:
                self._ended += name == "runtest_protocol_complete"
                receive((name, values))

        node.process_from_remote = receive_each

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count tests."""
        self._tests += report.when == "call" or not report.passed

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        """Show how many files of all have been run: how many tests they hold is not known before.
        Where no test was left to run, the session ends as pytest has it."""
        terminal: Any = session.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal._get_progress_information_message = self._progress
        try:
            return (yield)
        finally:
            session.testscollected = self._tests

    def _progress(self) -> str:
        return f" [{self._ended * 100 // max(1, len(self._files)):3d}%]"


class FileItem:
    """A file in place of a test, for xdist."""

    def __init__(self, path: str, session: pytest.Session) -> None:
        self.path = path
        self.nodeid = path
        """While one of its tests runs, that of the test: xdist compares it with the report."""
        self._session = session

    def listchain(self) -> list[Any]:
        """What stays set up until the file begins."""
        return [self._session]


class Worker:
    """In a worker."""

    def __init__(self, files: list[str]) -> None:
        self._names = files
        self._waiting: list[tuple[str, dict[str, Any]]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        """Take the files, in place of pytest's own collection."""
        self._files = Files(session)
        self._files.load_folders(self._names)
        items: list[Any] = [FileItem(name, session) for name in self._names]
        session.items = items
        session.testscollected = len(items)
        session.config.hook.pytest_collection_finish(session=session)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Change what xdist's worker does with an item, and how it sends."""
        registered = session.config.pluginmanager.get_plugins()
        worker: Any = next(x for x in registered if type(x).__name__ == "WorkerInteractor")
        session.testscollected = 0
        worker.run_one_test = lambda: self._run(worker)
        worker.sendevent = lambda name, **values: self._send(worker, name, values)

    def _run(self, worker: Any) -> None:
        worker.item_index, worker.nextitem_index = worker.nextitem_index, worker.torun.get()
        session = worker.session
        file = session.items[worker.item_index]
        follows = worker.nextitem_index
        after = session.items[follows] if isinstance(follows, int) else None
        began = time.perf_counter()
        tests = _collect(self._files, session, file.path)
        for number, test in enumerate(tests, 1):
            if session.shouldfail or session.shouldstop:
                break
            file.nodeid = test.nodeid
            following = tests[number] if number < len(tests) else after
            session.config.hook.pytest_runtest_protocol(item=test, nextitem=following)
        worker.sendevent(
            "runtest_protocol_complete",
            item_index=worker.item_index,
            duration=time.perf_counter() - began,
        )

    def _send(self, worker: Any, name: str, values: dict[str, Any]) -> None:
        if not _is_told(worker.config.option, name, values):
            return
        self._waiting.append((name, values))
        if name in _CAN_WAIT and _is_passed(values):
            return
        waiting, self._waiting = self._waiting, []
        worker.channel.send((_TOGETHER, waiting))


def _collect(files: Files, session: pytest.Session, path: str) -> list[pytest.Item]:
    """The tests of a file that are selected. As for all files that are loaded at once
    (tests/conftest.py), no search for garbage goes through what stays."""
    gc.disable()
    try:
        tests = files.tests(path)
        session.config.hook.pytest_collection_modifyitems(
            session=session, config=session.config, items=tests
        )
        session.testscollected += len(tests)
        return tests
    finally:
        gc.freeze()
        gc.enable()


def _is_told(option: Any, name: str, values: dict[str, Any]) -> bool:
    if name in _STEPS:
        return bool(option.verbose > 0)
    if name != "testreport" or not _is_passed(values) or option.durations or option.xmlpath:
        return True
    return values["data"]["when"] == "call" or bool(values["data"]["sections"])


def _is_passed(values: dict[str, Any]) -> bool:
    """Whether this is the report of something that has passed."""
    return bool(values.get("data", {}).get("outcome") == "passed")
