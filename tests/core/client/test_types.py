"""What a type checker sees of the SDK, as somebody's own project sees the installed package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_the_sdk_has_its_types(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SNIPPET)
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--no-error-summary",
            "--cache-dir", str(tmp_path / "cache"), "mine.py",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=115,
    )  # fmt: skip
    said = done.stdout
    assert 'Revealed type is "def (' in said, said + done.stderr
    for part in (
        "hostler.client.sync.Client", "hostler.client.aio.AsyncClient", "dict[", 'type is "str"',
        "hostler.client.handle.Run", 'type is "float"', "Iterator[str]", "No overload variant",
        '"Client" has no attribute "no_such_method"', 'Argument 1 has incompatible type',
    ):  # fmt: skip
        assert part in said, said
