"""Images that `setup` beside `image` makes: which files count, and both of Docker's builders."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.model.jobs import Placement
from hostler.runtimes.docker.builder import DockerBuilder
from hostler.runtimes.docker.context import Piece, pieces_of
from hostler.runtimes.docker.engine import Engine
from hostler.runtimes.docker.images.ask import inspect_image
from hostler.runtimes.docker.setup_files import SCRIPT, TEXT, Asked, Packing, chosen, settings_of
from hostler.runtimes.docker.setup_image import _script, set_up
from hostler.runtimes.docker.setup_names import is_unused, name_of_base, names_of_setup
from hostler_agent.json_values import strings
from tests.core.runtimes.support import MemorySink, make_job
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import IMAGE, Dockerd

DAY = 86400.0
JANUARY = 1_767_225_600.0 + DAY  # of 2026
FILES = {
    "requirements.txt": "-r more/base.txt\n-c https://x.example/c.txt\n", "more/base.txt": "a",
    "requirements/gpu.txt": "b", "sub/pyproject.toml": "c", "sub/requirements.txt": "d",
    "tools/install.sh": "e", "train.py": "f", "uv.lock": "g", "sub/deep/requirements.txt": "h",
}  # fmt: skip


def source(folder: Path, files: dict[str, str]) -> Path:
    path = folder / "source"
    with tarfile.open(path, "w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


def names(folder: Path, text: str, *, cwd: str = "", files: tuple[str, ...] | None = None) -> str:
    pieces = pieces_of([("", source(folder, FILES))])
    return " ".join(piece.name for piece in chosen(Asked(text, files, cwd), pieces))


def packed(asked: Asked, pieces: list[Piece]) -> tuple[str, bytes]:
    file = io.BytesIO()
    packing = Packing(file)
    digest = packing.add(asked, "sh", pieces)
    packing.close("FROM x")
    return digest, file.getvalue()


USUAL = "more/base.txt requirements.txt requirements/gpu.txt"


@pytest.mark.parametrize(
    ("text", "keys", "found"),
    [
        ("pip install x", {}, f"{USUAL} uv.lock"),
        ("pip install x", {"cwd": "sub"},
         f"{USUAL} sub/pyproject.toml sub/requirements.txt uv.lock"),
        ("sh tools/install.sh", {}, f"{USUAL} tools/install.sh uv.lock"),
        ("sh ../tools/install.sh /etc/passwd", {"cwd": "sub", "files": ()}, ""),
        ("x", {"files": ("tools", "train.py")}, "tools/install.sh train.py"),
        ("pip install .", {}, " ".join(sorted(FILES))),
        ("uv sync", {}, " ".join(sorted(FILES))),
        ("uv sync --no-install-project", {"files": ("uv.lock",)}, "uv.lock"),
    ],
)  # fmt: skip
def test_files_that_count(tmp_path: Path, text: str, keys: dict[str, object], found: str) -> None:
    assert names(tmp_path, text, **keys) == found  # type: ignore[arg-type]


def test_what_no_image_can_have_is_refused(tmp_path: Path) -> None:
    for text in ("pip install \\\n -e .", "x; uv pip install --no-deps --editable=./lib"):
        with pytest.raises(InputError, match="which no image can have"):
            names(tmp_path, text)
    assert names(tmp_path, "pip install x; sh -e y", files=()) == ""
    with pytest.raises(InputError, match=r"no file 'none', which setup_files names"):
        names(tmp_path, "x", files=("none",))


def test_equal_files_are_packed_alike(tmp_path: Path) -> None:
    pieces = pieces_of([("inputs/a", source(tmp_path, {"x": "1"}))])
    asked = Asked("x", ("inputs/a/x",), "")
    once, again = (packed(asked, chosen(asked, pieces)) for _ in "ab")
    assert once == again
    assert packed(Asked("y", asked.names, ""), chosen(asked, pieces)) != once
    with tarfile.open(fileobj=io.BytesIO(once[1])) as tar:
        assert tar.getnames()[-2:] == ["files/inputs/a/x", "Dockerfile"]
    assert settings_of({"PIP_INDEX_URL": "p", "UV_X": "u", "HTTPS_PROXY": "h", "A": "a"}) == (
        {"PIP_INDEX_URL": "p", "UV_X": "u"},
        {"HTTPS_PROXY": "h"},
    )


def test_names_tell_the_month_of_the_last_use() -> None:
    january, key, mine = JANUARY, "a" * 64, "d" * 32
    assert names_of_setup(mine, key, january) == (
        f"hostler/dddddddd/setup/202601:{key}", f"hostler/dddddddd/setup/202512:{key}",
    )  # fmt: skip
    base = name_of_base(mine, key, january)
    assert base == f"hostler/dddddddd/setup/base-202601:{key}"
    for name in (base, *names_of_setup(mine, key, january)):
        assert not is_unused(name, mine, january)
        assert is_unused(name, mine, january + 90 * DAY)
        assert not is_unused(name, "e" * 32, january + 90 * DAY)
    assert not is_unused("hostler/dddddddd/run:image", mine, january)


@pytest.mark.programs
@pytest.mark.parametrize(
    "shell", [name for name in ("dash", "bash", "busybox") if shutil.which(name)]
)
def test_the_script_of_a_setup_ends_it_after_its_limit(tmp_path: Path, shell: str) -> None:
    """Whatever became of the daemon, and of Docker's request."""
    place, script = tmp_path / "setup", tmp_path / "setup" / SCRIPT
    (place / "files").mkdir(parents=True)
    applet = ["busybox", "sh"] if shell == "busybox" else [shell]
    script.write_text(_script("").replace("/hostler-setup/", f"{place}/"))

    def ran(text: str, limit: int) -> subprocess.CompletedProcess[str]:
        (place / TEXT).write_text(text)
        words = [*applet, str(script), str(limit)]
        return subprocess.run(words, capture_output=True, text=True, timeout=60)

    assert (ran("pwd; exit 3\nno", 30).returncode, ran("false\ntrue", 30).returncode) == (3, 1)
    assert ran("pwd", 30).stdout == f"hostler: setup begins\n{place}/files\n"
    endless = ran("while :; do sleep 0.1; done", 1)
    assert endless.returncode == 128 + signal.SIGKILL
    assert endless.stdout == "hostler: setup begins\n"


