"""Lives through the lab's past by the command line, then asks every question once."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
from pathlib import Path
from typing import Any

import pytest

from hostler.base.users import own_name
from hostler.model.views.runs import RunView
from tests.golden.answers import CHANGES, CODES, COMMANDS, GETS, Question
from tests.golden.history import CUT, LOST, PIPELINE, Past, past, until
from tests.golden.normal import Normal, shape
from tests.support.daemons.commandline import CommandLine, Ran

SERVICE = """\
name = "web"

[stages.serve]
kind = "service"
command = "serve"
code = "none"
health = "/"
env = { SIM = "seconds=1e9 ready=1e9" }
"""


class Asked:
    """A person at the lab."""

    def __init__(self, lab: Past, hostler: CommandLine) -> None:
        self.lab, self._hostler = lab, hostler
        daemon_id = str(lab.client.version().daemon_id)
        names = {str(lab.folder): "<folder>", daemon_id: "<daemon>"}
        self._normal = Normal(own_name(), names)

    def run(self, words: str) -> Ran:
        """Run a command; {done} and such are ids of runs."""
        names = {**self.lab.runs, "folder": self.lab.folder}
        return self._hostler(*shlex.split(words.format(**names)))

    def ok(self, words: str) -> Ran:
        """Run a command that has to succeed."""
        ran = self.run(words)
        assert ran.code == 0, (words, ran)
        return ran

    def start(self, name: str, words: str, state: str) -> None:
        """Make a run, known by this name from now on, and wait until it is so."""
        run_id = self.ok(f"run -d -q {words}").out.strip()
        self.lab.runs[name] = run_id
        self._normal.names[run_id] = f"<{name}>"
        self.until_state(name, state)

    def until_state(self, name: str, state: str) -> None:
        """Wait until a run is so."""
        run_id = self.lab.runs[name]
        until(lambda: _is(self.lab.client.show(run_id), state), f"{name} is {state}")

    def until_measured(self, name: str) -> None:
        """Wait until a look has seen what the stage of a run uses."""
        target = "'peak_memory': None"
        run_id = self.lab.runs[name]
        until(lambda: target not in str(self.lab.client.usage(run_id, "run")), f"{name} is seen")

    def stored(self, text: str, question: Question) -> Any:
        """What is stored of an answer."""
        if not question.lines:
            value = json.loads(text)
            if question.form == "keys":
                return sorted(value)
            return shape(value) if question.form == "shape" else self._normal(value)
        found = [self._normal(json.loads(line)) for line in text.splitlines()]
        return sorted(found, key=lambda line: json.dumps(line, sort_keys=True))


def _is(run: RunView, state: str) -> bool:
    """Whether a run has this state; one that runs has really started."""
    return run.state == state and (state != "running" or run.started_at is not None)


def ask_all(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The answers by the names of their files. The commands come last, since some make runs."""
    work = folder / "work"
    work.mkdir()
    (work / "pipeline.toml").write_text(PIPELINE)
    (folder / "config.toml").touch()
    (folder / "image").mkdir()
    (folder / "image/Dockerfile").write_text("FROM scratch\n")
    (folder / "web").mkdir()
    (folder / "web/pipeline.toml").write_text(SERVICE)
    patch.chdir(work)
    patch.setenv("HOSTLER_CONFIG", str(folder / "config.toml"))
    patch.setenv("HOSTLER_STATE", str(folder / "mine"))
    with past(folder) as lab:
        patch.setenv("HOSTLER_SOCKET", str(lab.lab.socket))
        asked = Asked(lab, CommandLine(patch))
        live_through(asked)
        answers = {f"api/{each.name}": _call(asked, each) for each in GETS}
        answers |= {f"cli/{each.name}": _command(asked, each) for each in COMMANDS}
        answers["codes"] = {words: _code(asked, words) for words in CODES}
        return answers | {f"api/do-{each.name}": _call(asked, each) for each in CHANGES}


def live_through(asked: Asked) -> None:
    """What happens before the questions, one thing after the other."""
    asked.start("done", "-p lr=0.2", "succeeded")
    asked.start("other", "-p lr=0.3 --title other", "succeeded")
    command = "--code none --gpus {} --host {} --name {} --env SIM='{}' -- python3 work.py"
    asked.start("failed", command.format(1, "gpu2", "broken", "seconds=0 exit=3"), "failed")
    forever = "seconds=1e9 lines=0 memory=0.5 util=50 write=a:9"
    asked.start("cancelled", command.format(2, "gpu1", "stopped", forever), "running")
    asked.ok("cancel {cancelled} -y")
    asked.until_state("cancelled", "cancelled")
    asked.start("running", command.format(2, "gpu1", "long", forever), "running")
    asked.until_measured("running")
    asked.start("waiting", command.format(2, "gpu1", "next", "seconds=0"), "waiting")
    asked.ok("priority {waiting} -5")
    asked.ok("keep {done}")
    asked.ok("drain gpu3 --reason moves")
    _break_gpu3(asked)


def _break_gpu3(asked: Asked) -> None:
    client, waiting = asked.lab.client, asked.lab.runs["waiting"]
    (asked.lab.folder / LOST).touch()
    until(lambda: any(alert.gpu for alert in client.alerts().alerts), "a GPU is lost")
    (asked.lab.folder / CUT).touch()
    until(lambda: client.host("gpu3").condition == "unreachable", "gpu3 is silent")
    until(lambda: "'wait for look'" in str(client.why(waiting)), "the planner takes it for silent")


def _command(asked: Asked, question: Question) -> Any:
    ran = asked.run(question.words)
    assert ran.code == question.code, (question, ran)
    return asked.stored(ran.out, question)


def _code(asked: Asked, words: str) -> Any:
    ran = asked.run(words)
    return {"code": ran.code, "answers": bool(ran.out)}


class _Local(http.client.HTTPConnection):
    """HTTP over the daemon's Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("daemon", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


def _call(asked: Asked, question: Question) -> Any:
    words = question.words if " " in question.words else f"GET {question.words}"
    method, target, body = [*words.split(" ", 2), ""][:3]
    connection = _Local(asked.lab.lab.socket)
    try:
        headers = {"Content-Type": "application/json"} if body else {}
        path = target.format(**asked.lab.runs)
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    kind = response.headers.get_content_type()
    return {
        "status": response.status,
        "type": kind,
        "headers": sorted(n for n in response.headers if n.lower().startswith("x-hostler")),
        "body": asked.stored(text, question) if "json" in kind else _without_ids(text),
    }


def _without_ids(text: str) -> list[str]:
    """Lines of a log or file, without the attempt that the simulation begins each with."""
    return [line.partition(": ")[2] or "<bytes>" for line in text.splitlines()]
