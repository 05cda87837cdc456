"""Pieces of a job's log by request."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hostler_agent import journal, tail
from hostler_agent.folders import Refusal
from hostler_agent.joblog import Writer
from hostler_agent.json_values import Message


def _folder(tmp_path: Path, ended: bool) -> str:
    folder = str(tmp_path / "run-a-1")
    (tmp_path / "run-a-1").mkdir()
    journal.append(folder, {"event": "created"})
    started = {"event": "started", "pid": 1, "ticks": -1, "shim": 1, "shim_ticks": -1}
    if ended:
        journal.append(folder, {**started, "boot_id": "b"})
    return folder


def _all(folder: str, offset: int = 0) -> tuple[bytes, int]:
    data, requests = b"", 0
    while True:
        answer = tail.tail(folder, "b", offset, 0.0)
        requests += 1
        piece = base64.b64decode(answer["data"])
        data, offset = data + piece, answer["offset"] + len(piece)
        if answer["end"]:
            return data, requests


def _write(folder: str, data: bytes, cap: int = 1 << 30) -> None:
    log = Writer(folder, cap)
    for at in range(0, len(data), 60_000):
        log.write(data[at : at + 60_000])
    os.close(log._descriptor)


def test_a_log_comes_whole_in_pieces(tmp_path: Path) -> None:
    folder = _folder(tmp_path, ended=True)
    text = b"".join(b"%d\n" % n for n in range(200_000))
    _write(folder, text)
    data, requests = _all(folder)
    assert data == text
    assert requests >= len(text) // tail.CAP
    assert _all(folder, 1000)[0] == text[1000:]


def test_what_little_a_job_left_is_told_at_once(tmp_path: Path) -> None:
    folder, metrics = _folder(tmp_path, ended=True), tmp_path / "metrics.jsonl"
    assert tail.left(folder, str(metrics)) == {"log": "", "metrics": False}
    metrics.touch()
    _write(folder, b"x" * tail.LITTLE)
    told = tail.left(folder, str(metrics))
    assert told is not None
    assert (base64.b64decode(told["log"]), told["metrics"]) == (b"x" * tail.LITTLE, True)
    _write(folder, b"y")
    assert tail.left(folder, str(metrics)) is None


def test_what_rotation_took_is_jumped_over(tmp_path: Path) -> None:
    folder = _folder(tmp_path, ended=True)
    text = bytes(range(256)) * 20_000
    _write(folder, text, cap=1_000_000)
    answer = tail.tail(folder, "b", 0, 0.0)
    at = answer["offset"]
    assert at > 0
    assert base64.b64decode(answer["data"]) == text[at : at + len(base64.b64decode(answer["data"]))]


def test_no_output_and_an_end(tmp_path: Path) -> None:
    folder = _folder(tmp_path, ended=True)
    assert tail.tail(folder, "b", 0, 5.0) == {"offset": 0, "data": "", "end": True}


@pytest.mark.parametrize(
    ("events", "boot", "is_over"),
    [
        ([], "b", False),
        ([], "after", True),
        ([{"event": "ended", "error": "no such command", "at": 1.0}], "b", True),
    ],
)
def test_what_was_never_seen_to_start_is_over_once_its_host_has_rebooted(
    tmp_path: Path, events: list[Message], boot: str, is_over: bool
) -> None:
    """Who writes its end down waits for the rest of its log."""
    folder = str(tmp_path / "run-a-1")
    (tmp_path / "run-a-1").mkdir()
    journal.append(folder, {"event": "created", "boot_id": "b"})
    for event in events:
        journal.append(folder, event)
    assert tail.tail(folder, boot, 0, 0.0)["end"] is is_over


class Clock:
    """A clock that moves on at each look, and has something done at some of them."""

    def __init__(self, step: float, **done: Callable[[], None]) -> None:
        self.now, self._step, self._done = 0.0, step, done
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        self._done.get(f"at_{self.looks}", lambda: None)()
        self.now += self._step
        return self.now


def test_it_waits_no_longer_than_asked(tmp_path: Path) -> None:
    folder, clock = _folder(tmp_path, ended=False), Clock(0.1)
    assert tail.tail(folder, "b", 0, 0.25, clock) == {"offset": 0, "data": "", "end": False}
    assert clock.now < 0.6


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    load = journal.load

    def counting(folder: str) -> journal.Job | None:
        read.append(folder)
        return load(folder)

    monkeypatch.setattr(journal, "load", counting)
    return read


def _log_a_line(folder: str) -> Callable[[], None]:
    return lambda: _write(folder, b"more")


def _end(folder: str) -> Callable[[], None]:
    return lambda: journal.append(folder, {"event": "ended", "at": 1.0})


@pytest.mark.parametrize("there", [b"", b"begun"])
@pytest.mark.parametrize(("change", "answer"), [(_log_a_line, ("more", False)), (_end, ("", True))])
def test_the_journal_is_read_again_only_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bytes,
    change: Callable[[str], Callable[[], None]], answer: tuple[str, bool],
) -> None:  # fmt: skip
    """A job that prints nothing cost a thirtieth of a processor on its host."""
    folder = _folder(tmp_path, ended=False)
    if there:
        _write(folder, there)
    read = _counted(monkeypatch)
    got = tail.tail(folder, "b", len(there), 5.0, Clock(0.001, at_20=change(folder)))
    assert (base64.b64decode(got["data"]).decode(), got["end"]) == answer
    assert len(read) == 2


def test_a_process_that_has_gone_without_an_end_in_its_journal_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _folder(tmp_path, ended=False)
    read = _counted(monkeypatch)
    tail.tail(folder, "b", 0, 3.0, Clock(0.1))
    assert 5 <= len(read) <= 8, "twice a second"


def test_no_job_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(Refusal):
        tail.tail(str(tmp_path / "none"), "b", 0, 0.0)
