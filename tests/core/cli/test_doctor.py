from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError, HostError, Refused, Unreachable
from hostler.cli import checks
from hostler.cli.checks import check_state, read_check, worst_first
from hostler.cli.commands import doctor
from hostler.model.check import Check
from hostler.model.config import HostConfig, MountConfig
from hostler.model.hosts import HostFacts
from hostler.ports import Hello
from hostler.quick.socket import Found
from hostler_agent import doctor as agent_doctor
from hostler_agent import doctor_settings
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon


class Link:
    """A host's link that does what a test says."""

    def __init__(self, error: Exception | None = None, answer: Any = None) -> None:
        self.error, self.answer, self.closed = error, answer, False

    async def connect(self) -> Hello:
        if self.error is not None:
            raise self.error
        return Hello(HostFacts(hostname="gpu1", user="lab", python="3.8.18"), "boot", "v")

    async def call(self, verb: str, payload: Any, timeout: float) -> dict[str, Any]:
        assert verb == "doctor"
        if isinstance(self.answer, Exception):
            raise self.answer
        found: dict[str, Any] = self.answer
        return found

    async def close(self) -> None:
        self.closed = True


class Doors:
    def __init__(self, link: Link) -> None:
        self._link = link

    def link(self, _config: HostConfig, daemon_id: str) -> Link:
        assert daemon_id.startswith("doctor-")  # it must not end the daemon's own agent
        return self._link


async def check(link: Link) -> list[Check]:
    found = await checks.check_host(HostConfig("gpu1"), Doors(link))  # type: ignore[arg-type]
    assert link.closed
    return found


async def test_a_host_that_answers_is_asked_for_its_checks() -> None:
    answer = {"checks": [{"check": "docker", "state": "fail", "message": "m", "remedy": "r"}]}
    found = await check(Link(answer=answer))
    assert [(c.name, c.state) for c in found] == [
        ("host.ssh", "ok"), ("host.agent", "ok"), ("host.docker", "fail"),
    ]  # fmt: skip
    assert found[0].message == "as lab on gpu1"


@pytest.mark.parametrize(
    ("error", "name", "remedy"),
    [
        (Unreachable("gpu1", "reset"), "host.ssh", "Try: ssh gpu1 true"),
        (Refused("gpu1", "key"), "host.ssh", "hostler host trust gpu1"),
        (AgentError("gpu1", "old python", remedy="Install 3.8"), "host.agent", "Install 3.8"),
        (TimeoutError(), "host.ssh", "Try: ssh gpu1 true"),
    ],
)
async def test_a_host_that_does_not_says_why_and_skips_the_rest(
    error: Exception, name: str, remedy: str
) -> None:
    found = await check(Link(error=error))
    assert [(c.name, c.state) for c in found] == [(name, "fail"), ("host.checks", "skip")]
    assert remedy in found[0].remedy


@pytest.mark.parametrize(
    ("config", "command"),
    [
        (HostConfig("a"), "ssh a true"),
        (
            HostConfig("a", address="10.0.0.7", port=2222, user="bo", key="/k/my key", jump="g:22"),
            "ssh -p 2222 -l bo -i '/k/my key' -o IdentitiesOnly=yes -J g:22 10.0.0.7 true",
        ),
    ],
)
async def test_the_command_to_try_reaches_the_host_as_it_is_configured(
    config: HostConfig, command: str
) -> None:
    for error in (Unreachable("a", "reset"), Refused("a", "login")):
        found = await checks.check_host(config, Doors(Link(error)))  # type: ignore[arg-type]
        assert found[0].remedy.split(", or ")[0] == f"Try: {command}"


def test_the_key_to_try_is_a_path_that_a_shell_need_not_expand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/ana")
    assert "-i /home/ana/.ssh/lab " in checks.ssh_command(HostConfig("a", key="~/.ssh/lab"))


async def test_an_agent_that_fails_is_a_failed_check() -> None:
    found = await check(Link(answer=HostError("gpu1", "cut")))
    assert (found[-1].name, found[-1].state) == ("host.checks", "fail")


def test_what_an_agent_sends_is_not_believed_blindly() -> None:
    odd = read_check({"check": "x", "state": "superb", "message": 3}, "h")
    assert (odd.name, odd.state, odd.message) == ("host.x", "warn", "3")
    assert read_check({}, "h").name == "host.?"


def test_trouble_comes_before_hosts_that_are_well() -> None:
    listed = [Check("local.x", "ok", ""), Check("a", "ok", "", host="good"),
              Check("b", "ok", "", host="bad"), Check("c", "fail", "", host="bad")]  # fmt: skip
    assert [c.name for c in worst_first(listed)] == ["local.x", "b", "c", "a"]


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    found: list[Check] = []

    async def check_all(_hosts: object) -> list[Check]:
        return list(found)

    monkeypatch.setattr(doctor, "_check_all", check_all)
    return found


