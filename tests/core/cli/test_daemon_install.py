"""`hostler daemon install`: files for systemd, written once, and never over somebody's changes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hostler.base import paths as places
from hostler.base.errors import ConflictError, StateError
from hostler.cli import daemon_install, units
from hostler.cli.daemon_install import write
from hostler.cli.units import UnitFile, is_unchanged, marked, quoted
from tests.support.daemons.commandline import CommandLine, Ran

as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")


class Machine:
    """Where the files of a machine go; it runs systemd."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, hostler: CommandLine) -> None:
        self.config = root / "etc/hostler/config.toml"
        self.tmpfiles = root / "etc/tmpfiles.d/hostler.conf"
        self.unit = root / "etc/systemd/system/hostler.service"
        self.home = root / "home"
        self._hostler = hostler
        (root / "booted").mkdir()
        monkeypatch.setattr(places, "SYSTEM_CONFIG", str(self.config))
        monkeypatch.setattr(daemon_install, "_TMPFILES", str(self.tmpfiles))
        monkeypatch.setattr(daemon_install, "_UNITS", str(self.unit.parent))
        monkeypatch.setattr(daemon_install, "_SYSTEMD", str(root / "booted"))
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        monkeypatch.delenv("HOSTLER_CONFIG")
        monkeypatch.delenv("HOSTLER_STATE")

    def configured(self, daemon: str) -> None:
        self.config.parent.mkdir(parents=True)
        self.config.write_text(f"[daemon]\n{daemon}\n")

    def install(self, *words: str, login: str = "nobody", group: str = "nogroup") -> Ran:
        return self._hostler("daemon", "install", "--login", login, "--group", group, *words)

    def alone(self, *words: str) -> Ran:
        return self._hostler("daemon", "install", *words)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostler: CommandLine) -> Machine:
    return Machine(tmp_path, monkeypatch, hostler)


@as_root
def test_a_shared_daemon_gets_config_folders_and_a_unit(machine: Machine) -> None:
    ran = machine.install()
    assert ran.code == 0, ran
    lines = machine.unit.read_text().splitlines()
    assert "User=nobody" in lines
    assert (
        f"{sys.executable} -P -m hostler serve --config {machine.config}"
        in machine.unit.read_text()
    )
    for kept in ("KillMode=process", "OOMPolicy=continue", "WantedBy=multi-user.target"):
        assert kept in lines  # without the first two, work on this machine would end with it
    folders = machine.tmpfiles.read_text().splitlines()[2:]
    assert folders == [
        "d /run/hostler 2750 nobody nogroup -", "d /var/lib/hostler 0700 nobody nogroup -",
    ]  # fmt: skip
    assert 'group = "nogroup"\nstate = "/var/lib/hostler/state"' in machine.config.read_text()
    for path in (machine.unit, machine.tmpfiles, machine.config):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert f"written: {path}" in ran.out
    after = ran.out.partition("next, run:\n")[2].splitlines()
    assert [line.split("#")[0].strip() for line in after] == [
        f"systemd-tmpfiles --create {machine.tmpfiles}", "systemctl daemon-reload",
        "systemctl enable hostler", "systemctl restart hostler", "usermod -aG nogroup USER",
    ]  # fmt: skip


@as_root
def test_the_config_that_is_there_decides_and_is_left_alone(machine: Machine) -> None:
    machine.configured('group = "nogroup"\noperators = ["ana"]\nstate = "/srv/hostler"')
    before = machine.config.read_text()
    assert machine.alone("--login", "nobody").code == 0
    assert machine.config.read_text() == before
    assert machine.tmpfiles.read_text().splitlines()[2:] == ["d /run/hostler 2755 nobody nogroup -"]


