"""The examples of docs/sdk.md, each in a process of its own, with a real daemon."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machines.desk import Desk

pytestmark = pytest.mark.programs

PAGE = (Path(__file__).parents[2] / "docs/sdk.md").read_text()
FILES = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.M | re.S))
EXAMPLES = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```$", PAGE, re.M | re.S)
RUNNER = """
import asyncio, json, os, sys
import hostler
for title, program in json.load(sys.stdin):
    if os.fork() == 0:
        exec(program, {"__name__": "__main__"})
        sys.exit()
    if os.wait()[1] != 0:
        sys.exit(title)
"""
"""Each example in a fork, which has loaded what takes longest to load."""


def without_gpus(program: str) -> str:
    """The program for a machine that has none."""
    return program.replace("gpus=1", "gpus=0")


def test_the_page_has_its_examples() -> None:
    assert set(FILES) == {"train.py", "pipeline.toml"}
    assert len(EXAMPLES) + len(FILES) == len(re.findall(r"^```(?:python|toml)$", PAGE, re.M))


@pytest.fixture(scope="module")
def folder(shared_alone: Desk) -> Desk:
    for name, text in FILES.items():
        (shared_alone.work / name).write_text(text)
    return shared_alone


# In the order of the page: later ones look at the runs of earlier ones.
def test_the_examples_run(folder: Desk) -> None:
    examples = [(title, without_gpus(program)) for title, program in EXAMPLES]
    first, given = examples[0][1], json.dumps(examples[1:])
    for program, stdin in ((first, ""), (RUNNER, given)):
        done = subprocess.run(
            [sys.executable, "-c", program], input=stdin,
            cwd=folder.work, env=folder.env, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done
