"""Fetching host keys and trusting them, against a real sshd."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hostler.base.errors import StateError, Unreachable
from hostler.ssh.connection import Dialler
from hostler.ssh.door import SshDoor
from hostler.ssh.known_hosts import KnownHosts
from hostler.ssh.target import SshSettings, SshTarget
from hostler.ssh.trust import Known, ScannedKey, scan, trust
from tests.support.machines.sshd import Home, Sshd, free_port, target, write_key


async def scanned(where: SshTarget, settings: SshSettings) -> ScannedKey:
    (found,) = await scan([where], Dialler(settings))
    assert isinstance(found, ScannedKey)
    return found


async def test_scan_shows_the_key_without_logging_in(sshd: Sshd, home: Home) -> None:
    key = await scanned(target(sshd), home.settings())
    listed = subprocess.run(
        ["ssh-keygen", "-lf", str(sshd.host_key)], capture_output=True, text=True, check=True
    ).stdout
    assert key.fingerprint in listed
    assert key.known is Known.NO
    assert key.address == f"[127.0.0.1]:{sshd.port}"
    assert key.algorithm == "ssh-ed25519"
    assert "Accepted" not in sshd.log.splitlines()[-1]


async def test_trusted_host_can_be_reached(sshd: Sshd, home: Home) -> None:
    key = await scanned(target(sshd), home.settings())
    assert trust([key, key]) == [key]
    assert home.known_hosts.stat().st_mode & 0o777 == 0o600
    assert len(home.known_hosts.read_text().splitlines()) == 1
    door = SshDoor(target(sshd), Dialler(home.settings()))
    await door.connect()
    await door.close()
    again = await scanned(target(sshd), home.settings())
    assert again.known is Known.YES
    assert trust([again]) == []
    assert len(home.known_hosts.read_text().splitlines()) == 1


async def test_names_are_hashed_if_config_says_so(sshd: Sshd, home: Home) -> None:
    home.config("Host 127.*\n  HashKnownHosts yes\n")
    trust([await scanned(target(sshd), home.settings())])
    assert home.known_hosts.read_text().startswith("|1|")
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[127.0.0.1]:{sshd.port}", "-f", str(home.known_hosts)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "found" in found.stdout
    assert (await scanned(target(sshd), home.settings())).known is Known.YES


async def test_appends_without_touching_what_is_there(sshd: Sshd, home: Home) -> None:
    home.known_hosts.write_text("# mine, and no newline at the end")
    trust([await scanned(target(sshd), home.settings())])
    first, second = home.known_hosts.read_text().splitlines()
    assert first == "# mine, and no newline at the end"
    assert second.startswith("[127.0.0.1]")
    assert [path.name for path in home.ssh.iterdir()] == ["known_hosts"]


async def test_changed_key_is_never_trusted(sshd: Sshd, home: Home, tmp_path: Path) -> None:
    write_key(tmp_path / "other")
    other = (tmp_path / "other.pub").read_text()
    home.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {other}")
    key = await scanned(target(sshd), home.settings())
    assert key.known is Known.CHANGED
    with pytest.raises(StateError, match=f"{home.known_hosts} line 1"):
        trust([key])
    assert home.known_hosts.read_text() == f"[127.0.0.1]:{sshd.port} {other}"


async def test_authority_is_named(sshd: Sshd, home: Home, tmp_path: Path) -> None:
    write_key(tmp_path / "ca")
    home.known_hosts.write_text(f"@cert-authority * {(tmp_path / 'ca.pub').read_text()}")
    key = await scanned(target(sshd), home.settings())
    assert key.known is Known.BY_AUTHORITY


async def test_silent_host_does_not_spoil_the_scan(sshd: Sshd, home: Home) -> None:
    gone = SshTarget("gone", address="127.0.0.1", port=free_port())
    first, second = await scan([gone, target(sshd)], Dialler(home.settings()))
    assert isinstance(first, Unreachable)
    assert isinstance(second, ScannedKey)


async def test_scan_and_login_through_a_jump_host(sshd: Sshd, home: Home, tmp_path: Path) -> None:
    inner = Sshd(tmp_path / "inner").start()
    try:
        home.know(sshd)
        home.config(
            f"Host bastion\n HostName 127.0.0.1\n Port {sshd.port}\n User root\n"
            f" IdentityFile {sshd.user_key}\n"
        )
        where = target(inner, jump="bastion")
        dialler = Dialler(home.settings())
        (key,) = await scan([where], dialler)
        assert isinstance(key, ScannedKey)
        assert key.known is Known.NO
        trust([key])
        doors = [
            SshDoor(target(inner, name=name, jump="bastion"), dialler) for name in ("a", "b", "c")
        ]
        before = sshd.log.count("Accepted publickey")
        for door in doors:
            await door.connect()
        assert sshd.log.count("Accepted publickey") == before + 1
        for door in doors:
            await door.close()
        assert not dialler._hops
    finally:
        inner.stop()


def test_find_knows_names_patterns_and_hashes(home: Home, tmp_path: Path) -> None:
    write_key(tmp_path / "key")
    public = (tmp_path / "key.pub").read_text().strip()
    home.known_hosts.write_text(
        f"gpu1,10.0.0.1 {public}\n*.lab,!bad.lab {public}\n[gpu1]:2222 {public}\n"
    )
    known = KnownHosts([str(home.known_hosts), str(tmp_path / "missing")])
    assert [entry.line for entry in known.find("gpu1", 22)] == [1]
    assert [entry.line for entry in known.find("gpu1", 2222)] == [3]
    assert [entry.line for entry in known.find("gpu2.lab", 22)] == [2]
    assert known.find("bad.lab", 22) == []
    assert known.find("other", 22) == []
