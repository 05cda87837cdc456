from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import ConfigError, InputError, Unreachable
from hostler.cli import identity
from hostler.cli.commands import host as host_command
from hostler.cli.commands import init
from hostler.cli.commands.init import extended, write_config
from hostler.ssh.config import ListedHost
from hostler.ssh.trust import Known, ScannedKey
from tests.support.daemons.commandline import CommandLine
from tests.support.values.fleets import fleet, host

LISTED = [ListedHost(f"h{n}", f"h{n}.lab", "ana", 22) for n in range(1, 6)]


@pytest.fixture(autouse=True)
def _nothing_yet(_own_places: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual place of the person's own configuration, with no file there; it is `tmp_path`."""
    (tmp_path / "config.toml").unlink()
    (tmp_path / "xdg").mkdir()
    (tmp_path / "xdg/hostler").symlink_to(tmp_path)
    monkeypatch.delenv("HOSTLER_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


def key(name: str, known: Known = Known.NO) -> ScannedKey:
    return ScannedKey(
        host=name, address=f"{name}.lab", algorithm="ssh-ed25519", fingerprint=f"SHA256:{name}",
        known=known, public="ssh-ed25519 AAAA", file="/nowhere/known_hosts",
        places=("known_hosts line 3",) if known is Known.CHANGED else (),
    )  # fmt: skip


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the hosts whose keys were written."""
    written: list[str] = []
    monkeypatch.setattr(identity, "trust", lambda keys: written.extend(k.host for k in keys))
    return written


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> list[ScannedKey]:
    """What the hosts show: a test fills it."""
    shown: list[ScannedKey] = []
    monkeypatch.setattr(host_command, "scan_hosts", lambda _hosts, _settings: list(shown))
    monkeypatch.setattr(
        init,
        "look_direct",
        lambda **options: fleet(*(host(h.name, ".") for h in options["config"].hosts)),
    )
    monkeypatch.setattr(init, "list_hosts", lambda _settings: LISTED)
    return shown


def test_hosts_are_written_with_their_ranges_expanded(
    hostler: CommandLine, lab: list[ScannedKey], tmp_path: Path
) -> None:
    ran = hostler("init", "gpu[01-02]", "local")
    assert ran.code == 0, ran
    written = tomllib.loads((tmp_path / "config.toml").read_text())
    assert written == {"hosts": {"gpu01": {}, "gpu02": {}, "local": {"transport": "local"}}}
    assert "3 of 3 free on 3 hosts" in ran.err
    assert ran.out == ""


def test_a_file_that_is_there_is_never_overwritten_unasked(
    hostler: CommandLine, lab: list[ScannedKey], tmp_path: Path, terminal: Any
) -> None:
    file = tmp_path / "config.toml"
    old = '# mine\n[limits]\nlog_size = "1MiB"\n[hosts.a]\nport = 2222\n'
    file.write_text(old)
    assert hostler("init", "a", "b").code == 2
    terminal("\n")
    assert hostler("init", "a", "b", tty=True).code == 130
    assert file.read_text() == old
    terminal("y\n")
    assert hostler("init", "a", "b", tty=True).code == 0
    written = tomllib.loads(file.read_text())
    assert written["hosts"] == {"a": {"port": 2222}, "b": {}}
    assert written["limits"] == {"log_size": "1MiB"}
    assert (tmp_path / "config.toml.bak").read_text() == old
    assert file.read_text().startswith(old)


def test_without_names_and_terminal_there_is_nothing_to_do(
    hostler: CommandLine, lab: list[ScannedKey]
) -> None:
    ran = hostler("init")
    assert ran.code == 2
    assert "hostler init gpu[01-12]" in ran.err


def test_hosts_of_ssh_config_are_offered(
    hostler: CommandLine, lab: list[ScannedKey], tmp_path: Path, terminal: Any
) -> None:
    terminal("1 4-5 x[1-2]\n")
    assert hostler("init", tty=True).code == 0
    written = tomllib.loads((tmp_path / "config.toml").read_text())
    assert sorted(written["hosts"]) == ["h1", "h4", "h5", "x1", "x2"]


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("", ["local"]),
        ("all", ["h1", "h2", "h3", "h4", "h5"]),
        ("2,2 h2", ["h2"]),
        ("local 3", ["local", "h3"]),
    ],
)
def test_picking(answer: str, names: list[str]) -> None:
    assert init.picked(answer, LISTED) == names


@pytest.mark.parametrize("answer", ["0", "6", "5-3", "x["])
def test_picking_nonsense(answer: str) -> None:
    with pytest.raises(InputError):
        init.picked(answer, LISTED)


def test_choices_are_numbered() -> None:
    assert init.choice_lines(LISTED)[0] == "  1  h1  (ana@h1.lab:22)"
    assert init.choice_lines([]) == ["~/.ssh/config names no hosts"]


def test_keys_are_never_trusted_unasked(
    hostler: CommandLine, lab: list[ScannedKey], trusted: list[str], tmp_path: Path
) -> None:
    lab[:] = [key("gpu1"), key("gpu2"), key("old", Known.YES)]
    for words in (["init", "gpu1"], ["init", "gpu1", "-y"], ["host", "trust", "gpu1"]):
        ran = hostler(*words)
        assert ran.code == 2
        assert "--trust-fingerprints" in ran.err
        assert "SHA256:gpu1" in ran.err  # all in one table
        assert "SHA256:gpu2" in ran.err
        assert "SHA256:old" not in ran.err
    assert trusted == []
    assert not (tmp_path / "config.toml").exists()


@pytest.mark.parametrize(("typed", "written"), [("\n", []), ("n\n", []), ("y\n", ["a", "b"])])
def test_one_question_for_all_keys(
    hostler: CommandLine, lab: list[ScannedKey], trusted: list[str], terminal: Any, typed: str,
    written: list[str],
) -> None:  # fmt: skip
    lab[:] = [key("a"), key("b")]
    terminal(typed)
    ran = hostler("host", "trust", "a", "b", tty=True)
    assert trusted == written
    assert ran.code == (0 if written else 3)


def test_given_fingerprints_are_trusted_and_no_others(
    hostler: CommandLine, lab: list[ScannedKey], trusted: list[str]
) -> None:
    lab[:] = [key("a"), key("b"), key("c")]
    ran = hostler("host", "trust", "x", "--trust-fingerprints", "SHA256:a,SHA256:b",
                  "--trust-fingerprints", "SHA256:c")  # fmt: skip
    assert (ran.code, trusted) == (0, ["a", "b", "c"])
    trusted.clear()
    assert hostler("host", "trust", "x", "--trust-fingerprints", "SHA256:a").code == 2
    assert trusted == []


def test_changed_keys_and_silent_hosts_are_told(
    hostler: CommandLine, lab: list[Any], trusted: list[str]
) -> None:
    lab[:] = [key("a", Known.CHANGED), Unreachable("b", "timed out")]
    ran = hostler("host", "trust", "a", "b")
    assert (ran.code, trusted) == (3, [])
    assert "ANOTHER KEY IS KNOWN (known_hosts line 3)" in ran.err
    assert "now shows ssh-ed25519 SHA256:a" in ran.err
    assert "delete that line, then `hostler host trust a`" in ran.err
    assert "b: timed out" in ran.err


def test_known_keys_need_nothing(hostler: CommandLine, lab: list[ScannedKey]) -> None:
    lab[:] = [key("a", Known.YES), key("b", Known.BY_AUTHORITY)]
    ran = hostler("host", "trust", "a", "b")
    assert (ran.code, ran.err) == (0, "all keys are known already\n")


NAMES: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from("abcd"), st.just({}), max_size=4
)


@given(NAMES, NAMES)
def test_adding_hosts_loses_none_and_keeps_comments(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    text = "# mine\n" + "".join(f"[hosts.{name}]\nport = 7 # seven\n" for name in old)
    written = extended(text, new)
    hosts = tomllib.loads(written).get("hosts", {})
    assert set(hosts) == set(old) | set(new)
    assert all(hosts[name] == {"port": 7} for name in old)
    assert written.startswith(text.rstrip())


def test_a_file_that_cannot_be_gone_on_with_is_written_anew() -> None:
    written = tomllib.loads(extended("hosts = { a = { port = 7 } }", {"b": {}}))
    assert written == {"hosts": {"a": {"port": 7}, "b": {}}}


def test_adding_to_what_is_no_toml_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        extended("[hosts", {"a": {}})


@pytest.mark.parametrize("old", ["[hosts", "[hosts.a]\nadress = 'x'\n"])
def test_a_present_file_that_is_wrong_is_told_before_anything_is_asked(
    hostler: CommandLine, lab: list[ScannedKey], trusted: list[str], tmp_path: Path, old: str
) -> None:
    lab[:] = [key("b")]
    (tmp_path / "config.toml").write_text(old)
    ran = hostler("init", "-y", "b", "--trust-fingerprints", "SHA256:b")
    assert ran.code == 2
    assert f"{tmp_path / 'xdg/hostler/config.toml'} " in ran.err
    assert "line " in ran.err
    assert trusted == []
    assert (tmp_path / "config.toml").read_text() == old


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "gp u", "a@b@c", "gpu1:99999", "gpu1:x", "é"])
def test_what_cannot_name_a_host_is_refused_before_anything_is_asked(
    hostler: CommandLine, lab: list[ScannedKey], tmp_path: Path, name: str
) -> None:
    ran = hostler("init", "gpu1", "--", name)
    assert ran.code == 2
    assert "cannot name a host" in ran.err
    assert "asking" not in ran.err
    assert not (tmp_path / "config.toml").exists()


def test_a_file_that_is_named_and_not_there_is_written(
    hostler: CommandLine, lab: list[ScannedKey], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_CONFIG", str(tmp_path / "new/own.toml"))
    assert hostler("init", "a").code == 0
    assert tomllib.loads((tmp_path / "new/own.toml").read_text()) == {"hosts": {"a": {}}}


def test_hosts_may_be_named_as_ssh_takes_them(
    hostler: CommandLine, lab: list[ScannedKey], tmp_path: Path
) -> None:
    assert hostler("init", "bo@gpu[1-2]", "gpu3:2222").code == 0
    written = tomllib.loads((tmp_path / "config.toml").read_text())["hosts"]
    assert written == {"gpu1": {"user": "bo"}, "gpu2": {"user": "bo"}, "gpu3": {"port": 2222}}


def test_hosts_that_are_there_already_change_nothing(
    hostler: CommandLine, lab: list[ScannedKey], tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[hosts.a]\n[hosts.b]\n")
    ran = hostler("init", "a", "b")
    assert ran.code == 0
    assert "has a, b already: nothing to write" in ran.err
    assert [p.name for p in tmp_path.glob("config.toml*")] == ["config.toml"]


def test_hosts_that_do_not_answer_are_written_and_named(
    hostler: CommandLine, lab: list[ScannedKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = host("b", "", condition="unreachable", age_s=None)
    monkeypatch.setattr(init, "look_direct", lambda **_options: fleet(host("a", "."), silent))
    ran = hostler("init", "a", "b")
    assert ran.code == 0
    assert "b cannot be used yet, but is in the file" in ran.err
    assert "written all the same" not in hostler("init", "a", "b").err  # nothing was


def test_a_host_has_one_login(hostler: CommandLine, lab: list[ScannedKey], tmp_path: Path) -> None:
    ran = hostler("init", "a", "bo@a")
    assert (ran.code, "named twice" in ran.err) == (2, True)
    assert not (tmp_path / "config.toml").exists()
    assert hostler("init", "bo@a", "a[1]", "a1").code == 0  # twice the same is once


def test_writing_is_one_step_and_follows_links(tmp_path: Path) -> None:
    real = tmp_path / "real/config.toml"
    link = tmp_path / "config.toml"
    link.symlink_to(real)
    assert write_config(link, "[hosts.a]\n") is None
    assert link.is_symlink()
    assert write_config(link, "[hosts.b]\n") == real.with_name("config.toml.bak")
    assert tomllib.loads(real.read_text()) == {"hosts": {"b": {}}}
    assert sorted(p.name for p in real.parent.iterdir()) == ["config.toml", "config.toml.bak"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_config(tmp_path / "file/config.toml", "")


def test_fingerprints_are_a_table_that_can_be_read(
    hostler: CommandLine, lab: list[ScannedKey], trusted: list[str], terminal: Any
) -> None:
    lab += [key("a"), key("b")]
    terminal("n\n")
    ran = hostler("host", "trust", "a", "b", tty=True)
    assert ran.code == 3
    lines = ran.err.splitlines()
    assert lines[0].split() == ["HOST", "ADDRESS", "KEY", "FINGERPRINT"]
    assert lines[1].split()[0] == "a"
    assert lines[2].split()[0] == "b"
