from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons.served import Served, served
from tests.support.machines.desk import wait_until

PIPELINE = """
name = "two"
[stages.a]
command = "true"
[stages.b]
needs = ["a"]
command = "true"
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("api"), over_tcp=True) as running:
        yield running


def call(daemon: Served, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port or 0, timeout=20)
    try:
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        connection.request(method, path, raw, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text and method != "HEAD" else None
    finally:
        connection.close()


def submit(daemon: Served, **more: Any) -> dict[str, Any]:
    status, run = call(daemon, "POST", "/v1/runs", {"pipeline": PIPELINE, **more})
    assert status == 201, run
    found: dict[str, Any] = run
    return found


def test_a_run_is_there_once_its_id_was_answered(daemon: Served) -> None:
    run = submit(daemon)
    status, again = call(daemon, "GET", f"/v1/runs/{run['run_id'][:5]}")
    assert status == 200
    assert again["run_id"] == run["run_id"]
    assert [s["name"] for s in again["stages"]] == ["a", "b"]
    assert run["run_id"] in [r["run_id"] for r in call(daemon, "GET", "/v1/runs")[1]["runs"]]


def test_what_waits_says_why_and_names_the_host(daemon: Served) -> None:
    run = submit(daemon)
    address = f"/v1/runs/{run['run_id']}/why"
    wait_until(lambda: call(daemon, "GET", address)[1]["stages"][0]["reason"], "it is planned")
    status, why = call(daemon, "GET", address)
    assert status == 200
    first, second = why["stages"]
    assert (first["name"], first["status"]) == ("a", "waiting")
    assert "nearest nowhere: no answer yet" in first["sentence"]
    assert [host["host"] for host in first["reason"]["hosts"]] == ["nowhere"]
    assert (second["name"], second["sentence"]) == ("b", "waits for a (waiting)")
    status, one = call(daemon, "GET", f"/v1/runs/{run['run_id']}/why?stage=b")
    assert [line["name"] for line in one["stages"]] == ["b"]
    assert call(daemon, "GET", f"/v1/runs/{run['run_id']}/why?stage=z")[0] == 404


def test_a_submission_is_told_what_no_host_can_take(daemon: Served) -> None:
    assert submit(daemon)["no_host"] is None  # its host has not answered yet: it may have all
    command = {"command": ["ls"], "labels": {"room": "nope"}}
    status, run = call(daemon, "POST", "/v1/runs", {"command": command})
    assert (status, run["state"]) == (201, "waiting")
    assert run["no_host"].startswith("no host can take run as requested: nearest nowhere: ")
    assert run["no_host"].endswith("; lacks the label room=nope")


def test_a_submission_for_a_host_that_is_not_there_is_refused(daemon: Served) -> None:
    command = {"command": ["ls"], "host": ["nope"]}
    status, answer = call(daemon, "POST", "/v1/runs", {"command": command})
    assert status == 400
    assert "there is no host 'nope'" in answer["error"]["message"]
    assert answer["error"]["remedy"] == "known: nowhere"


def test_a_cancelled_run_ends_and_cannot_be_cancelled_again(daemon: Served) -> None:
    run = submit(daemon)
    path = f"/v1/runs/{run['run_id']}"
    assert call(daemon, "POST", f"{path}/cancel", {})[0] == 200
    events = _follow(daemon, run["run_id"])
    assert events[-1]["run"]["outcome"] == "cancelled"
    status, refused = call(daemon, "POST", f"{path}/cancel", {})
    assert status == 409
    assert refused["error"]["kind"] == "ConflictError"
    assert call(daemon, "DELETE", path)[0] == 200
    assert call(daemon, "GET", path)[0] == 404


def _follow(daemon: Served, run_id: str) -> list[dict[str, Any]]:
    """Every line of the run's stream; it ends by itself when the run has."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port or 0, timeout=20)
    try:
        connection.request("GET", f"/v1/runs/{run_id}/events?follow=1")
        return [json.loads(line) for line in connection.getresponse().read().splitlines()]
    finally:
        connection.close()


