"""The archive and the one command that starts it, in every login shell."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hostler_agent import bundle
from tests.support.programs.agents import Place, Talk

pytestmark = pytest.mark.programs

SHELLS = ["sh", "bash", "dash", "busybox sh", "zsh", "fish", "tcsh", "bsd-csh"]


def test_the_archive_is_the_same_each_time() -> None:
    first = bundle.build()
    bundle.build.cache_clear()
    again = bundle.build()
    assert first == again
    assert first.hash == hashlib.sha256(first.data).hexdigest()
    with zipfile.ZipFile(io.BytesIO(first.data)) as archive:
        names = archive.namelist()
    assert "pynvml.py" in names
    assert "hostler_agent/main.py" in names
    assert "hostler_agent/bundle.py" not in names
    assert not [n for n in names if n.startswith("/") or ".." in n]


def test_every_module_reads_as_python_38() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle.build().data)) as archive:
        for name in archive.namelist():
            if name != "pynvml.py":
                ast.parse(archive.read(name), name, feature_version=(3, 8))


def loaded(tmp_path: Path, module: str, then: str = "pass") -> set[str]:
    """What is loaded on a host with a module of the agent, and by what it does then."""
    with zipfile.ZipFile(io.BytesIO(bundle.build().data)) as archive:
        archive.extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {module}\n{then}\n"
        "print(*sys.modules)"
    )
    asked = [sys.executable, "-I", "-S", "-c", program]
    return set(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split())


def test_an_agent_loads_what_it_needs(tmp_path: Path) -> None:
    """A daemon starts several for each stage, and loading is most of what they cost a host."""
    transfer = loaded(tmp_path, "hostler_agent.bulk")
    assert "hostler_agent.bulk" in transfer
    assert not {"hostler_agent.journal", "threading", "hashlib"} & transfer
    lists = loaded(tmp_path, "hostler_agent.bulk", "import hostler_agent.transfers")
    assert "hostler_agent.files" in lists
    assert not {"hashlib", "tarfile", "shutil", "subprocess", "hostler_agent.jobs"} & lists
    serving = loaded(tmp_path, "hostler_agent.agent")
    assert "hostler_agent.jobs" in serving
    assert not {f"hostler_agent.{name}" for name in ("setupenv", "venv", "archive")} & serving
    assert not {"pynvml", "shutil"} & serving


def test_a_host_without_nvidias_library_does_not_load_its_bindings(tmp_path: Path) -> None:
    no_library = (
        "import ctypes; ctypes.CDLL = lambda name: open('/no/' + name)\n"
        "try: hostler_agent.nvml.Nvml().open()\n"
        "except hostler_agent.nvml.Failed as error: assert 'is not installed' in str(error)\n"
        "else: assert False"
    )
    assert "pynvml" not in loaded(tmp_path, "hostler_agent.nvml", no_library)


def test_the_bindings_load_nothing_that_they_do_not_use(tmp_path: Path) -> None:
    asked = (
        "from hostler_agent.nvml_binding import _Util, pynvml; pynvml.NVMLError\n"
        "assert 'shutil' not in sys.modules and 'ctypes.util' not in sys.modules\n"
        "before = _Util('x').find_library('c'); from ctypes import util\n"
        "assert before == util.find_library('c') and type(util) is type(sys)"
    )
    assert "pynvml" in loaded(tmp_path, "hostler_agent.nvml_binding", asked)


def test_the_command_is_constant_and_plain() -> None:
    command = bundle.command(bundle.build().hash)
    assert len(command) < 1500
    assert "\n" not in command
    assert command.count("'") == 2
    assert not set("\\!\t") & set(command)
    for bad in ("", "x" * 64, "0" * 63, "0" * 64 + ";true"):
        with pytest.raises(ValueError, match="SHA-256"):
            bundle.command(bad)


@pytest.mark.parametrize("shell", SHELLS)
def test_login_shells(shell: str, short_folder: Path) -> None:
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"{shell} is not installed here")
    for fresh in (True, False):
        place = Place(short_folder, fresh=True)
        talk = Talk(place.popen(shell))
        talk.bootstrap()
        assert talk.uploaded is fresh
        talk.send({"mode": "dance"})
        assert "protocol" in talk.line()["error"]["message"]
        assert talk.close() == 0
    assert place.base.stat().st_mode & 0o777 == 0o700
    assert sorted(p.name for p in (place.base / "agent").iterdir()) == [bundle.build().hash]


def test_a_damaged_archive_is_refused(short_folder: Path) -> None:
    place = Place(short_folder, fresh=True)
    data = bytearray(bundle.build().data)
    data[1000] ^= 1
    talk = Talk(place.popen())
    assert talk.line() == {"agent": "need"}
    talk.write(b"%d\n" % len(data) + bytes(data))
    assert talk.line() == {"agent": "bad"}
    assert talk.close() == 0
    assert not (place.base / "agent").exists()


def test_a_cut_upload_leaves_nothing(short_folder: Path) -> None:
    place = Place(short_folder, fresh=True)
    talk = Talk(place.popen())
    assert talk.line() == {"agent": "need"}
    talk.write(b"5000\nabc")
    assert talk.close() != 0
    assert not (place.base / "agent").exists()


@pytest.mark.parametrize("kind", ["open", "link", "dangling", "file", "theirs"])
def test_a_folder_that_is_not_safe(kind: str, short_folder: Path) -> None:
    place = Place(short_folder, fresh=True)
    if kind == "link":
        (short_folder / "real").mkdir(mode=0o700)
        place.base.symlink_to(short_folder / "real")
    elif kind == "dangling":
        place.base.symlink_to(short_folder / "nowhere")
    elif kind == "file":
        place.base.touch(0o700)
    else:
        place.base.mkdir(mode=0o700)
        if kind == "open":
            place.base.chmod(0o770)
        elif os.getuid() == 0:
            os.chown(place.base, 12345, -1)
        else:
            pytest.skip("needs root")
    talk = Talk(place.popen())
    owner = 12345 if kind == "theirs" else os.getuid()
    told = {"agent": "unsafe", "folder": str(place.base), "uid": owner, "own": os.getuid()}
    assert talk.line() == told
    assert talk.close() == 0


def test_two_at_once_unpack_one(short_folder: Path) -> None:
    place = Place(short_folder, fresh=True)
    talks = [Talk(place.popen()) for _ in range(3)]
    for talk in talks:
        assert talk.line() == {"agent": "need"}
    for talk in talks:
        built = bundle.build()
        talk.write(b"%d\n" % len(built.data) + built.data)
    for talk in talks:
        assert talk.line() == {"agent": "ready"}
        talk.close()
    assert bundle.build().hash in {p.name for p in (place.base / "agent").iterdir()}