def test_a_failed_check_is_3_with_its_remedy(hostler: CommandLine, hosts: list[Check]) -> None:
    hosts.append(Check("host.docker", "ok", "27.1", host="gpu1"))
    assert hostler("doctor").code == 0
    hosts.append(Check("host.ssh", "fail", "reset\x1b[2J", "Look", "gpu2"))
    ran = hostler("doctor")
    assert ran.code == 3
    assert "FAIL  host.ssh            gpu2: reset␛[2J\n      fix: Look\n" in ran.out
    assert "1 failed, 6 ok in " in ran.out
    assert hostler("doctor", "-q").out.startswith("FAIL")
    assert hostler("doctor", "--only", "host.docker").code == 3  # gpu2 could not be asked
    made = hostler("doctor", "--json")
    assert made.code == 3
    assert made.json["counts"] == {"fail": 1, "warn": 0, "ok": 6, "skip": 0}
    assert made.json["checks"][-1]["host"] == "gpu2"


def test_equal_warnings_of_several_hosts_are_one(hostler: CommandLine, hosts: list[Check]) -> None:
    for host in ("gpu1", "gpu2", "gpu3"):
        hosts.append(Check("host.live-restore", "warn", "a restart stops all", "Set it", host))
        hosts.append(Check("host.disk", "ok", "much", host=host))
    hosts.append(Check("host.disk", "warn", "little", "Make room", "gpu2"))
    ran = hostler("doctor")
    assert ran.out.count("a restart stops all") == 1
    assert "on gpu1, gpu2, gpu3: a restart stops all\n      fix: Set it\n" in ran.out
    assert "gpu2: little" in ran.out
    assert "4 warnings" in ran.out
    assert len(hostler("doctor", "--json").json["checks"]) >= 7, "scripts get each"


