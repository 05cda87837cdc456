"""The README's two commands, in a fresh clone in an empty folder with an empty HOME."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machines import haproxy
from tests.support.machines.desk import desk_folder

ROOT = Path(__file__).resolve().parents[2]
SMOKE = "tests/test_habits.py"
"""What the inner `make test` is limited to: the outer one runs all, this test among them, and has
checked the very same code."""

_ASKS_AN_INDEX = re.compile(r"(PIP_|UV_|SSL_CERT_|REQUESTS_CA).*|.*_proxy", re.IGNORECASE)


def readme_commands() -> list[str]:
    """The commands under "Try it"."""
    section = (ROOT / "README.md").read_text().split("## Try it")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def clone(folder: Path) -> Path:
    """What is committed, as somebody else gets it."""
    target = folder / "hostler"
    words = ["git", "-c", "safe.directory=*", "clone", "-q", str(ROOT), str(target)]
    subprocess.run(words, check=True, timeout=60)
    return target


def newest_python() -> str:
    """The newest that this machine has: what only the oldest runs is broken for most people."""
    asked = [sys.executable, str(ROOT / "scripts/pythons.py"), "--newest"]
    return subprocess.run(
        asked, capture_output=True, text=True, check=True, timeout=120
    ).stdout.strip()


def environment(home: Path) -> dict[str, str]:
    """An empty HOME, and of this environment only what is needed to reach a package index."""
    kept = {key: value for key, value in os.environ.items() if _ASKS_AN_INDEX.fullmatch(key)}
    asked = [sys.executable, "-m", "pip", "cache", "dir"]
    cache = subprocess.run(asked, capture_output=True, text=True, timeout=30)
    if cache.returncode == 0:
        kept.setdefault("PIP_CACHE_DIR", cache.stdout.strip())
    ours = str(Path(sys.prefix) / "bin")
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if p != ours)
    return {
        **kept,
        "HOSTLER_PYTHON": newest_python(),
        "HOME": str(home),
        "PATH": path,
        "HOSTLER_LAB": "off",
        "HOSTLER_CHECKS": "off",
        "HOSTLER_TEST_WORKERS": "1",
        "PYTEST_ARGS": SMOKE,
        # pip would compile all modules of all packages, of which little runs here. The value is
        # that of the variable `compile`, whatever the option's name says.
        "PIP_NO_COMPILE": "0",
    }


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes whose environment or folder names `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            known = (process / "environ").read_bytes() + os.fsencode((process / "cwd").readlink())
            if os.fsencode(folder) in known:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # ended meanwhile, or not ours to read
    return found


def _check_service(said: str) -> None:
    """The model has answered; behind a gateway nobody who asked meanwhile was refused."""
    assert '{"digit": 2, "release": "first"}' in said
    assert said.count("$ hostler rollback digits") == 1
    if haproxy.can_run():
        assert re.search(r"\d+ requests meanwhile, 0 failed; answered: .* by the second", said)
    else:
        assert "There is no HAProxy" in said


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1900)
def test_the_readmes_commands_do_all_their_own_set_up() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    commands = readme_commands()
    assert commands == ["make demo", "make test"]
    with desk_folder() as folder:
        home = folder / "home"
        home.mkdir()
        here = clone(folder)
        said = {}
        for command in commands:
            done = subprocess.run(
                command.split(), cwd=here, env=environment(home), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}:\n{done.stdout[-6000:]}"
            said[command] = done.stdout
        assert "validate: succeeded" in said["make demo"]
        assert "Next:" in said["make demo"]
        _check_service(said["make demo"])
        assert re.search(r"\d+ passed", said["make test"])
        assert "Left out" in said["make test"]
        assert processes_of(folder) == []
        left = subprocess.run(
            ["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True
        )
        assert left.stdout == "", "git should ignore all that the commands make"
        assert not (home / ".config/hostler").exists()
        assert not (home / ".local/state/hostler").exists()
