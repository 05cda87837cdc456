"""What development stands on: locked with hashes, audited; and a wheel to be built again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("core", "tui", "agents", "pyproject.toml", "README.md", "LICENSE", "config.example.toml")


def pins() -> dict[str, str]:
    """Name and version of every entry of the lock; each has to have hashes."""
    text = (ROOT / "requirements-dev.txt").read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^ *#.*\n", "", text))
    found: dict[str, str] = {}
    for entry in entries:
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry)
        assert match, entry[:200]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:200]
        found[str(canonicalize_name(match[1]))] = match[2]
    return found


def test_everything_that_pyproject_names_is_locked_at_a_version_that_fits() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*config["project"]["dependencies"], *config["dependency-groups"]["dev"]]
    locked = pins()
    for requirement in map(Requirement, wanted):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked: run make lock"
        assert requirement.specifier.contains(version), f"{requirement}: run make lock"


def report(tmp_path: Path, packages: list[dict[str, Any]] | None) -> tuple[int, str]:
    """What scripts/audit_report.py makes of a report of pip-audit."""
    found, errors = tmp_path / "report", tmp_path / "errors"
    found.write_text(
        "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    )
    errors.write_text("ERROR: Connection refused\n")
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/audit_report.py", found, errors],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_an_advisory_fails_the_audit_and_says_what_mends_it(tmp_path: Path) -> None:
    bad = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}
    code, said = report(
        tmp_path,
        [
            {"name": "good", "version": "1.0", "vulns": []},
            {"name": "bad", "version": "1.0", "vulns": [bad]},
            {"name": "own", "skip_reason": "not found"},
        ],
    )
    assert code == 1
    assert "bad 1.0: PYSEC-1, fixed in 2.0" in said
    assert "2 packages audited (1 more are not on the index): 1 advisories." in said


@pytest.mark.parametrize(
    ("packages", "why"),
    [(None, "Connection refused"), ([{"name": "a", "skip_reason": "x"}], "gives no advisories")],
)
def test_an_audit_that_could_not_be_made_says_so_and_fails_nothing(
    tmp_path: Path, packages: list[dict[str, Any]] | None, why: str
) -> None:
    code, said = report(tmp_path, packages)
    assert code == 0
    assert said.startswith("Left out: ")
    assert why in said
    assert said.count("\n") == 1


def build_wheel(folder: Path, *, umask: int, mode: int, epoch: int, zone: str) -> tuple[str, bytes]:
    """Name and bytes of a wheel built from a copy of the sources with other circumstances."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    for path in source.rglob("*"):
        if path.is_file():
            path.chmod(mode)
            os.utime(path, (epoch, epoch))
    words = [sys.executable, "-m", "build", "--no-isolation", "--wheel"]
    words += ["-o", str(folder / "out"), str(source)]
    env = {"PATH": os.environ["PATH"], "TZ": zone, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, umask=umask, env=env, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (folder / "out").iterdir()
    return wheel.name, wheel.read_bytes()


def test_the_wheel_is_the_same_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    first = build_wheel(tmp_path / "a", umask=0o022, mode=0o644, epoch=1_600_000_000, zone="UTC")
    other = build_wheel(
        tmp_path / "another folder", umask=0o077, mode=0o600, epoch=1_750_000_001,
        zone="Asia/Tokyo",
    )  # fmt: skip
    assert first[0] == other[0]
    assert hashlib.sha256(first[1]).hexdigest() == hashlib.sha256(other[1]).hexdigest()
