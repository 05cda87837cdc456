"""`hostler daemon backup` and `restore`, as they are typed."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import ForbiddenError
from hostler.cli.recover_hint import generation_sentence, recover_sentence
from hostler.daemon.lock import StateLock
from hostler.model.codec import from_answer
from hostler.model.views.daemon import DaemonView
from hostler.store import backup as backup_module
from hostler.store.backup import back_up_to
from hostler.store.content import ContentStore
from hostler.store.copy_key import ensure_copy_key
from hostler.store.database import Store
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A daemon's folder, with one packed source."""
    folder = tmp_path / "state"

    async def make() -> None:
        await (await Store.open(folder)).close()

    asyncio.run(make())
    ensure_copy_key(folder)
    (tmp_path / "source").write_bytes(b"x" * 2048)
    ContentStore(folder).adopt(tmp_path / "source")
    return folder


def test_it_says_what_is_in_a_backup_and_what_is_not(
    hostler: CommandLine, state: Path, tmp_path: Path
) -> None:
    ran = hostler("daemon", "backup", str(tmp_path / "file"))
    assert ran.code == 0, ran
    assert "with the daemon's keys" in ran.out
    assert "not included: 1 file of sources and outputs (2 KiB), only listed" in ran.err
    assert f"rsync -a {state}/content {state}/logs TARGET/" in ran.err
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    again = hostler("daemon", "backup", str(tmp_path / "file"))
    assert again.code == 2
    assert "already exists" in again.err
    assert "--force" in again.err
    told = hostler("daemon", "backup", str(tmp_path / "file"), "--force", "--json").json
    assert told["left_out"] == {"files": 1, "bytes": 2048}
    assert told["state"] == str(state)


def test_progress_is_one_line_on_a_terminal_and_gone_at_the_end(
    hostler: CommandLine, state: Path, tmp_path: Path
) -> None:
    ran = hostler("daemon", "backup", str(tmp_path / "file"), tty=True)
    assert ran.code == 0, ran
    assert "\r\x1b[K" in ran.err
    assert "%" not in ran.err.rpartition("\x1b[K")[2]


def test_a_restore_says_what_is_missing_and_what_comes_next(
    hostler: CommandLine, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostler("daemon", "backup", str(tmp_path / "file"))
    monkeypatch.setenv("HOSTLER_STATE", str(tmp_path / "new"))
    (tmp_path / "file").chmod(0o644)
    ran = hostler("daemon", "restore", str(tmp_path / "file"))
    assert ran.code == 0, ran
    assert "missing: 1 of 1 file of sources and outputs (2 KiB)" in ran.out
    assert "start it: hostler daemon start" in ran.out
    assert "chmod 600" in ran.err
    assert (tmp_path / "new" / "id").read_text() == (state / "id").read_text()
    again = hostler("daemon", "restore", str(tmp_path / "file"))
    assert again.code == 2
    assert "already contains a database" in again.err


def test_a_folder_that_is_named_goes_before_that_of_the_systems_file(
    hostler: CommandLine, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostler("daemon", "backup", str(tmp_path / "file"))
    config = tmp_path / "config.toml"
    config.write_text(f'[daemon]\nstate = "{state}"\nsocket = "{tmp_path}/none.sock"\n')
    monkeypatch.setenv("HOSTLER_CONFIG", str(config))
    monkeypatch.setenv("HOSTLER_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setenv("HOSTLER_STATE", str(tmp_path / "new"))
    ran = hostler("daemon", "restore", str(tmp_path / "file"))
    assert ran.code == 0, ran
    assert (tmp_path / "new" / "id").read_text() == (state / "id").read_text()
    assert f'state = "{tmp_path}/new"' in ran.out


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_who_may_not_read_the_state_is_told_who_may(hostler: CommandLine, state: Path) -> None:
    state.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(ForbiddenError, match="may only be read by root") as told:
            back_up_to(state.parent / "file", state, overwrite=False, progress=lambda *_: None)
    finally:
        os.seteuid(0)
    assert "sudo hostler daemon backup" in told.value.remedy


def test_nothing_is_restored_under_a_daemon(
    hostler: CommandLine,
    state: Path,
    tmp_path: Path,
    daemon: ScriptedDaemon,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon.on("GET", "/v1/version", {"version": "0", "api": 1, "state": str(state)})
    assert hostler("daemon", "backup", str(tmp_path / "file")).code == 0
    monkeypatch.setenv("HOSTLER_STATE", str(tmp_path / "new"))
    ran = hostler("daemon", "restore", str(tmp_path / "file"))
    assert ran.code == 1
    assert "a daemon answers at" in ran.err
    monkeypatch.delenv("HOSTLER_SOCKET")
    (tmp_path / "new").mkdir(mode=0o700)
    with StateLock(tmp_path / "new"):
        ran = hostler("daemon", "restore", str(tmp_path / "file"))
    assert ran.code == 1
    assert "another daemon" in ran.err
    assert os.listdir(tmp_path / "new") == ["daemon.lock"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("backup",), "needs a file"),
        (("restore",), "needs a file"),
        (("restore", "/none/such"), "there is no file /none/such"),
        (("backup", "/none/such"), "there is no folder /none"),
        (("stop", "file"), "takes no file"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_message(
    hostler: CommandLine, state: Path, words: tuple[str, ...], said: str
) -> None:
    ran = hostler("daemon", *words)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def about(**told: Any) -> DaemonView:
    whole = {"number": 2, "halted": "", "unmerged": [], "problems": {}, **told}
    return from_answer(DaemonView, {"generation": whole, "left_behind": None})


def test_a_daemon_that_does_nothing_says_so_in_every_listing() -> None:
    assert generation_sentence(DaemonView()) is None
    assert generation_sentence(about()) is None
    assert recover_sentence(about()) is None
    assert recover_sentence(about(halted="a newer one is at work")) == "a newer one is at work"
    said = recover_sentence(about(unmerged=["gpu3"], problems={"gpu3": "its disk hangs"}))
    assert said is not None
    assert said.startswith("notes since the backup are not merged yet: gpu3 (its disk hangs)")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_ends_a_backup_finds_nothing_half_done(
    hostler: CommandLine,
    state: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    folder, copy = tmp_path / "backups", backup_module.copy_database
    folder.mkdir()

    def ended(path: Path, target: Path, progress: backup_module.Progress) -> None:
        copy(path, target, progress)
        assert os.listdir(folder)
        os.kill(os.getpid(), number)

    before = signal.signal(number, signal.SIG_DFL)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(backup_module, "copy_database", ended)
            ran = hostler("daemon", "backup", str(folder / "file"))
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert ran.code == 130
    assert os.listdir(folder) == []
