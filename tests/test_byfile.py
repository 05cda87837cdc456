"""tests/byfile.py: workers that take whole files, as `make unit` has them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.byfile import are_paths

pytestmark = pytest.mark.programs
ROOT = Path(__file__).resolve().parents[1]
NOTED = """import os, pathlib
with open(pathlib.Path(__file__).with_suffix('.loaded'), 'a') as loaded:
    print(os.environ.get('PYTEST_XDIST_WORKER'), file=loaded)
"""
MARKED = """
import pytest

pytestmark = pytest.mark.slow

def test_marked(): pass
"""
TESTS = {
    "conftest.py": """
import os, pathlib, pytest

@pytest.fixture(scope="session")
def shared(request):
    place = pathlib.Path(request.config.rootpath, os.environ["PYTEST_XDIST_WORKER"] + ".sessions")
    with open(place, "a") as made:
        print("made", file=made)
    yield "shared"
    with open(place, "a") as made:
        print("ended", file=made)
""",
    "a/conftest.py": "import pytest\n\n@pytest.fixture\ndef mine():\n    return 'a'",
    "a/test_good.py": """
import pytest, warnings

@pytest.mark.parametrize("number", [2, 1])
def test_more(mine, shared, number):
    assert (mine, shared) == ("a", "shared")

class TestGroup:
    def test_it(self, mine): pass
""",
    "a/test_other.py": "def test_other(shared): pass\n",
    "b/test_bad.py": """
import pytest, subprocess, sys

def test_fails(shared):
    print("what it printed")
    assert 1 == 2

def test_starts_a_program():
    subprocess.run([sys.executable, "-c", ""])

@pytest.fixture
def broken():
    yield
    raise ValueError("at the end")

def test_fails_at_the_end(broken): pass

def test_skipped():
    pytest.skip("it is left out")
""",
    "b/test_broken.py": "import no_such_module\n",
    "b/test_left_out.py": MARKED.replace("pytestmark = pytest.mark.slow\n", "@pytest.mark.slow"),
    "b/test_marked.py": MARKED,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with those tests."""
    folder = tmp_path_factory.mktemp("byfile")
    for name, text in TESTS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(NOTED + text if "/test_" in name else text)
    return folder


def _pytest(folder: Path, *words: str) -> tuple[int, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(folder), "-p", "tests.unit", "-n", "2", "--dist", "loadfile",
         "-o", "markers=programs\nslow", *words],
        cwd=folder, capture_output=True, text=True, timeout=100,
        env=env | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def said(folder: Path) -> str:
    """What pytest says of them."""
    code, said = _pytest(folder, "-q", "-ra", ".")
    assert code == pytest.ExitCode.TESTS_FAILED, said
    return said


def test_all_is_counted_and_shown(said: str) -> None:
    assert "2 failed, 5 passed, 1 skipped, 2 errors in" in said, said
    assert "what it printed" in said
    for line in (
        r"SKIPPED \[1\] .*: it is left out",
        r"FAILED b/test_bad.py::test_fails - assert 1 == 2",
        r"FAILED b/test_bad.py::test_starts_a_program - .*A unit test starts no program",
        r"ERROR b/test_bad.py::test_fails_at_the_end - ValueError: at the end",
        r"ERROR b/test_broken.py - ImportError while importing test module",
    ):
        assert re.search(f"^{line}", said, re.MULTILINE), said
    assert "[100%]" in said


def test_each_file_is_loaded_once_and_not_at_all_where_its_mark_leaves_it_out(
    said: str, folder: Path
) -> None:
    loaded = {path.stem: path.read_text().split() for path in folder.glob("*/*.loaded")}
    assert {name: len(by) for name, by in loaded.items()} == dict.fromkeys(
        ("test_good", "test_other", "test_bad", "test_broken", "test_left_out"), 1
    ), said
    assert {by for (by,) in loaded.values()} == {"gw0", "gw1"}


def test_what_a_session_shares_is_made_once_in_a_worker(said: str, folder: Path) -> None:
    shared = [path.read_text().split() for path in folder.glob("*.sessions")]
    assert shared
    assert all(made == ["made", "ended"] for made in shared), said


def test_where_no_test_is_left_the_exit_code_says_so(folder: Path) -> None:
    assert _pytest(folder, "-q", "-k", "no_such_test", "a")[0] == pytest.ExitCode.NO_TESTS_COLLECTED


def test_single_tests_and_what_does_not_exist_are_left_to_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").touch()
    assert are_paths([".", "test_a.py", str(tmp_path / "test_a.py")], tmp_path)
    assert not are_paths([".", "test_a.py::test_one"], tmp_path)
    assert not are_paths(["no_such"], tmp_path)
