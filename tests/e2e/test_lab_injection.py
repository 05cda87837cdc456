"""Words that a shell would run, in every place where people write words: they stay words.

A marker file that one of them names appears nowhere: not where the daemon runs, not on a host.
"""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from hostler.base.errors import HostlerError
from hostler.base.paths import SOCKET_NAME
from hostler.client import Client
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.daemons.commandline import CommandLine, Ran
from tests.support.machines.desk import Desk, Said, stage

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def words(marker: str) -> list[str]:
    """Quotes, substitution, ends of lines, options, ways up, odd letters, and very many."""
    touch = f"touch {marker}"
    return [
        "'", '"', f"$({touch})", f"`{touch}`", f";{touch};", f"'; {touch}; '", f'"; {touch}; "',
        f"\n{touch}\n", f"| {touch}", f"& {touch} &", f"${{IFS}}{touch}", "../../etc/passwd", "-rf",
        "--help", "🙂", "\u202egnp.exe", "*", "~", "\\", "%s%n", "x" * 10_000, "", " ", "\t", "#",
    ]  # fmt: skip


def toml(text: str) -> str:
    """A TOML string of any text."""
    return json.dumps(text, ensure_ascii=False)


def appeared(lab: Lab, marker: str) -> list[str]:
    """Where the marker is."""
    roots = [Path("/"), *(host.root for host in lab.hosts)]
    return [str(root) for root in roots if (root / marker.lstrip("/")).exists()]


@pytest.fixture
def desk(shared_desk: Desk, tmp_path: Path) -> Desk:
    """A work folder of the test's own, at the desk that all tests here share."""
    return shared_desk.at_work(tmp_path / "work")


@pytest.fixture
def here(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line of that desk in this process: so many processes would take long."""
    desk.ok("ps")  # starts the daemon, if no test before did
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(desk.work)
    return CommandLine(monkeypatch)


@pytest.fixture
def marker() -> str:
    """A path that nothing else would make."""
    return f"/tmp/hostler-marker-{uuid.uuid4().hex}"


@pytest.mark.parametrize("runtime", ["docker", "process"])
def test_texts_that_may_hold_anything_are_carried_unchanged(
    lab: Lab, desk: Desk, marker: str, runtime: str
) -> None:
    given = words(marker)
    image = f"image = {toml(BUSYBOX)}\n" if runtime == "docker" else ""
    program = 'for each in "$@" "$V" "$P"; do printf "%s\\0" "$each"; done'
    command = ["sh", "-c", program, "sh", *given]
    quoted = [toml(word) for word in command]
    every = "".join(given).replace("x" * 10_000, "x")
    for name in ("a $(touch b)", f"-rf`touch {Path(marker).name}`", "new\nline", "'"):
        (desk.work / name).write_text("x")
    pipeline = f"""
name = "injected"
[params]
p = {toml(every)}
q = ""
[stages.a]
{image}command = [{", ".join(quoted)}, "{{params.p}}", "{{params.q}}"]
env = {{ V = {toml(every)}, P = "{{params.p}}" }}
resources = {{ host = "gpu1" }}
"""
    title = every.replace("\n", " ")[:150]
    run = desk.run(pipeline, "-p", f"q={every}", "--title", title)
    said = desk.ok("logs", run["run_id"], "--raw").out
    assert run["outcome"] == "succeeded", (stage(run, "a"), said)
    assert said.split("\0") == [*given, every, every, every, every, ""]
    assert run["title"] == title
    assert appeared(lab, marker) == []


RUN_OPTIONS = (
    "--name", "--image", "--host", "--model", "--mount", "--env", "--gpu-memory", "--gpus",
    "--time-limit", "--code", "--title", "--priority", "--each", "--array", "--include", "--venv",
)  # fmt: skip
COMMANDS = (
    ("show",), ("logs",), ("cancel", "-y"), ("drain",), ("undrain",), ("why",), ("wait",),
    ("rerun",), ("retry",), ("retry", "last", "--from"), ("rm", "-y"), ("priority", "-1"),
    ("events", "--run"), ("doctor",), ("host", "trust"), ("run", "-d", "-q"),
    ("run", "-d", "-q", "-p"), ("gpus", "--host"),
)  # fmt: skip


def test_words_in_place_of_names_are_refused_or_harmless(
    lab: Lab, desk: Desk, here: CommandLine, marker: str
) -> None:
    every = words(marker)
    for option in RUN_OPTIONS:
        harmless(here("run", "-d", "-q", option, every[2], "--", "true"))
    for command in COMMANDS:
        for word in (every[2], "-rf"):
            assert harmless(here(*command, word)) == 2, command
    for number, word in enumerate(every):  # each of them somewhere, and as a process is given them
        if number % 2:
            option = RUN_OPTIONS[number // 2 % len(RUN_OPTIONS)]
            harmless(desk.hostler("run", "-d", "-q", option, word, "--", "true"))
        else:
            harmless(desk.hostler(*COMMANDS[number // 2 % len(COMMANDS)], word))
    assert "Traceback" not in desk.log()
    end_all(desk)
    assert appeared(lab, marker) == []


def harmless(said: Said | Ran) -> int:
    """The exit code of what was taken as it is, or refused in Hostler's own words."""
    assert said.code in (0, 2), said
    assert "Traceback" not in said.err, said
    return said.code


def end_all(desk: Desk) -> None:
    """Cancel every run that is under way, and wait for its end."""
    client = Client(desk.state / SOCKET_NAME, timeout=30)
    for run in client.runs():
        if run.outcome is None:
            with suppress(HostlerError):  # it has just ended
                client.cancel(run.run_id)
            desk.ended(run.run_id)


def test_names_in_a_file_are_refused_before_anything_starts(
    lab: Lab, desk: Desk, here: CommandLine, marker: str
) -> None:
    before = [run["run_id"] for run in here("runs", "--json").json["runs"]]
    places = (
        'name = {word}\n[stages.a]\ncommand = "true"\n',
        'name = "n"\n[stages.{word}]\ncommand = "true"\n',
        'name = "n"\n[stages.a]\ncommand = "true"\nneeds = [{word}]\n',
        'name = "n"\n[stages.a]\ncommand = "true"\noutputs = {{ {word} = "o" }}\n',
        'name = "n"\n[stages.a]\ncommand = "true"\nmounts = [{word}]\n',
    )
    texts = (
        'name = "n"\n[stages.a]\ncommand = [{word}]\n',
        'name = "n"\n[stages.a]\ncommand = "true"\nenv = {{ A = {word} }}\n',
        'name = "n"\n[params]\np = {word}\n[stages.a]\ncommand = ["echo", "{{params.p}}"]\n',
        'name = "n"\ntitle = {word}\n[stages.a]\ncommand = "true"\n',
    )
    for place in texts:  # which may hold anything but this, that no program can be given
        (desk.work / "pipeline.toml").write_text(place.format(word=toml("a\0b")))
        said = here("run", "-d")
        assert said.code == 2, (place, said)
        assert "NUL" in said.err, (place, said)
    for word in (f"$(touch {marker})", "../../x", "a\0b"):
        for place in places:
            (desk.work / "pipeline.toml").write_text(place.format(word=toml(word)))
            said = here("run", "-d")
            assert said.code == 2, (place, word, said)
            assert "Traceback" not in said.err
    assert [run["run_id"] for run in here("runs", "--json").json["runs"]] == before
    assert appeared(lab, marker) == []