def test_every_problem_of_a_pipeline_comes_back_with_its_line(daemon: Served) -> None:
    bad = 'name = "x"\n[stages.a]\ncomand = "true"\n[stages.b]\ncommand = "true"\nneeds = ["c"]\n'
    status, body = call(daemon, "POST", "/v1/runs", {"pipeline": bad})
    assert status == 400
    error = body["error"]
    assert error["kind"] == "PipelineError"
    assert {p["line"] for p in error["problems"]} >= {3, 6}


def test_priority_only_goes_down(daemon: Served) -> None:
    run = submit(daemon)
    path = f"/v1/runs/{run['run_id']}/priority"
    assert call(daemon, "POST", path, {"priority": -5})[1]["priority"] == -5
    assert call(daemon, "POST", path, {"priority": -1})[0] == 400
    assert call(daemon, "POST", "/v1/runs", {"pipeline": PIPELINE, "priority": 1})[0] == 400


def test_a_drained_host_says_so_and_an_unknown_one_is_refused(daemon: Served) -> None:
    assert call(daemon, "POST", "/v1/hosts/nowhere/drain", {"reason": "new PSU"})[0] == 200
    assert call(daemon, "GET", "/v1/hosts/nowhere")[1]["drained"] == "new PSU"
    assert call(daemon, "POST", "/v1/hosts/nowhere/undrain", {})[0] == 200
    assert call(daemon, "GET", "/v1/hosts/nowhere")[1]["drained"] is None
    status, body = call(daemon, "POST", "/v1/hosts/gone/drain", {})
    assert status == 404
    assert "nowhere" in body["error"]["remedy"]


def test_events_tell_who_did_what_and_to_which_host(daemon: Served) -> None:
    run_id = submit(daemon)["run_id"]
    call(daemon, "POST", "/v1/hosts/nowhere/drain", {"reason": "new PSU"})
    call(daemon, "POST", f"/v1/runs/{run_id}/priority", {"priority": -5})
    call(daemon, "POST", f"/v1/runs/{run_id}/priority", {"priority": -5})  # changes nothing
    call(daemon, "POST", f"/v1/runs/{run_id}/cancel", {})
    wait_until(
        lambda: call(daemon, "GET", f"/v1/runs/{run_id}")[1]["outcome"] is not None, "it ends"
    )
    again = call(daemon, "POST", f"/v1/runs/{run_id}/rerun", {})[1]["run_id"]
    call(daemon, "POST", f"/v1/runs/{again}/cancel", {})
    wait_until(
        lambda: call(daemon, "GET", f"/v1/runs/{again}")[1]["outcome"] is not None, "it ends"
    )
    assert call(daemon, "DELETE", f"/v1/runs/{run_id}")[0] == 200
    told = events(daemon, "after=0&limit=10000")
    by = {event["kind"]: event["actor"] for event in told}
    for kind in ("host.drained", "run.submitted", "run.cancelling", "run.removed"):
        assert by[kind] == "ana", kind
    of_host = events(daemon, "after=0&limit=10000&host=nowhere")
    assert of_host
    assert {event["host"] for event in of_host} == {"nowhere"}
    assert events(daemon, "limit=1&host=nowhere") == of_host[-1:]
    assert call(daemon, "GET", "/v1/events?host=gone")[0] == 404


def test_an_event_tells_who_lowered_a_priority(daemon: Served) -> None:
    run_id = submit(daemon)["run_id"]
    for _ in range(2):  # the second changes nothing
        call(daemon, "POST", f"/v1/runs/{run_id}/priority", {"priority": -5})
    told = [
        event
        for event in events(daemon, "after=0&limit=10000")
        if (event["kind"], event["run_id"]) == ("run.priority_lowered", run_id)
    ]
    assert [event["actor"] for event in told] == ["ana"]
    assert told[0]["message"] == f"run {run_id} has priority -5 now, 0 before"


def events(daemon: Served, query: str) -> list[dict[str, Any]]:
    """What a stream that does not go on tells."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port or 0, timeout=20)
    try:
        connection.request("GET", f"/v1/events?{query}")
        return [json.loads(line)["event"] for line in connection.getresponse()]
    finally:
        connection.close()


def numbers(daemon: Served, query: str, most: int = -1) -> list[int]:
    """Of the first events that a stream tells."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port or 0, timeout=20)
    try:
        connection.request("GET", f"/v1/events?{query}")
        lines = islice(connection.getresponse(), most if most >= 0 else None)
        return [json.loads(line)["event"]["seq"] for line in lines]
    finally:
        connection.close()


