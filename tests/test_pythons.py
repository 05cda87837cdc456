"""scripts/pythons.py: on which Pythons the tests run; and that no test depends on speed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def pythons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, with nothing on PATH, in an empty home."""
    found = importlib.util.spec_from_file_location("pythons", ROOT / "scripts/pythons.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HOSTLER_PYTHON", "PYENV_ROOT", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return module


def _python(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!{os.path.realpath("/bin/sh")}\necho "{version} {path}"\n')
    path.chmod(0o755)
    return path


def _names(pythons: ModuleType) -> list[str]:
    return [executable for _, executable in pythons.supported().values()]


def test_the_newest_of_each_minor_version_is_taken(pythons: ModuleType, tmp_path: Path) -> None:
    _python(tmp_path / "bin/python3", "3 13 0")
    _python(tmp_path / "bin/python3.10", "3 10 13")
    newer = _python(tmp_path / ".pyenv/versions/3.13.5/bin/python3", "3 13 5")
    older = _python(tmp_path / ".local/share/uv/python/cpython-3.12/bin/python3", "3 12 1")
    assert _names(pythons) == [str(older), str(newer)]


def test_versions_are_numbers_not_words(pythons: ModuleType, tmp_path: Path) -> None:
    _python(tmp_path / "bin/python3.9", "3 9 18")
    later = _python(tmp_path / "bin/python3.13", "3 13 10")
    _python(tmp_path / ".pyenv/versions/3.13.9/bin/python3", "3 13 9")
    assert _names(pythons) == [str(later)]


def test_what_starts_no_python_is_none(pythons: ModuleType, tmp_path: Path) -> None:
    launcher = _python(tmp_path / "bin/python3.12", "3 12 1")
    launcher.write_text("#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2; exit 127\n")
    _python(tmp_path / "bin/python3-config", "3 12 1")
    _python(tmp_path / "bin/python3.13", "3 13 1").chmod(0o644)
    assert _names(pythons) == []


def test_it_knows_the_python_that_runs_this(
    pythons: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTLER_PYTHON", sys.executable)
    ((version, executable),) = pythons.supported().values()
    assert version == sys.version_info[:3]
    assert Path(executable).exists()


def test_no_property_test_is_decided_by_the_speed_of_a_machine() -> None:
    assert settings().deadline is None
    slow = {HealthCheck.too_slow, HealthCheck.data_too_large}
    assert slow <= set(settings().suppress_health_check)


def test_tests_start_python3_without_a_launcher() -> None:
    """tests/conftest.py puts the folder of the program that pyenv's launcher starts before it."""
    found = shutil.which("python3")
    assert found is None or Path(found).read_bytes()[:2] != b"#!", found
