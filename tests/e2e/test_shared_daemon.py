"""A shared daemon and its people: real users of this machine, `hostler serve`, the command line."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machines.people import Machine, Said

NOBODY, DAEMON, BIN = 65534, 1, 2
NOGROUP = 65534
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")


@pytest.fixture
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="hs-"))
    folder.chmod(0o755)
    try:
        yield Machine(folder)
    finally:
        shutil.rmtree(folder)


def test_members_of_the_group_find_the_daemon_and_others_are_told(machine: Machine) -> None:
    with machine.served('group = "nogroup"'):
        assert stat.S_IMODE(machine.socket.parent.stat().st_mode) == 0o2750
        said = machine.hostler(NOBODY, "daemon", "status", gid=NOGROUP)
        assert said.code == 0, said
        assert f"socket: {machine.socket} (system)" in said.out
        run = machine.hostler(
            NOBODY, "run", "-d", "-q", "--code", "none", "--", "true", gid=NOGROUP
        )
        assert run.code == 0, run
        listed = machine.hostler(NOBODY, "runs", "-q", gid=NOGROUP)
        assert listed.out == run.out
        said = machine.hostler(BIN, "runs")
        assert "is for the group nogroup, and you are not in it" in said.err
        assert run.out.strip() not in said.out
    assert not (machine.folder / "home-65534" / ".local").exists()  # no daemon of their own


def test_two_members_see_what_they_did_and_the_owner_all_of_it(machine: Machine) -> None:
    words = ("run", "-d", "-q", "--code", "none", "--", "true")
    with machine.served('group = "nogroup"\nallow = ["daemon"]'):
        first = machine.hostler(NOBODY, *words, gid=NOGROUP)
        second = machine.hostler(DAEMON, *words)
        assert (first.code, second.code) == (0, 0), (first, second)
        refused = machine.hostler(DAEMON, "cancel", "-y", first.out.strip())
        assert "belongs to nobody" in refused.err
        assert said(machine.hostler(NOBODY, "audit", gid=NOGROUP)) == ["submit"]
        assert said(machine.hostler(DAEMON, "audit")) == ["refused", "submit"]
        assert said(machine.hostler(0, "audit")) == ["refused", "submit", "submit"]
        about = machine.hostler(0, "audit", "--run", first.out.strip())
        assert said(about) == ["refused", "submit"]
        assert machine.hostler(DAEMON, "audit", "--user", "nobody").code == 2


def said(listed: Said) -> list[str]:
    """The calls of `hostler audit`."""
    assert listed.code == 0, listed
    return [line.split("\t")[2] for line in listed.out.splitlines()]


def test_single_users_find_it_and_others_are_refused(machine: Machine) -> None:
    with machine.served('allow = ["daemon"]'):
        assert machine.hostler(DAEMON, "runs").code == 0
        said = machine.hostler(BIN, "runs")
        assert said.code == 2
        assert "user bin may not use this daemon" in said.err


def test_two_members_with_the_same_code_each_fetch_their_own(machine: Machine) -> None:
    """The second sends it, too, though the daemon has it: only who has its bytes may use it."""
    script = 'import os; open("out.txt", "w").write(os.environ["WHO"])'
    runs = {}
    with machine.served('group = "nogroup"\nallow = ["daemon"]'):
        for uid, gid in ((NOBODY, NOGROUP), (DAEMON, DAEMON)):
            here = machine.folder / f"code-{uid}"
            here.mkdir()
            (here / "train.py").write_text(script)
            for path in (here, here / "train.py"):
                shutil.chown(path, uid, gid)
            words = ("run", "-q", "--env", f"WHO={uid}", "--", "python3", "train.py")
            ran = machine.hostler(uid, *words, gid=gid, cwd=here)
            assert ran.code == 0, ran
            listed = machine.hostler(uid, "runs", "-q", "--limit", "1", gid=gid)
            runs[uid] = listed.out.strip()
            assert machine.hostler(uid, "wait", runs[uid], gid=gid).code == 0
        for uid, gid in ((NOBODY, NOGROUP), (DAEMON, DAEMON)):
            got = machine.hostler(uid, "get", runs[uid], "out.txt", "-o", "-", gid=gid)
            assert (got.code, got.out) == (0, str(uid)), got
        theirs = machine.hostler(DAEMON, "get", runs[NOBODY], "out.txt", "-o", "-")
        assert "belongs to nobody" in theirs.err


def test_secrets_of_members_are_their_own_and_their_processes_are_kept_away(
    machine: Machine,
) -> None:
    """Two members and root, on one machine; the state folder is closed to both."""
    words = ("run", "-d", "-q", "--code", "none")
    with machine.served('group = "nogroup"\nallow = ["daemon"]', processes="guarded"):
        for uid, gid in ((NOBODY, NOGROUP), (DAEMON, None)):
            name = f"OF_{uid}"
            made = machine.hostler(uid, "secret", "set", name, gid=gid, given=f"value of {uid}")
            assert made.code == 0, made
            listed = machine.hostler(uid, "secret", "ls", gid=gid)
            assert [line.split("\t")[0] for line in listed.out.splitlines()] == [name]
        theirs = machine.hostler(DAEMON, "secret", "rm", "-y", f"OF_{NOBODY}")
        assert f"you have set no secret 'OF_{NOBODY}'" in theirs.err
        assert machine.hostler(0, "secret", "ls").out == ""
        for name, told in ((f"OF_{DAEMON}", "members of a shared daemon have one login"),
                           (f"OF_{NOBODY}", "your shell does not set this variable")):  # fmt: skip
            taken = machine.hostler(DAEMON, *words, "--secret", name, "--", "true")
            assert (taken.code, told in taken.err) == (2, True), taken
        plain = machine.hostler(DAEMON, *words, "--", "true")
        assert "never run on the daemon's or the gateway's machine (here)" in plain.err
        assert machine.hostler(0, *words, "--", "true").code == 0
        for uid in (NOBODY, DAEMON):
            seen = machine.as_user(uid, "import os, sys; os.listdir(sys.argv[1])", "state/secrets")
            assert "PermissionError" in seen.err
        entries = said(machine.hostler(0, "audit", "--call", "secret-set"))
        assert entries == ["secret-set", "secret-set"]
    with machine.served('allow = ["daemon"]'):
        taken = machine.hostler(DAEMON, *words, "--secret", f"OF_{DAEMON}", "--", "true")
        assert taken.code == 0, taken
