"""tests/listed.py: workers that load only the test files that they run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.listed import VARIABLE

pytestmark = pytest.mark.programs
ROOT = Path(__file__).resolve().parents[1]
WITHOUT_OTHERS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Four processes load pytest here: none of them the plugins that are not needed."""
TESTS = {
    "conftest.py": "from tests.listed import adopt as pytest_configure",
    "a/conftest.py": "import pytest\n\n@pytest.fixture\ndef mine():\n    return 'a'",
    "a/test_one.py": """
import os, pathlib, pytest
with open(pathlib.Path(__file__).with_suffix(".loaded"), "a") as loaded:
    print(os.environ.get("PYTEST_XDIST_WORKER"), file=loaded)

@pytest.mark.parametrize("number", [2, 1])
def test_more(mine, number):
    assert (mine, number, "%(variable)s" in os.environ) == ("a", 1, False)

class TestGroup:
    def test_it(self, mine): pass
""",
}


def test_each_file_is_loaded_by_the_worker_that_runs_it(tmp_path: Path) -> None:
    for name, text in TESTS.items():
        for path in (tmp_path / name, tmp_path / name.replace("a/", "b/").replace("one", "two")):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace("%(variable)s", VARIABLE))
    _pytest(tmp_path, "--collect-only", "-k", "not 1")
    assert _loaded(tmp_path) == {"one": ["None"], "two": ["None"]}
    said = _pytest(tmp_path, "-n", "2", "--dist", "loadfile", "-k", "not 1")
    assert "2 failed, 2 passed" in said
    assert "test_two.py::test_more[2] - AssertionError" in said
    (_, one), (_, two) = _loaded(tmp_path).values()
    assert {one, two} == {"gw0", "gw1"}


def _pytest(folder: Path, *words: str) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    command = [
        sys.executable, "-m", "pytest", "--import-mode=importlib", "-p", "xdist.plugin",
        "-p", "no:cacheprovider",
    ]  # fmt: skip
    done = subprocess.run(
        [*command, "--rootdir", str(folder), *words, "."],
        cwd=folder, capture_output=True, text=True, timeout=100,
        env=env | {VARIABLE: str(folder / "list"), "PYTHONPATH": str(ROOT), **WITHOUT_OTHERS},
    )  # fmt: skip
    return done.stdout + done.stderr


def _loaded(folder: Path) -> dict[str, list[str]]:
    """Which processes have loaded each file."""
    return {
        path.stem.removeprefix("test_"): path.read_text().split()
        for path in sorted(folder.glob("*/*.loaded"))
    }
