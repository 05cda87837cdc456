"""What people install: the wheel, the sdist, and the command they give."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.machines.desk import desk_folder, local_desk

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"hostler", "hostler_tui", "hostler_agent"}


def build(kind: str, folder: Path) -> Path:
    """Build with the backend that pyproject.toml names, in this environment: no download."""
    words = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "-o", str(folder)]
    done = subprocess.run([*words, str(ROOT)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
        wanted = (
            ROOT / {"hostler": "core", "hostler_tui": "tui", "hostler_agent": "agents"}[package]
        )
        modules = {str(p.relative_to(wanted)) for p in (wanted / package).rglob("*.py")}
        assert modules <= names


def test_the_wheel_carries_the_example_config(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("hostler/config.example.toml").decode()
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert text == (ROOT / "config.example.toml").read_text()
    assert licences


def test_the_sdist_is_enough_to_build_from(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    wanted = {
        "pyproject.toml", "README.md", "LICENSE", "Makefile", "scripts/venv.sh",
        "core/hostler/__init__.py", "core/hostler/config.example.toml",
        "agents/hostler_agent/bootstrap.py", "examples/digits/data/digits.csv.gz",
    }  # fmt: skip
    assert wanted - names == set()


def test_the_command_runs_where_only_the_wheel_is(wheel: Path, tmp_path: Path) -> None:
    """The libraries are this environment's, the three packages those of the wheel alone."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    code = f"""
import sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p] + {[str(site), *libraries]!r}
import hostler, hostler_agent, hostler_tui
from pathlib import Path
for module in (hostler, hostler_agent, hostler_tui):
    assert Path(module.__file__).parents[1] == Path({str(site)!r}), module
for name in ("core", "tui", "agents", "tests"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"there is a module {{name}}")
from importlib.metadata import entry_points
(entry,) = entry_points(group="console_scripts", name="hostler")
sys.argv[1:] = ["version"]
sys.exit(entry.load()())
"""
    env = {"HOME": str(tmp_path), "HOSTLER_STATE": str(tmp_path / "s"), "PATH": "/usr/bin:/bin"}
    # -S: the editable install of this checkout comes by a .pth file, which then is not read.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True, text=True, cwd=tmp_path, env=env, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hostler 0.")


ALONE = """
import importlib.util
import os
from hostler import Client

for package in ("pydantic", "textual", "asyncssh", "docker", "fastapi", "sqlite_utils"):
    assert importlib.util.find_spec(package) is None, package
run = Client().run(["sh", "measure.sh"])
assert list(run.logs()) == ["hello"]
assert run.wait().outcome == "succeeded"
assert dict(run.metrics()) == {"loss": 0.5}
assert [file.state for file in run.fetch("out", to="got")] == ["fetched"]
os.environ["HOSTLER_STATE"] += "-other"
try:
    Client().run(["true"])
except Exception as error:
    print(type(error).__name__, error)
"""


def test_the_client_works_where_only_the_wheel_is(wheel: Path, tmp_path: Path) -> None:
    """As after `pip install --no-deps hostler`; the daemon is that of a full installation."""
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "-q",
        "--disable-pip-version-check",
    ]
    # Few of its modules run here: none is compiled ahead.
    words = ["install", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    subprocess.run([*pip, *words], check=True, timeout=60)
    with desk_folder() as folder:
        desk = local_desk(folder)
        try:
            desk.start_daemon()
            (desk.work / "measure.sh").write_text(
                'echo hello; echo hello > out; echo \'{"loss": 0.5}\' > "$HOSTLER_METRICS"\n'
            )
            done = subprocess.run(
                [python, "-c", ALONE],
                cwd=desk.work, env=desk.env, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr + desk.log()
            assert (desk.work / "got/out").read_text() == "hello\n"
            assert done.stdout.startswith("NoDaemonError your daemon does not run, and this Python")
        finally:
            desk.close()
