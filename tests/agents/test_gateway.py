"""The files, the program and the log of a gateway on its host."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from hostler.link.answers import checked
from hostler_agent.folders import Folders, Refusal
from hostler_agent.gateway import Gateways
from hostler_agent.json_values import Outgoing
from tests.support.programs.agents import eventually

ID = "d1"


@pytest.fixture
def gateways(tmp_path: Path) -> Gateways:
    return Gateways(Folders(str(tmp_path)))


def _answer(verb: str, sent: Outgoing) -> dict[str, Any]:
    """As the daemon takes it."""
    return checked("gpu1", verb, json.loads(json.dumps(sent)))


def test_files_are_private_and_only_those_of_a_gateway(gateways: Gateways, tmp_path: Path) -> None:
    answer = gateways.put({"gateway": ID, "files": {"haproxy.cfg": "one\n", "tokens.map": "é"}})
    folder = tmp_path / "gateway" / ID
    assert _answer("gateway.put", answer)["folder"] == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "tokens.map").stat().st_mode) == 0o600
    assert (folder / "tokens.map").read_text() == "é"
    for name in ("../x", "control.sock", "/etc/passwd", "", "haproxy.cfg/x"):
        with pytest.raises(Refusal, match="no file of a gateway"):
            gateways.put({"gateway": ID, "files": {name: "x"}})
    for value in ("..", "a/b", "", None, 7):
        with pytest.raises(Refusal):
            gateways.put({"gateway": value})
    with pytest.raises(Refusal, match="should be an object"):
        gateways.put({"gateway": ID, "files": ["haproxy.cfg"]})


def test_all_of_it_is_removed(gateways: Gateways, tmp_path: Path) -> None:
    gateways.put({"gateway": ID, "files": {"tokens.map": "x"}})
    before = {*threading.enumerate()}
    gateways.log({"gateway": ID})
    for _ in range(2):
        assert _answer("gateway.remove", gateways.remove({"gateway": ID})) == {}
        assert list((tmp_path / "gateway").iterdir()) == []
    assert eventually(lambda: {*threading.enumerate()} <= before)
    with pytest.raises(Refusal):
        gateways.remove({"gateway": ".."})


def test_the_log_is_counted_from_its_socket(gateways: Gateways, tmp_path: Path) -> None:
    gateways.put({"gateway": ID})
    first = gateways.log({"gateway": ID})
    path = str(tmp_path / "gateway" / ID / "log.sock")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    def sent(*lines: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as sender:
            sender.connect(path)
            sender.sendall(b"".join(b"%d %s" % (len(line), line) for line in lines))

    def counted() -> list[tuple[object, ...]]:
        answer = _answer("gateway.log", gateways.log({"gateway": ID}))
        return [(each["server"], each["requests"], each["failed"]) for each in answer["servers"]]

    sent(b"nonsense", b"hostler1 s.digits a1 200 0 0 5 --", b"hostler1 s.digits a1 500 0 0 5 --")
    assert eventually(lambda: counted() == [("a1", 2, 1)])
    assert gateways.log({"gateway": ID})["since"] == first["since"]
    # Another agent of this login took the socket over, and ended.
    os.unlink(path)
    assert gateways.log({"gateway": ID})["servers"] == []
    sent(b"hostler1 s.digits b1 200 0 0 5 --")
    assert eventually(lambda: counted() == [("b1", 1, 0)])
    # Without a token, of another service, and without an answer.
    ends = (b"401 -1 -1 -1 PR--", b"403 -1 -1 -1 PR--", b"-1 -1 -1 -1 CR--", b"401 0 0 5 --")
    sent(*(b"hostler1 s.digits c1 " + end for end in ends))
    assert eventually(lambda: counted()[1:] == [("c1", 4, 1)])


@pytest.mark.programs
def test_a_program_is_taken_only_if_it_says_its_version(
    gateways: Gateways, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "tree"
    (root / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (root / "usr/sbin").mkdir()
    program = root / "usr/sbin/haproxy"
    program.write_text('#!/bin/sh\necho "HAProxy version 2.8.3 of $LD_LIBRARY_PATH"\n')
    assert gateways.find({"program": str(program)})["program"] is None  # it may not be run
    program.chmod(0o755)
    answer = _answer("gateway.find", gateways.find({"program": str(program)}))
    libraries = str(root / "usr/lib/x86_64-linux-gnu")
    assert answer == {
        "program": str(program), "version": f"HAProxy version 2.8.3 of {libraries}",
        "libraries": [libraries],
    }  # fmt: skip
    program.write_text("#!/bin/sh\nexit 3\n")
    assert gateways.find({"program": str(program)})["program"] is None
    program.write_text("#!/bin/sh\necho HAProxy version 3.1.0\n")
    (tmp_path / "relative").mkdir()
    trap = tmp_path / "relative/haproxy"
    trap.write_text("#!/bin/sh\necho HAProxy version 9.9.9\n")
    trap.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"relative::{root}/usr/sbin")
    assert gateways.find({})["program"] == str(program)
