"""What is read out of ssh_config."""

from __future__ import annotations

import pytest

from hostler.base.errors import Refused
from hostler.ssh.config import hashes_names, list_hosts, resolve
from hostler.ssh.target import SshTarget, user_settings
from tests.support.machines.sshd import Home

CONFIG = """
Include extra
Host gpu1 gpu2 *.lab !no
    HostName %h.lab.example
    User ana
    Port 2222
Host=gpu3
    ProxyJump bo@bastion:2200,second
Host *
    User everyone
    IdentityAgent none
"""


def test_lists_hosts_without_wildcards(home: Home) -> None:
    home.config(CONFIG)
    (home.ssh / "extra").write_text("Host fromextra\n  HostName 10.0.0.9\n")
    listed = [(h.alias, h.hostname, h.user, h.port) for h in list_hosts(home.settings())]
    assert listed == [
        ("fromextra", "10.0.0.9", "everyone", 22),
        ("gpu1", "gpu1.lab.example", "ana", 2222),
        ("gpu2", "gpu2.lab.example", "ana", 2222),
        ("gpu3", "gpu3", "everyone", 22),
    ]


def test_no_config_lists_nothing(home: Home) -> None:
    assert list_hosts(home.settings()) == []


def test_includes_that_include_each_other_end(home: Home) -> None:
    home.config("Host a\nInclude other\n")
    (home.ssh / "other").write_text("Include config\n")
    with pytest.raises(Refused):
        list_hosts(home.settings())


def test_what_config_names_wins_over_ssh_config(home: Home) -> None:
    home.config(CONFIG)
    found = resolve(
        SshTarget("gpu1", user="eve", port=22, key="~/.ssh/k", jump="none"), home.settings()
    )
    assert found.login == "eve@gpu1.lab.example"
    assert found.identity_files == (f"{home.folder}/.ssh/k",)
    assert found.identities_only
    assert found.agent is None
    assert found.jumps == ()


def test_jumps_are_read_in_order(home: Home) -> None:
    home.config(CONFIG)
    assert resolve(SshTarget("gpu3"), home.settings()).jumps == ("bo@bastion:2200", "second")


def test_known_hosts_of_config_come_first(home: Home) -> None:
    home.config("UserKnownHostsFile ~/mine ~/.ssh/known_hosts\n")
    found = resolve(SshTarget("x"), home.settings(system_known_hosts=("/etc/k",)))
    assert found.known_hosts == (f"{home.folder}/mine", f"{home.folder}/.ssh/known_hosts", "/etc/k")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HashKnownHosts yes\n", True),
        ("Host other\n HashKnownHosts yes\n", False),
        ("Host gpu*\n HashKnownHosts no\nHost *\n HashKnownHosts yes\n", False),
        ("Host * !gpu1\n HashKnownHosts yes\n", False),
        ("Match all\n HashKnownHosts yes\n", True),
        ("Match user bob\n HashKnownHosts yes\n", False),
        ("", False),
    ],
)
def test_hash_known_hosts(home: Home, text: str, expected: bool) -> None:
    home.config(text)
    assert hashes_names(home.settings(), "gpu1") is expected


def test_the_users_own_files_come_before_the_systems() -> None:
    settings = user_settings("/home/ana")
    assert settings.config_files == ("/home/ana/.ssh/config", "/etc/ssh/ssh_config")
    assert settings.default_known_hosts[0] == "/home/ana/.ssh/known_hosts"