def test_a_wrong_configuration_ends_the_visit(
    hostler: CommandLine, hosts: list[Check], tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text("[hosts.a]\nprot = 3\n")
    ran = hostler("doctor")
    assert ran.code == 3
    assert "prot" in ran.out
    assert "local.daemon" not in ran.out


def test_a_named_daemon_that_is_gone_is_a_failure(
    hostler: CommandLine, hosts: list[Check], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_SOCKET", "/nowhere/x.sock")
    ran = hostler("doctor")
    assert ran.code == 3
    assert "nothing answers at /nowhere/x.sock" in ran.out


def test_the_state_of_a_daemon_that_one_may_not_enter_is_left_to_its_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def closed(path: Path, **_options: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", closed)
    monkeypatch.setattr(Path, "exists", closed)
    check = check_state(Path("/var/lib/hostler/state"))
    assert (check.state, "by the daemon's own login" in check.message) == ("skip", True)


def test_who_cannot_use_the_shared_daemon_is_told(
    hostler: CommandLine, hosts: list[Check], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hint = "the shared daemon is for others. To use it, ask for: x"
    found = Found(str(tmp_path / "x.sock"), "personal", hint)
    monkeypatch.setattr("hostler.cli.checks.find_socket", lambda _named: found)
    ran = hostler("doctor", "--only", "local.shared-daemon")
    assert "the shared daemon is for others" in ran.out
    assert "fix: To use it, ask for: x" in ran.out


def test_the_daemon_is_checked(
    hostler: CommandLine, hosts: list[Check], daemon: ScriptedDaemon
) -> None:
    assert "version 999.0 at" in hostler("doctor").out


@pytest.mark.parametrize(
    ("at", "state", "said"),
    [
        (100.0, "ok", "same time"), (99.0, "ok", "same time"), (112.9, "ok", "same time"),
        (152.0, "warn", "41s ahead"), (59.0, "warn", "41s behind"),
    ],
)  # fmt: skip
def test_clocks_are_compared_with_what_the_answer_took(at: float, state: str, said: str) -> None:
    found = checks.check_clock("gpu1", at, asked_at=100.0, answered_at=111.0)
    assert (found.name, found.state) == ("host.clock", state)
    assert said in found.message
    assert bool(found.remedy) == (state == "warn")


@pytest.mark.parametrize(
    ("seen", "state", "said"),
    [
        ({"exists": True, "is_dir": True, "readable": True, "writable": True}, "ok", "/data"),
        ({}, "warn", "is not there"),
        ({"exists": True}, "warn", "is not a folder"),
        ({"exists": True, "is_dir": True}, "warn", "cannot be read"),
        ({"exists": True, "is_dir": True, "readable": True}, "warn", "cannot be written"),
    ],
)
def test_folders_of_the_configuration_are_looked_for(
    seen: dict[str, bool], state: str, said: str
) -> None:
    mount = MountConfig("data", "/data", read_only=False)
    found = checks.check_mount("gpu1", mount, seen)
    assert (found.name, found.state) == ("host.mounts", state)
    assert said in found.message
    assert bool(found.remedy) == (state == "warn")


async def test_clock_and_mounts_are_asked_of_the_host() -> None:
    class Both(Link):
        async def call(self, verb: str, payload: Any, timeout: float) -> dict[str, Any]:
            if verb == "doctor":
                return {"checks": [], "at": 5.0}
            assert (verb, payload) == ("stat", {"paths": ["/data"]})
            return {"paths": [{"path": "/data", "exists": False, "is_dir": False}]}

    link = Both()
    mounts = (MountConfig("data", "/data"),)
    found = await checks.check_host(HostConfig("gpu1"), Doors(link), mounts)  # type: ignore[arg-type]
    assert [(c.name, c.state) for c in found[2:]] == [
        ("host.clock", "warn"), ("host.mounts", "warn"),
    ]  # fmt: skip


def test_only_takes_names_whole_and_knows_them(hostler: CommandLine, hosts: list[Check]) -> None:
    hosts += [
        Check("host.docker", "ok", "27.1", host="gpu1"),
        Check("host.docker-gpu", "fail", "none", "Install", "gpu1"),
        Check("host.ssh", "fail", "reset", "Look", "gpu2"),
        Check("host.checks", "skip", "needs host.ssh", host="gpu2"),
    ]
    ran = hostler("doctor", "--only", "host.docker", "--json")
    assert [(c["name"], c["host"]) for c in ran.json["checks"]] == [
        ("host.docker", "gpu1"), ("host.ssh", "gpu2"),
    ]  # fmt: skip
    assert hostler("doctor", "--only", "local").code == 0
    wrong = hostler("doctor", "--only", "dockr")
    assert wrong.code == 2
    assert "host.docker-gpu" in wrong.err
    # Also where a check that fails would have kept it from being made.
    assert hostler("doctor", "--only", "host.dockr").code == 2


def test_every_check_that_an_agent_makes_is_known() -> None:
    source = inspect.getsource(agent_doctor) + inspect.getsource(doctor_settings)
    made = set(re.findall(r'_(?:row|space)\("([a-z-]+)"', source))
    assert {"docker", "nvml", "var-tmp"} < made
    assert {f"host.{name}" for name in made} <= set(checks.NAMES)


def test_the_remedy_of_a_mount_names_the_key_of_the_configuration() -> None:
    mount = MountConfig("data", "/data", read_only=False)
    seen = {"exists": True, "is_dir": True, "readable": True, "writable": False}
    assert 'mode = "ro"' in checks.check_mount("a", mount, seen).remedy


def test_on_a_terminal_what_is_well_shares_a_line_and_long_texts_are_broken_between_words(
    hostler: CommandLine, hosts: list[Check], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    hosts += [Check(f"host.{n}", "ok", "fine", host="gpu1") for n in ("ssh", "docker", "nvml")]
    message = "a restart of dockerd stops all containers of everybody"
    hosts += [Check("host.ssh", "ok", "fine", host="gpu2"),
              Check("host.live-restore", "warn", message, "ask root", "gpu2")]  # fmt: skip
    lines = hostler("doctor", tty=True).out.splitlines()
    assert "ok    host                gpu1: ssh, docker, nvml" in lines
    assert all(len(line) <= 60 for line in lines if "local." not in line)
    warned = next(n for n, line in enumerate(lines) if line.startswith("warn"))
    whole = " ".join(line[26:] for line in lines[warned : warned + 3])
    assert whole.startswith(f"gpu2: {message}")
    assert hostler("doctor").out.count("host.docker") == 1


@pytest.mark.parametrize("line", ["StrictHostKeyChecking no", "  stricthostkeychecking=off"])
def test_an_ssh_that_believes_any_key_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host *\n  ForwardAgent no\n{line}\n")
    found = checks.check_ssh_config(config)
    assert (found.name, found.state) == ("local.ssh-config", "warn")
    assert f"{config}, line 3" in found.message
    assert "hostler host trust" in found.remedy


@pytest.mark.parametrize(
    "text", ["", "StrictHostKeyChecking yes\n", "StrictHostKeyChecking accept-new\n", "# x no\n"]
)
def test_an_ssh_that_checks_keys_is_well(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    assert checks.check_ssh_config(tmp_path / "config").state == "ok"
    assert checks.check_ssh_config(tmp_path / "none").state == "ok"
