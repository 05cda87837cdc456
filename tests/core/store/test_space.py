from __future__ import annotations

from pathlib import Path

import pytest

from hostler.base.errors import StateError
from hostler.base.units import GIB, MIB
from hostler.cli import checks
from hostler.store import files
from hostler.store.files import Space, require_room, sentence, space_of


@pytest.mark.parametrize(
    ("free", "total", "low", "room"),
    [
        (500 * GIB, 1000 * GIB, False, True),
        (2 * GIB, 1000 * GIB, False, True),
        (900 * MIB, 1000 * GIB, True, True),
        (100 * MIB, 1000 * GIB, True, False),
        (20 * MIB, 24 * MIB, False, True),
        (1 * MIB, 24 * MIB, True, True),
        (0, 24 * MIB, True, False),
    ],
)
def test_when_a_disk_is_low_and_when_it_is_full(
    free: int, total: int, low: bool, room: bool
) -> None:
    found = Space(free, total)
    assert (found.is_low, found.has_room(0)) == (low, room)


def test_what_does_not_fit_is_refused_by_name_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert space_of(tmp_path / "not" / "there").total > 0
    require_room(tmp_path, 0)
    monkeypatch.setattr(files, "space_of", lambda _folder: Space(200 * MIB, 1000 * GIB))
    require_room(tmp_path, 50 * MIB)
    with pytest.raises(StateError, match="nearly full: 200 MiB of 1000 GiB left") as caught:
        require_room(tmp_path, 100 * MIB)
    assert str(tmp_path) in caught.value.message
    assert "hostler gc" in caught.value.remedy


def test_doctor_looks_at_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, state in ((500 * GIB, "ok"), (500 * MIB, "warn"), (0, "fail")):
        found = Space(free, 1000 * GIB)
        monkeypatch.setattr(checks, "space_of", lambda _folder, found=found: found)
        check = checks.check_state(tmp_path)
        assert check.state == state
        if state != "ok":
            assert check.message == sentence(tmp_path, found)
            assert "hostler gc" in check.remedy


def test_a_disk_with_room_that_is_too_small_all_the_same_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "space_of", lambda _folder: Space(200 * GIB, 1000 * GIB))
    with pytest.raises(
        StateError, match="200 GiB of 1000 GiB left, and 400 GiB more will be written"
    ):
        require_room(tmp_path, 400 * GIB)