@as_root
@pytest.mark.parametrize(
    ("daemon", "words", "said"),
    [
        ('group = "lab"', ("--group", "nogroup"), 'says group = "lab". Write group = "nogroup"'),
        ("", ("--group", "nogroup"), 'says no group. Write group = "nogroup"'),
        ("", (), "names no users of a shared daemon"),
        ('group = "nogroup"\nalow = []', (), "did you mean 'allow'?"),
        ('group = "nogroup"', ("--login", "no-such-login"), "useradd --system"),
        ('group = "no-such-group"', (), "Create it: groupadd no-such-group"),
        ('group = "nogroup"', ("--login", "root"), "run the work of all users as root"),
        ('group = "nogroup"', ("--login", "a b"), "'a b' is not allowed as a user"),
        ('group = "nogroup"', ("--user", "--group", "lab"), "--user installs a personal daemon"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_written(
    machine: Machine, daemon: str, words: tuple[str, ...], said: str
) -> None:
    machine.configured(daemon)
    words = words if "--login" in words or "--user" in words else ("--login", "nobody", *words)
    ran = machine.alone(*words)
    assert ran.code == 2, ran
    assert said in ran.err
    assert not machine.unit.exists()
    assert not machine.tmpfiles.exists()


@as_root
def test_it_may_be_run_again_also_by_another_version(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.install()
    before = machine.unit.stat().st_mtime_ns
    ran = machine.install()
    assert f"unchanged: {machine.unit}" in ran.out
    assert machine.unit.stat().st_mtime_ns == before
    monkeypatch.setattr(sys, "executable", "/opt/new/bin/python")
    ran = machine.install()
    assert f"replaced: {machine.unit}" in ran.out
    assert f"unchanged: {machine.tmpfiles}" in ran.out
    assert "ExecStart=/opt/new/bin/python" in machine.unit.read_text()


@as_root
@pytest.mark.parametrize("how", ["edited", "marked off", "foreign", "masked"])
def test_a_unit_that_somebody_changed_is_not_overwritten(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    machine.install()
    text = machine.unit.read_text()
    if how == "masked":
        machine.unit.unlink()
        machine.unit.symlink_to("/dev/null")
    else:
        changed = {
            "edited": text.replace("RestartSec=5", "RestartSec=50"),
            "marked off": text.partition("\n")[2],
            "foreign": "[Service]\nExecStart=/bin/true\n",
        }
        machine.unit.write_text(changed[how])
    there = machine.unit.read_bytes()
    machine.tmpfiles.unlink()
    monkeypatch.setattr(sys, "executable", "/opt/new/bin/python")
    ran = machine.install()
    assert ran.code == 2, ran
    assert f"{machine.unit} " in ran.err
    assert "nothing was written" in ran.err
    assert "--print" in ran.err
    assert machine.unit.read_bytes() == there
    assert not machine.tmpfiles.exists()


@as_root
def test_print_shows_and_writes_nothing_also_without_systemd(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_install, "_SYSTEMD", "/nowhere")
    ran = machine.install("--print", login="not-there-yet", group="nor-this")
    assert ran.code == 0, ran
    for path in (machine.config, machine.tmpfiles, machine.unit):
        assert f"### {path}\n" in ran.out
        assert not path.exists()
    assert "d /run/hostler 2750 not-there-yet nor-this -\n" in ran.out
    files: list[Any] = machine.install("--print", "--json").json["files"]
    assert [file["path"] for file in files] == [
        str(machine.config), str(machine.tmpfiles), str(machine.unit),
    ]  # fmt: skip


@pytest.mark.parametrize("user", [True, False])
def test_without_systemd_there_is_one_clear_message(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, user: bool
) -> None:
    monkeypatch.setattr(daemon_install, "_SYSTEMD", "/nowhere")
    ran = machine.alone("--user") if user else machine.install()
    assert ran.code != 0
    assert ran.err.count("\n") == 1
    if user or os.getuid() == 0:
        assert "this machine does not run systemd: nothing was written" in ran.err
    assert not machine.unit.exists()
    assert not machine.home.exists()


@pytest.mark.parametrize("words", [("--user",), ()])
def test_a_user_gets_a_unit_of_their_own(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOSTLER_STATE", "/srv/my state")
    ran = machine.alone(*words)
    assert ran.code == 0, ran
    unit = machine.home / ".config/systemd/user/hostler.service"
    assert f"written: {unit}" in ran.out
    lines = unit.read_text().splitlines()
    assert f"ExecStart={sys.executable} -P -m hostler serve --personal" in lines
    assert 'Environment="HOSTLER_STATE=/srv/my state"' in lines
    assert "WantedBy=default.target" in lines
    assert "User=" not in unit.read_text()
    assert "systemctl --user enable --now hostler" in ran.out
    assert "loginctl enable-linger" in ran.out


def test_only_root_installs_for_a_group(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    ran = machine.install()
    assert ran.code == 2, ran
    assert "only root can install a shared daemon" in ran.err
    assert not machine.unit.exists()


def test_a_file_that_cannot_be_written_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    files = (UnitFile(f"{tmp_path}/a/x", "x"), UnitFile(f"{tmp_path}/file/y", "y"))
    with pytest.raises(StateError, match=r"file/y cannot be"):
        write(files)
    assert list((tmp_path / "a").iterdir() if (tmp_path / "a").exists() else []) == []


def test_what_is_there_by_another_way_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff\n")
    with pytest.raises(ConflictError):
        write([UnitFile(str(path), "x")])
    assert path.read_bytes() == b"\xff\n"


@as_root
def test_a_login_that_cannot_run_it_is_told(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(sys, "executable", str(closed / "python"))
    ran = machine.install()
    assert ran.code == 0
    assert "the user nobody may not enter" in ran.err


@as_root
def test_everybody_may_read_the_config_whatever_roots_umask(machine: Machine) -> None:
    """Every command of every user of the machine reads it, and fails where it may not."""
    before = os.umask(0o077)
    try:
        ran = machine.install()
    finally:
        os.umask(before)
    assert ran.code == 0, ran
    for path in (machine.config.parent, machine.unit.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755


@as_root
@pytest.mark.parametrize(("folder", "file"), [(0o700, 0o644), (0o755, 0o600)])
def test_a_config_that_is_kept_from_everybody_is_told(
    machine: Machine, folder: int, file: int
) -> None:
    machine.configured('group = "nogroup"')
    machine.config.chmod(file)
    machine.config.parent.chmod(folder)
    ran = machine.install()
    closed = machine.config.parent if folder == 0o700 else machine.config
    assert ran.code == 0
    assert f"not all users may {'enter' if folder == 0o700 else 'read'} {closed}: " in ran.err
    closed.chmod(0o755)
    assert "not all users may" not in machine.install().err


@as_root
def test_a_program_that_others_could_change_is_told(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "python").touch()
    monkeypatch.setattr(sys, "executable", str(theirs / "python"))
    os.chown(theirs, 2, 2)
    ran = machine.install()
    assert (
        f"other users could change this Hostler installation, which nobody runs: {theirs} "
        f"belongs to" in ran.err
    )


@as_root
@pytest.mark.parametrize(
    ("socket", "made"),
    [
        ("/run/hostler/hostler.sock", "/run/hostler"),
        ("/run/not-there-yet/a/h.sock", "/run/not-there-yet/a"),
        ("/run/lock/h.sock", None),
        ("/run/x/../lock/h.sock", None),
        ("/run/h.sock", None),
        ("/srv/h/h.sock", None),
    ],
)
def test_no_folder_of_somebody_else_is_taken_for_the_socket(
    machine: Machine, socket: str, made: str | None
) -> None:
    machine.configured(f'group = "nogroup"\nstate = "/srv/hostler"\nsocket = "{socket}"')
    assert machine.install().code == 0
    lines = machine.tmpfiles.read_text().splitlines()[2:]
    assert lines == ([] if made is None else [f"d {made} 2750 nobody nogroup -"])


def test_a_program_that_systemd_would_not_run_is_told_and_nothing_written(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("/opt/it's/python", '/opt/a"b/python', "/opt/a\\b/python", "/opt/a\nb/python"):
        monkeypatch.setattr(sys, "executable", path)
        ran = machine.alone("--user")
        assert ran.code == 2
        assert "Install Hostler in another folder" in ran.err
        assert not machine.home.exists()


def test_a_value_with_a_line_end_makes_no_setting() -> None:
    unit = units.user_unit(["/bin/true"], {"HOSTLER_STATE": "/srv/x\nExecStartPre=/bin/evil\x01"})
    assert 'Environment="HOSTLER_STATE=/srv/x\\x0aExecStartPre=/bin/evil\\x01"' in unit.splitlines()


@pytest.mark.programs
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here"
)
@pytest.mark.parametrize("odd", ["plain", "a b%i;#", "a${HOME}$b"])
def test_systemd_runs_what_is_written(tmp_path: Path, odd: str) -> None:
    folder = tmp_path / odd
    folder.mkdir()
    shutil.copy("/bin/true", folder / "python")
    unit = tmp_path / "hostler.service"
    unit.write_text(units.user_unit([f"{folder}/python", "-P"], {"HOSTLER_STATE": f"{folder}\n"}))
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    ran = subprocess.run(
        ["systemd-analyze", "--user", "verify", unit], env=env, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("word", "in_command", "in_setting"),
    [
        ("/usr/bin/python3.11", "/usr/bin/python3.11", "/usr/bin/python3.11"),
        ("/my home/x", '"/my home/x"', '"/my home/x"'),
        ("a%b", '"a%%b"', '"a%%b"'),
        ("a$b", '"a$$b"', '"a$b"'),
        ('a"b\\c', '"a\\"b\\\\c"', '"a\\"b\\\\c"'),
    ],
)
def test_words_mean_themselves_to_systemd(word: str, in_command: str, in_setting: str) -> None:
    assert quoted(word, command=True) == in_command
    assert quoted(word) == in_setting


def test_a_mark_holds_for_its_text_alone() -> None:
    text = marked("x", "[Unit]\n")
    assert is_unchanged(text)
    for other in (text + "\n", text.replace("Unit", "unit"), "[Unit]\n", ""):
        assert not is_unchanged(other)
    assert units.tmpfiles(SHARED).splitlines()[2:] == ["d /run/hostler 2755 h h -"]


SHARED = units.Shared(
    login="h", login_group="h", group=None, open_to_users=True,
    socket_folder="/run/hostler", home=None,
)  # fmt: skip
