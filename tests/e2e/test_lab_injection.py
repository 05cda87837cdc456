"""Words that a shell would run, in every place where people write words: they stay words.

A marker file that one of them names appears nowhere: not where the daemon runs, not on a host.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.desk import Desk, stage

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
def marker() -> str:
    """A path that nothing else would make."""
    return f"/tmp/hostler-marker-{uuid.uuid4().hex}"


@pytest.mark.parametrize("runtime", ["docker", "process"])
def test_texts_that_may_hold_anything_are_carried_unchanged(
    clean_lab: Lab, desk: Desk, marker: str, runtime: str
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
    assert appeared(clean_lab, marker) == []


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
    clean_lab: Lab, desk: Desk, marker: str
) -> None:
    def try_word(word: str, *options: str, end: tuple[str, ...] = ()) -> int:
        said = desk.hostler(*options, word, *end)
        assert said.code in (0, 2), (options, word, said)
        assert "Traceback" not in said.err, (options, word, said)
        return said.code

    every = words(marker)
    for option in RUN_OPTIONS:
        try_word(every[2], "run", "-d", "-q", option, end=("--", "true"))
    for command in COMMANDS:
        assert try_word(every[2], *command) == 2, command
        assert try_word("-rf", *command) == 2, command
    for number, word in enumerate(every):  # each of them somewhere
        if number % 2:
            option = RUN_OPTIONS[number // 2 % len(RUN_OPTIONS)]
            try_word(word, "run", "-d", "-q", option, end=("--", "true"))
        else:
            try_word(word, *COMMANDS[number // 2 % len(COMMANDS)])
    assert "Traceback" not in desk.log()
    for run in desk.ok("runs", "--json").json["runs"]:
        desk.hostler("cancel", "-y", run["run_id"])
        desk.ended(run["run_id"])
    assert appeared(clean_lab, marker) == []


def test_names_in_a_file_are_refused_before_anything_starts(
    clean_lab: Lab, desk: Desk, marker: str
) -> None:
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
        said = desk.hostler("run", "-d")
        assert said.code == 2, (place, said)
        assert "NUL" in said.err, (place, said)
    for word in (f"$(touch {marker})", "../../x", "a\0b"):
        for place in places:
            (desk.work / "pipeline.toml").write_text(place.format(word=toml(word)))
            said = desk.hostler("run", "-d")
            assert said.code == 2, (place, word, said)
            assert "Traceback" not in said.err
    assert desk.ok("runs", "--json").json["runs"] == []
    assert appeared(clean_lab, marker) == []
