from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler.errors import ConflictError, HostlerError, NoDaemonError, PipelineError
from hostler.quick.socket import Found, ask
from tests.support.scripted_daemon import Answer, ScriptedDaemon, json_lines, scripted_daemon


@pytest.fixture
def daemon() -> Iterator[ScriptedDaemon]:
    with scripted_daemon() as running:
        yield running


def found(daemon: ScriptedDaemon) -> Found:
    return Found(str(daemon.path), "environment")


def test_a_question_is_answered(daemon: ScriptedDaemon) -> None:
    daemon.on("POST", "/v1/gc", {"freed": 3})
    assert ask(found(daemon), "POST", "/v1/gc", {"dry_run": True}) == {"freed": 3}
    assert daemon.asked[0].json == {"dry_run": True}


def test_chunked_answers_are_read_too(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/gpus", Answer(parts=[b'{"a":', b"1}"]))
    assert ask(found(daemon), "GET", "/v1/gpus") == {"a": 1}


def test_the_daemons_error_comes_back_as_itself(daemon: ScriptedDaemon) -> None:
    problems = [{"path": "stages.a", "message": "bad", "line": 3, "hint": ""}]
    body = {"error": {"kind": "PipelineError", "message": "m", "remedy": "r", "problems": problems}}
    daemon.on("GET", "/v1/x", Answer(body, 400))
    with pytest.raises(PipelineError) as caught:
        ask(found(daemon), "GET", "/v1/x")
    assert [str(problem) for problem in caught.value.problems] == ["line 3: stages.a: bad"]
    conflict = {"error": {"kind": "ConflictError", "message": "m", "remedy": ""}}
    daemon.on("GET", "/v1/y", Answer(conflict, 409))
    with pytest.raises(ConflictError):
        ask(found(daemon), "GET", "/v1/y")


def test_an_error_that_is_none_of_ours_names_the_status(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/x", Answer("oh", 502))
    with pytest.raises(HostlerError, match="status 502"):
        ask(found(daemon), "GET", "/v1/x")
    daemon.on("GET", "/v1/y", Answer(status=200, parts=[b"not json"]))
    with pytest.raises(HostlerError, match="not JSON"):
        ask(found(daemon), "GET", "/v1/y")


def test_no_socket_is_no_daemon() -> None:
    with pytest.raises(NoDaemonError, match=r"no such socket.*HOSTLER_SOCKET") as caught:
        ask(Found("/nowhere/x.sock", "environment"), "GET", "/v1/gpus")
    assert caught.value.exit_code == 5


def test_a_socket_that_refuses_is_no_daemon(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    with pytest.raises(NoDaemonError, match=r"refuses.*hostler daemon start"):
        ask(Found(str(path), "personal"), "GET", "/v1/gpus")


def test_a_silent_daemon_is_given_up(daemon: ScriptedDaemon) -> None:
    never = threading.Event()
    daemon.on("GET", "/v1/gpus", Answer(parts=[*json_lines({}), never]))
    with pytest.raises(NoDaemonError, match="does not answer"):
        ask(found(daemon), "GET", "/v1/gpus", timeout=0.1)
    never.set()


def test_a_daemon_that_is_slow_is_not_to_be_started(daemon: ScriptedDaemon) -> None:
    never = threading.Event()
    daemon.on("GET", "/v1/gpus", Answer(parts=[*json_lines({}), never]))
    with pytest.raises(NoDaemonError, match=r"does not answer\. It may be busy"):
        ask(Found(str(daemon.path), "personal"), "GET", "/v1/gpus", timeout=0.1)
    never.set()


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoDaemonError, match=r"not a folder\. Set HOSTLER_STATE"):
        ask(Found(f"{tmp_path}/file/x.sock", "personal"), "GET", "/v1/gpus")


def test_an_answer_cut_short_is_an_error(daemon: ScriptedDaemon) -> None:
    daemon.on("GET", "/v1/gpus", Answer({"a": 1}, cut=True))
    with pytest.raises(NoDaemonError, match="in the middle"):
        ask(found(daemon), "GET", "/v1/gpus")
