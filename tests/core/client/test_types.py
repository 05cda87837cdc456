"""What a type checker sees of the SDK, as somebody's own project sees the installed package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_sdk import EXAMPLES

SNIPPET = """
from hostler import AsyncClient, Client, __version__

reveal_type(Client)
reveal_type(AsyncClient)
reveal_type(Client().gpus())
reveal_type(__version__)
Client().no_such_method()
Client().submit(3)
run = Client().run(["python", "train.py"], gpus=1)
reveal_type(run)
reveal_type(Client().run("pipeline.toml", lr=0.1).metrics()["loss"])
reveal_type(run.logs())
Client().run(["true"], gpus="one")
"""


def checked(folder: Path, *words: str) -> str:
    """What mypy says of the files of a folder."""
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", *words, "--config-file", "", "--no-error-summary",
            "--cache-dir", str(folder / "cache"), *(path.name for path in folder.glob("*.py")),
        ],
        cwd=folder, capture_output=True, text=True, timeout=115,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_examples_of_the_page_have_their_types(tmp_path: Path) -> None:
    for number, (_, program) in enumerate(EXAMPLES):
        (tmp_path / f"example_{number}.py").write_text(program)
    assert checked(tmp_path, "--check-untyped-defs") == ""


@pytest.mark.slow
def test_the_sdk_has_its_types(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SNIPPET)
    said = checked(tmp_path, "--strict")
    assert 'Revealed type is "def (' in said, said
    for part in (
        "hostler.client.sync.Client", "hostler.client.aio.AsyncClient", "dict[", 'type is "str"',
        "hostler.client.handle.Run", 'type is "float"', "Iterator[str]", "No overload variant",
        '"Client" has no attribute "no_such_method"', 'Argument 1 has incompatible type',
    ):  # fmt: skip
        assert part in said, said
