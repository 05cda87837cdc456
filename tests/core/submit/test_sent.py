"""What was sent to daemons of other users, and so may be packed again because one names it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.base.json_types import JsonTable
from hostler.quick.socket import Found
from hostler.submit import remembered
from hostler.submit.remembered import SENT, check_sent, remember

CODE = Path("/home/ana/code")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOSTLER_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def found(path: str = "/run/hostler/hostler.sock", server: int | None = None) -> Found:
    place = Found(path, "system")
    place.server = os.geteuid() + 1 if server is None else server
    return place


def body(folder: Path = CODE, *include: str, file: str = "") -> JsonTable:
    return {"file": file, "source": {"path": str(folder), "include": [*include]}}


def is_known(place: Found, folder: Path = CODE, *include: str, file: str = "") -> bool:
    try:
        check_sent(place, folder, include, file, "leave --new-code out")
    except InputError:
        return False
    return True


def test_only_what_was_sent_to_that_daemon_is_known(state: Path) -> None:
    assert not is_known(found())
    remember(found(), body())
    assert is_known(found())
    assert not is_known(found("/run/other/hostler.sock"))
    assert not is_known(found(), CODE.parent)
    assert not is_known(found(), CODE, ".env")
    assert not is_known(found(), file=".netrc")
    remember(found(), body(CODE, "data/*", file="sub/exam.toml"))
    assert is_known(found(), CODE, "data/*", file="exam.toml")
    assert not is_known(found(), CODE, file="exam.toml")


def test_ones_own_daemon_and_roots_are_believed(state: Path) -> None:
    for server in (0, os.geteuid()):
        remember(found(server=server), body())
        assert is_known(found(server=server), Path("/anything"), ".env")
    assert not (state / SENT).exists()
    nobody_knows = Found("/run/hostler/hostler.sock", "system")
    assert not is_known(nobody_knows)


def test_the_refusal_says_what_is_named_and_what_to_do(state: Path) -> None:
    with pytest.raises(InputError) as caught:
        check_sent(found(), Path("/home/ana/my code"), ["a b"], "exam.toml", "add --same-code")
    assert caught.value.message == (
        "the daemon at /run/hostler/hostler.sock belongs to another user and asks for "
        "/home/ana/my code (exam.toml, --include 'a b'), which you have never sent to it from "
        "this machine"
    )
    assert caught.value.remedy == (
        "If you want to send it: cd '/home/ana/my code' and use hostler run. Otherwise add "
        "--same-code"
    )


def test_submissions_at_once_are_all_known(state: Path) -> None:
    folders = [Path(f"/home/ana/{number}") for number in range(20)]
    threads = [threading.Thread(target=remember, args=(found(), body(f))) for f in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(is_known(found(), folder) for folder in folders)
    size = (state / SENT).stat().st_size
    remember(found(), body(folders[3]))
    assert (state / SENT).stat().st_size == size, "what is known is not noted again"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_record_is_neither_read_nor_written(
    state: Path, tmp_path: Path, kind: str
) -> None:
    remember(found(), body())
    place = state / SENT
    if kind == "link":
        place.rename(tmp_path / "elsewhere")
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.unlink()
        os.mkfifo(place) if kind == "pipe" else place.mkdir()
    remember(found(), body(Path("/other")))
    assert not is_known(found())


def test_it_does_not_grow_without_end(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_LARGEST", 1000)
    for number in range(100):
        remember(found(), body(Path(f"/home/ana/{number}")))
    assert is_known(found(), Path("/home/ana/99"))
    assert (state / SENT).stat().st_size < 1100
