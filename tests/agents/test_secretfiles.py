"""Secrets on a host: in memory, ours alone, gone with the attempt, whatever others made there."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler_agent import secretfiles
from hostler_agent.folders import Refusal

ATTEMPT = "rabc123-train-1"


@pytest.fixture
def place() -> Iterator[Path]:
    """A name in memory that nobody has."""
    path = Path(f"/dev/shm/hostler-test-secrets-{os.getpid()}-{time.monotonic_ns()}")
    yield path
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def test_values_are_files_of_the_login_alone(place: Path) -> None:
    folder = Path(secretfiles.put(ATTEMPT, {"A": b"one\n", "B": b"\xff"}, [str(place)]))
    assert (folder / "A").read_bytes() == b"one\n"
    assert (folder / "B").read_bytes() == b"\xff"
    assert stat.S_IMODE((folder / "A").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(place.stat().st_mode) == 0o700


def test_they_are_written_anew_and_removed(place: Path) -> None:
    secretfiles.put(ATTEMPT, {"A": b"one", "OLD": b"x"}, [str(place)])
    folder = Path(secretfiles.put(ATTEMPT, {"A": b"two"}, [str(place)]))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"A": b"two"}
    secretfiles.drop(ATTEMPT, [str(place)])
    secretfiles.drop(ATTEMPT, [str(place)])
    assert list(place.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(place: Path, tmp_path: Path) -> None:
    place.symlink_to(tmp_path)
    with pytest.raises(Refusal, match="takes no secrets"):
        secretfiles.put(ATTEMPT, {"A": b"one"}, [str(place)])
    assert list(tmp_path.iterdir()) == []
    place.unlink()
    place.mkdir(0o700)
    (place / ATTEMPT).symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"symbolic|Not a directory"):
        secretfiles.put(ATTEMPT, {"A": b"one"}, [str(place)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes folders of others")
def test_a_folder_of_somebody_else_is_not_used(place: Path) -> None:
    place.mkdir(0o700)
    os.chown(place, 12345, 12345)
    with pytest.raises(Refusal, match="belongs to uid 12345"):
        secretfiles.put(ATTEMPT, {"A": b"one"}, [str(place)])


def test_an_open_folder_and_a_disk_are_not_used(place: Path, tmp_path: Path) -> None:
    place.mkdir()
    place.chmod(0o750)
    with pytest.raises(Refusal, match="open to others"):
        secretfiles.put(ATTEMPT, {"A": b"one"}, [str(place)])
    with pytest.raises(Refusal, match="not in memory"):
        secretfiles.put(ATTEMPT, {"A": b"one"}, [str(tmp_path / "disk")])


def test_the_second_place_is_taken_where_the_first_cannot_be(place: Path) -> None:
    folder = secretfiles.put(ATTEMPT, {"A": b"1"}, ["/nonexistent/x", str(place)])
    assert folder == str(place / ATTEMPT)
    secretfiles.drop(ATTEMPT, ["/nonexistent/x", str(place)])
    assert not os.path.exists(folder)


def test_what_nobody_knows_goes_when_it_is_old(place: Path) -> None:
    for name in ("old-a-1", "old-b-1", "new-a-1"):
        secretfiles.put(name, {"A": b"1"}, [str(place)])
    before = time.time() - 7200
    for name in ("old-a-1", "old-b-1"):
        os.utime(place / name, (before, before))
    secretfiles.sweep({"old-b-1"}, [str(place)])
    assert sorted(path.name for path in place.iterdir()) == ["new-a-1", "old-b-1"]


def test_what_a_stage_has_put_there_keeps_no_value(place: Path) -> None:
    for name in ("old-a-1", "old-b-1"):
        folder = Path(secretfiles.put(name, {"A": b"1"}, [str(place)]))
        (folder / "below/more").mkdir(parents=True)
        (folder / "below/A").write_bytes(b"1")
    secretfiles.drop("old-a-1", [str(place)])
    assert sorted(path.name for path in place.iterdir()) == ["old-b-1"]
    before = time.time() - 7200
    os.utime(place / "old-b-1", (before, before))
    secretfiles.sweep((), [str(place)])
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    "values", [None, [], {"../x": "QQ=="}, {"A": "not base64!"}, {"A": 5}, {"A/B": "QQ=="}]
)
def test_an_ill_request_is_refused_without_its_values(values: object) -> None:
    with pytest.raises(Refusal) as refused:
        secretfiles.decoded(values)
    assert "not base64" not in str(refused.value)


@pytest.mark.parametrize("attempt", ["../x", "", "a/b", ".hidden"])
def test_no_attempt_leads_elsewhere(attempt: str, place: Path) -> None:
    with pytest.raises(Refusal):
        secretfiles.put(attempt, {"A": b"1"}, [str(place)])
    with pytest.raises(Refusal):
        secretfiles.drop(attempt, [str(place)])


def test_values_of_a_request_are_exact() -> None:
    value = "zwei\nZeilen 'q' \\ é\n\n"
    told = {"TOKEN": base64.b64encode(value.encode()).decode()}
    assert secretfiles.decoded(told) == {"TOKEN": value.encode()}
