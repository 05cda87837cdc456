"""A list of all tests, made once, so that each worker of a test run loads only the files it runs.

Otherwise each worker of pytest-xdist collects every test: seven workers load every file, and each
runs a seventh of them. scripts/test.sh collects once beforehand; HOSTLER_TEST_LIST names the file
in which that process writes the names of the tests, in the order in which they begin. The workers
take the list from there, and collect a file when one of its tests is next.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import pytest
from _pytest.runner import collect_one_node

VARIABLE = "HOSTLER_TEST_LIST"


def adopt(config: pytest.Config) -> None:
    """What this process has to do with the list: write it, name it to the workers, or use it."""
    path = os.environ.pop(VARIABLE, "")  # it is for this run: tests run pytest, too
    given = getattr(config, "workerinput", {}).get(VARIABLE)
    if given:
        config.pluginmanager.register(Uses(given))
    elif path and config.getoption("collectonly"):
        config.pluginmanager.register(Writes(Path(path)))
    elif path and os.path.exists(path):
        config.pluginmanager.register(Names(path))


class Writes:
    """In the process that only collects."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Write the names, unless a file cannot be collected: then the workers say why."""
        if not session.testsfailed:
            self._path.write_text(json.dumps([item.nodeid for item in session.items]))


class Names:
    """In the process that starts the workers."""

    def __init__(self, path: str) -> None:
        self._path = path

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass the list to a worker."""
        node.workerinput[VARIABLE] = self._path


class Uses:
    """In a worker."""

    def __init__(self, path: str) -> None:
        self._path = path

    def pytest_collection(self, session: pytest.Session) -> bool:
        """Take the list, in place of pytest's own collection."""
        session.items = ListedItems(session, json.loads(Path(self._path).read_text()))
        session.testscollected = len(session.items)
        session.config.hook.pytest_collection_finish(session=session)
        return True


class Files:
    """Collects single files."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._children = cache(self._collect)

    def find(self, path: PurePath) -> pytest.Collector:
        """The collector of a folder or file, by its path below the root folder."""
        place = self._session.config.rootpath / path
        parent = self._session if path == PurePath() else self.find(path.parent)
        found: pytest.Collector = next(x for x in self._children(parent) if x.path == place)
        return found

    def load_folders(self, files: Iterable[str]) -> None:
        """Those of the files, all at once: pytest forgets a conftest.py whose folder no collection
        has reached."""
        for folder in {PurePath(file).parent for file in files}:
            self._children(self.find(folder))

    def tests(self, file: str) -> list[pytest.Item]:
        """The tests in a file."""
        return [*self._session.genitems(self.find(PurePath(file)))]

    def _collect(self, parent: pytest.Collector) -> list[Any]:
        if parent is self._session:
            return [*self._session._collect_path(self._session.config.rootpath, {})]
        report = collect_one_node(parent)
        assert report.passed, report.longreprtext
        return report.result


class ListedItems(list[Any]):
    """In place of `session.items`. Going through it gives the tests' names; taking one gives the
    test itself, for which its file is collected."""

    def __init__(self, session: pytest.Session, names: Iterable[str]) -> None:
        super().__init__(map(Listed, names))
        self._files = Files(session)
        self._tests = cache(self._collect_tests)
        self._files.load_folders(listed.file for listed in self)

    def __getitem__(self, index: Any) -> Any:
        listed = super().__getitem__(index)
        return self._tests(listed.file)[listed.nodeid]

    def _collect_tests(self, file: str) -> dict[str, pytest.Item]:
        return {item.nodeid: item for item in self._files.tests(file)}


class Listed:
    """A test that is not collected yet."""

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid

    @property
    def file(self) -> str:
        """Its path below the root folder."""
        return self.nodeid.partition("::")[0]