@pytest.mark.parametrize("has_buildkit", [True, False])
async def test_both_builders_make_it_once(
    dockerd: Dockerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_buildkit: bool
) -> None:
    async def says(_self: DockerBuilder, _link: object) -> bool:
        return has_buildkit

    monkeypatch.setattr(DockerBuilder, "has_buildkit", says)
    monkeypatch.setattr(time, "time", lambda: JANUARY)
    link, sink = DirectLink(dockerd.socket), MemorySink()
    engine = Engine("here", dockerd.url)
    path = source(tmp_path, {"requirements.txt": "torch", "train.py": "1"})
    job = make_job(
        "true", image=IMAGE, setup=f"pwd; cat r*; echo {has_buildkit} > /made",
        placements=(Placement("source", path.stat().st_size, ""),), network="none",
    )  # fmt: skip

    async def made() -> tuple[int | None, str | None]:
        end = await set_up(link, engine, job, tmp_path.joinpath, sink, lambda *_: None)
        return end.exit_code, end.image

    code, image = await made()
    assert (code, image is not None) == (0, True), sink.data.decode()
    assert "/hostler-setup/files\ntorch" in sink.data.decode()
    before = len(sink.data)
    assert await made() == (0, image)
    assert len(sink.data) == before
    found = await inspect_image(link, str(image))
    assert found is not None
    (name,) = strings(found.get("RepoTags"))
    assert name.startswith("hostler/dddddddd/setup/202601:")
    monkeypatch.setattr(time, "time", lambda: JANUARY + 31 * DAY)
    assert await made() == (0, image)
    found = await inspect_image(link, str(image))
    assert len(strings((found or {}).get("RepoTags"))) == 2
    await engine.close()
    await link.close()
