"""Logs of runs with secrets: whole and masked, through crashes and full disks at any moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import StateError
from hostler.base.masking import mask
from hostler.store.log_store import LogStore
from hostler.store.masked_log import MaskedLog
from tests.support.worlds.hypothesis_profiles import examples

SECRET = "abcabcab"


def _open(path: Path) -> MaskedLog:
    return MaskedLog(path, 10**9, lambda: None, [SECRET])


def _follow(log: MaskedLog, whole: bytes, size: int, pieces: int) -> bool:
    """As a runtime does: from the sink's position on, in pieces; whether all was given."""
    for _ in range(pieces):
        at = log.position.get("offset", 0)
        assert isinstance(at, int)
        if at >= len(whole):
            return True
        log.append(whole[at : at + size], {"offset": min(at + size, len(whole))})
    return False


@examples(75)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "abcabcab", "\n", "x"]), max_size=30).map("".join),
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 6)), max_size=6),
)
def test_a_log_is_whole_and_masked_through_crashes(
    tmp_path_factory: pytest.TempPathFactory, text: str, lives: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "a.log"
    whole = text.encode()
    for size, pieces in lives:
        log = _open(path)
        _follow(log, whole, size, pieces)
        log.close()  # as a daemon that ends: what is held back may go on
        assert SECRET.encode() not in (path.read_bytes() if path.exists() else b"")
    log = _open(path)
    while not _follow(log, whole, 5, 10):
        pass
    log.finish()
    log.close()
    assert (path.read_bytes() if path.exists() else b"").decode() == mask(text, [SECRET])


def test_a_full_disk_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = b"x abc" + SECRET.encode() * 2 + b" y ab"
    log = _open(tmp_path / "a.log")
    log.append(whole[:7], {"offset": 7})
    with monkeypatch.context() as patched:
        patched.setattr("os.pwrite", _full)
        with pytest.raises(StateError):
            log.append(whole[7:16], {"offset": 16})
    while not _follow(log, whole, 4, 9):
        pass
    log.finish()
    assert log.path.read_text() == mask(whole.decode(), [SECRET])


def test_a_note_amid_what_is_held_back_loses_and_repeats_nothing(tmp_path: Path) -> None:
    whole = b"x abc" + SECRET.encode() + b" y"
    log = _open(tmp_path / "a.log")
    log.append(whole[:9], {"offset": 9})
    log.note("warned")
    log.close()
    log = _open(tmp_path / "a.log")
    while not _follow(log, whole, 4, 9):
        pass
    log.finish()
    assert log.path.read_text().replace("\n[hostler] warned\n", "") == mask(
        whole.decode(), [SECRET]
    )


def _full(*_args: Any) -> int:
    raise OSError(28, "No space left on device")


def test_the_prefix_of_a_value_is_given_when_nothing_more_comes(tmp_path: Path) -> None:
    log = _open(tmp_path / "a.log")
    log.append(b"done abc", {"offset": 8})
    assert log.path.read_bytes() == b"done "
    assert log.position == {"offset": 8}
    log.finish()
    assert log.path.read_bytes() == b"done abc"
    assert _open(log.path).position == {"offset": 8}


def test_where_the_values_are_gone_nothing_is_stored(tmp_path: Path) -> None:
    logs = LogStore(tmp_path / "logs")
    log = logs.open("r1", "r1-a-1", 10**6, None)
    log.append(b"a line\n", {"offset": 7})
    log.append(b"and one more\n", {"offset": 20})
    text = logs.read("r1", "r1-a-1").decode()
    assert text.startswith("[hostler] this log was not stored")
    assert text.count("\n") == 1
    assert log.position == {"offset": 20}