def test_events_without_a_number_are_the_latest_in_order(daemon: Served) -> None:
    for _ in range(2):
        submit(daemon)
    told = numbers(daemon, "after=0&limit=10000")
    latest = numbers(daemon, "limit=2")
    assert len(latest) == 2
    assert told[-2] <= latest[0] < latest[1]
    assert numbers(daemon, "limit=2&follow=1", most=1)[0] >= latest[0]
    assert numbers(daemon, "after=0&limit=2") == told[:2]
    assert len(told) > 2


def test_a_number_that_no_event_can_have_is_refused(daemon: Served) -> None:
    run = submit(daemon)
    for path in ("/v1/events", f"/v1/runs/{run['run_id']}/events"):
        assert call(daemon, "GET", f"{path}?after={10**20}")[0] == 400
    assert numbers(daemon, f"after={2**53 - 1}") == []


def test_an_invalid_request_says_what_and_what_to_do(daemon: Served) -> None:
    status, body = call(daemon, "GET", f"/v1/runs?owner={'x' * 300}")
    assert status == 400
    said = "the request is not valid: owner: string should have at most 200 characters"
    assert (body["error"]["message"], bool(body["error"]["remedy"])) == (said, True)
    several = call(daemon, "GET", f"/v1/runs?owner={'x' * 300}&limit=x")[1]["error"]
    assert several["message"] == "the request is not valid"
    assert [problem["path"] for problem in several["problems"]] == ["owner", "limit"]


def test_a_name_with_a_slash_is_told_as_such(daemon: Served) -> None:
    for path in ("/v1/runs/last%2Frun", "/v1/hosts/a%2Fb/drain", "/v1/hosts/", "/v1/nothing"):
        status, body = call(daemon, "GET", path)
        assert (status, body["error"]["kind"]) == (404, "NotFoundError")
        assert body["error"]["message"] == f"there is nothing at {path.replace('%2F', '/')}"
        assert "has no / in it" in body["error"]["remedy"]


def test_a_snapshot_is_kept_only_under_its_own_digest(daemon: Served) -> None:
    data = _tar({"train.py": b"print(1)"})
    digest = hashlib.sha256(data).hexdigest()
    assert call(daemon, "HEAD", f"/v1/snapshots/{digest}")[0] == 404
    wrong = "0" * 64
    assert call(daemon, "PUT", f"/v1/snapshots/{wrong}", data)[0] == 400
    assert call(daemon, "HEAD", f"/v1/snapshots/{wrong}")[0] == 404
    assert call(daemon, "PUT", f"/v1/snapshots/{digest}", data)[0] == 200
    assert call(daemon, "HEAD", f"/v1/snapshots/{digest}")[0] == 200
    run = submit(daemon, source={"digest": digest, "path": "/home/ana/x"})
    assert run["source"]["digest"] == digest
    missing = {"pipeline": PIPELINE, "source": {"digest": "1" * 64}}
    assert call(daemon, "POST", "/v1/runs", missing)[0] == 404


