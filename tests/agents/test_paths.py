"""Looks at paths: a file system that hangs costs one thread a path, however often it is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import paths as module
from hostler_agent.folders import Refusal
from hostler_agent.paths import Answer, Paths, look_at
from tests.support.programs.agents import eventually


class FileServer:
    """Looks at paths below /nfs hang until it is mended."""

    def __init__(self) -> None:
        self.mended = threading.Event()
        self.looks: list[str] = []

    def look(self, item: Any) -> Answer:
        path = item["path"] if isinstance(item, dict) else str(item)
        self.looks.append(path)
        if path.startswith("/nfs"):
            self.mended.wait(30)
        return {"path": path, "exists": True}


@pytest.fixture
def server() -> Iterator[FileServer]:
    made = FileServer()
    yield made
    made.mended.set()


def looking() -> int:
    return sum(thread.name == "path" for thread in threading.enumerate())


def silent(ask: Callable[[], object], words: str = "does not answer") -> None:
    with pytest.raises(Refusal, match=words) as said:
        ask()
    assert said.value.kind == "Unreachable"  # nobody knows what lies there: to be asked again


def test_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc")
    there: Any = {"path": str(tmp_path), "token": {"name": "token", "content": "abc"}}
    found, gone = Paths().stat([there, str(tmp_path / "gone")])
    assert (found["is_dir"], found["writable"], found["token_ok"]) == (True, True, True)
    assert (gone["exists"], gone["real"]) == (False, str(tmp_path / "gone"))


@pytest.mark.parametrize("items", [None, "/a", ["a"], [{"path": "a"}], [7], ["/a\0"], ["/"] * 257])
def test_what_is_no_list_of_paths_is_refused(items: Any) -> None:
    with pytest.raises(Refusal) as said:
        Paths().stat(items)
    assert said.value.kind == "InputError"


def test_a_path_that_hangs_costs_one_thread_however_often_it_is_asked(server: FileServer) -> None:
    paths, before = Paths(server.look, patience=0.05), looking()
    for _ in range(20):
        silent(lambda: paths.stat(["/here", "/nfs/data"]))
    assert server.looks.count("/nfs/data") == 1
    assert looking() == before + 1
    server.mended.set()
    eventually(lambda: looking() == before)
    assert [found["path"] for found in paths.stat(["/nfs/data"])] == ["/nfs/data"]
    assert server.looks.count("/nfs/data") == 2, "the answer is a new one"


def test_many_who_ask_at_once_wait_their_time_or_are_told_at_once(server: FileServer) -> None:
    paths, before = Paths(server.look, patience=0.2), looking()
    with ThreadPoolExecutor(10) as pool:
        for asked in [pool.submit(paths.stat, ["/nfs/data"]) for _ in range(10)]:
            silent(asked.result)
    assert looking() == before + 1
    patient = Paths(server.look, patience=30)
    patient._busy = paths._busy
    silent(lambda: patient.stat(["/nfs/data"]))  # without waiting half a minute for it


def test_who_asks_while_another_looks_gets_an_answer_of_its_own(server: FileServer) -> None:
    paths = Paths(server.look, patience=30)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(paths.stat, ["/nfs/data"]) for _ in range(4)]
        eventually(lambda: bool(server.looks))
        server.mended.set()
        assert all(one.result()[0]["exists"] for one in asked)
    assert len(server.looks) == 4


def test_there_is_an_end_to_threads(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_STUCK", 3)
    paths, before = Paths(server.look, patience=0.02), looking()
    for number in range(6):
        silent(lambda number=number: paths.stat([f"/nfs/{number}"]))  # type: ignore[misc]
    silent(lambda: paths.stat(["/here"]), "as do 3 other paths")
    assert looking() == before + 3


def test_a_look_that_fails_is_told_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(item: Any) -> Answer:
        raise OSError(5, "Input/output error")

    paths = Paths(fails)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            paths.stat(["/a"])
    assert look_at("/")["is_dir"]
