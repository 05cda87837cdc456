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

pytestmark = pytest.mark.lab


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
    program = 'for each in "$@"; do printf "%s\\0" "$each"; done; printf "%s\\0" "$V" "$P"'
    command = ["sh", "-c", program, "sh", *given]
    quoted = [toml(word) for word in command]
    every = "".join(given).replace("x" * 10_000, "x")
    for name in ("a $(touch b)", f"-rf`touch {Path(marker).name}`", "new\nline", "'"):
        (desk.work / name).write_text("x")
    pipeline = f"""
name = "injected"
[params]
p = {toml(every)}
[stages.a]
{image}command = [{", ".join(quoted)}, "{{params.p}}"]
env = {{ V = {toml(every)}, P = "x" }}
resources = {{ host = "gpu1" }}
"""
    run = desk.run(pipeline, "--title", every.replace("\n", " ")[:150])
    said = desk.ok("logs", run["run_id"], "--raw").out
    assert run["outcome"] == "succeeded", (stage(run, "a"), said)
    assert said.split("\0")[: len(given)] == given
    assert appeared(clean_lab, marker) == []


def test_words_in_place_of_names_are_refused_or_harmless(
    clean_lab: Lab, desk: Desk, marker: str
) -> None:
    for word in (*words(marker)[2:4], "-rf"):
        for options in (
            ["--name", word], ["--image", word], ["--host", word], ["--model", word],
            ["--mount", word], ["--env", word],
        ):  # fmt: skip
            said = desk.hostler("run", "-d", "-q", *options, "--", "true")
            assert said.code in (0, 2), (options, said)
            assert "Traceback" not in said.err, (options, said)
        for command in (["show", word], ["logs", word], ["cancel", "-y", word], ["drain", word]):
            said = desk.hostler(*command)
            assert said.code == 2, (command, said)
            assert "Traceback" not in said.err, (command, said)
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
    for word in (f"$(touch {marker})", "../../x"):
        for place in places:
            (desk.work / "pipeline.toml").write_text(place.format(word=toml(word)))
            said = desk.hostler("run", "-d")
            assert said.code == 2, (place, word, said)
            assert "Traceback" not in said.err
    assert desk.ok("runs", "--json").json["runs"] == []
    assert appeared(clean_lab, marker) == []