def _tar(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


def test_a_submission_is_checked_before_its_source_is_there(daemon: Served) -> None:
    text = 'name = "g"\n[stages.a]\ncommand = "x"\nmatrix = { f = { glob = "d/*" } }\n'
    body = {"pipeline": text, "files": ["d/1", "d/2", "e"]}
    status, said = call(daemon, "POST", "/v1/check", body)
    assert status == 200
    assert (said["stages"], said["snapshot"]) == (2, True)
    assert said["source_size"] > said["source_file"] > 0
    stages = call(daemon, "POST", "/v1/plan", body)[1]["stages"]
    assert [stage["stage"] for stage in stages] == ["a.0", "a.1"]
    status, said = call(daemon, "POST", "/v1/check", {**body, "files": []})
    assert status == 400
    assert "d/*" in said["error"]["problems"][0]["message"]


def test_a_requirements_file_that_the_source_lacks_is_told_at_once(daemon: Served) -> None:
    text = 'name = "v"\n[stages.a]\ncommand = "x"\nvenv = "nofile.txt"\n'
    body: dict[str, Any] = {"pipeline": text, "files": ["a.py"]}
    status, said = call(daemon, "POST", "/v1/check", body)
    assert status == 400
    (problem,) = said["error"]["problems"]
    assert (problem["path"], problem["line"]) == ("stages.a.venv", 4)
    assert problem["message"] == "the source has no file 'nofile.txt'"
    known: list[dict[str, Any]]
    known = [{"files": ["nofile.txt"]}, {"links": ["nofile.txt"]}, {"files": []}]
    for names in known:
        assert call(daemon, "POST", "/v1/check", {**body, **names})[0] == 200
    below = text + 'workdir = "sub"\n'
    assert (
        call(daemon, "POST", "/v1/check", {**body, "pipeline": below, "links": ["sub"]})[0] == 200
    )
    data = _tar({"train.py": b"print(1)"})
    digest = hashlib.sha256(data).hexdigest()
    call(daemon, "PUT", f"/v1/snapshots/{digest}", data)
    sent = {"pipeline": text, "source": {"digest": digest, "path": "/x"}}
    assert call(daemon, "POST", "/v1/runs", sent)[0] == 400
    for more in ('code = "none"', 'code = "here"'):
        elsewhere = {**sent, "pipeline": text + more}
        assert call(daemon, "POST", "/v1/check", elsewhere)[0] == 200
    from_input = text.replace("nofile", "inputs/x/nofile")
    assert call(daemon, "POST", "/v1/check", {**sent, "pipeline": from_input})[0] == 200


def test_a_run_whose_id_is_taken_gets_another(
    daemon: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = submit(daemon)["run_id"]
    ids = iter([taken, taken, "rzzzzz9"])
    monkeypatch.setattr("hostler.daemon.submit.new_run_id", lambda: next(ids))
    assert submit(daemon)["run_id"] == "rzzzzz9"
    events = call(daemon, "GET", "/v1/runs/rzzzzz9")[1]
    assert events["state"] == "waiting"


def test_a_plan_changes_nothing(daemon: Served) -> None:
    before = len(call(daemon, "GET", "/v1/runs?limit=10000")[1]["runs"])
    status, plan = call(daemon, "POST", "/v1/plan", {"pipeline": PIPELINE})
    assert status == 200
    assert [line["stage"] for line in plan["stages"]] == ["a", "b"]
    assert len(call(daemon, "GET", "/v1/runs?limit=10000")[1]["runs"]) == before


def test_a_log_that_does_not_exist_yet_says_why(daemon: Served) -> None:
    run = submit(daemon)
    status, body = call(daemon, "GET", f"/v1/runs/{run['run_id']}/logs/a")
    assert status == 404
    assert "hostler why" in body["error"]["remedy"]


def test_garbage_collection_tells_first(daemon: Served) -> None:
    data = _tar({"old.py": bytes(5000)})
    path = f"/v1/snapshots/{hashlib.sha256(data).hexdigest()}"
    assert call(daemon, "PUT", path, data)[0] == 200
    os.utime(daemon.service.context.content.path(path.rpartition("/")[2]), (0, 0))
    for dry_run, left in ((True, 200), (False, 404)):
        status, told = call(daemon, "POST", "/v1/gc", {"dry_run": dry_run})
        assert status == 200
        assert told["dry_run"] is dry_run
        assert told["content"] == {"blobs": 1, "bytes": len(data)}
        assert told["freed"] == len(data)
        assert call(daemon, "HEAD", path)[0] == left


def test_what_is_not_there_is_a_clean_error(daemon: Served) -> None:
    status, body = call(daemon, "GET", "/v1/nothing")
    assert status == 404
    assert body["error"]["message"]
    status, body = call(daemon, "POST", "/v1/runs", {"pipelin": "x"})
    assert status == 400
    assert "pipelin" in body["error"]["problems"][0]["path"]


def test_the_state_folder_holds_nothing_open_to_others(daemon: Served) -> None:
    folder: Path = daemon.service.context.store.folder
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
