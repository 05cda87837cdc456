"""What a type checker sees of the SDK, as somebody's own project sees the installed package."""

from __future__ import annotations

import os
import subprocess
import sys

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


SETTINGS = """
[mypy]
strict = True

[mypy-{examples}]
disallow_untyped_defs = False
disallow_untyped_calls = False
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of the snippet and of the examples of the page: of all at once, since it reads
    the types of Python and of the SDK for each run."""
    folder = tmp_path_factory.mktemp("types")
    (folder / "mine.py").write_text(SNIPPET)
    examples = [f"example_{number}" for number in range(len(EXAMPLES))]
    for name, (_, program) in zip(examples, EXAMPLES, strict=True):
        (folder / f"{name}.py").write_text(program)
    (folder / "mypy.ini").write_text(SETTINGS.format(examples=",".join(examples)))
    files = [path.name for path in folder.glob("*.py")]
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--no-error-summary",
            "--cache-dir", os.devnull, *files,
        ],
        cwd=folder, capture_output=True, text=True, timeout=115,
    )  # fmt: skip
    assert len(files) == len(EXAMPLES) + 1
    return (done.stdout + done.stderr).splitlines()


@pytest.mark.slow
def test_the_examples_of_the_page_have_their_types(said: list[str]) -> None:
    assert [line for line in said if not line.startswith("mine.py:")] == []


@pytest.mark.slow
def test_the_sdk_has_its_types(said: list[str]) -> None:
    text = "\n".join(line for line in said if line.startswith("mine.py:"))
    assert 'Revealed type is "def (' in text, text
    for part in (
        "hostler.client.sync.Client", "hostler.client.aio.AsyncClient", "dict[", 'type is "str"',
        "hostler.client.handle.Run", 'type is "float"', "Iterator[str]", "No overload variant",
        '"Client" has no attribute "no_such_method"', 'Argument 1 has incompatible type',
    ):  # fmt: skip
        assert part in text, text
