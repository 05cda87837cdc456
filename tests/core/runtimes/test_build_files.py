"""Files and logins of registries that a build gets by its session, in both image stores."""

from __future__ import annotations

import base64
import io
import json
import struct
import tarfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from hostler.base.dockerfile import images_of
from hostler.base.errors import EngineError, InputError
from hostler.base.secret import Secret
from hostler.model.images import registry
from hostler.runtimes.docker.build_words import foreign_syntax
from hostler.runtimes.docker.builder import DockerBuilder
from hostler.runtimes.docker.classic import ClassicBuilder
from hostler.runtimes.docker.context import Piece, context_of
from hostler.runtimes.docker.file_sync import BadRequest, FileSender, followed
from hostler.runtimes.docker.logins import Login, header_of, logins_for
from hostler.runtimes.docker.protobuf import fields, text, texts, written_number
from tests.core.runtimes.test_classic_build import Bench
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import IMAGE, Dockerd, image_tree, why_not
from tests.support.machines.registry import Registry, serve


@pytest.fixture(scope="module")
def shop() -> Iterator[Registry]:
    """A registry that nobody may use without a login."""
    with serve(image_tree()) as registry:
        registry.login = "ana:canary"
        yield registry


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    """A dockerd that keeps images in containerd's store."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    settings = tmp_path_factory.mktemp("d") / "daemon.json"
    settings.write_text(json.dumps({"features": {"containerd-snapshotter": True}}))
    engine = Dockerd("--config-file", str(settings))
    try:
        engine.start()
        engine.load_image()
        yield engine
    finally:
        engine.stop()


@pytest.fixture(params=["dockerd", "containerd"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    engine: Dockerd = request.getfixturevalue(request.param)
    link = DirectLink(engine.socket)
    made = Bench(link, tmp_path)
    made.builder = DockerBuilder(lambda digest: tmp_path / digest)
    yield made
    await link.close()


TEXT = f"""FROM {IMAGE}
COPY . /all
RUN cd /all && ls && ls a && cat a/b a-b && test -x run && wc -c < big && ls -l link
"""
BIG = "0123456789abcdef" * 200_000


@pytest.mark.programs
async def test_files_arrive_whole_and_a_change_of_equal_size_too(bench: Bench) -> None:
    files = {
        "Dockerfile": TEXT, ".dockerignore": "Dockerfile\n*.log", "a/b": "in-a ", "a-b": "beside",
        "a.log": "x", "run": "#!", "big": BIG, "link": "->a/b",
    }  # fmt: skip
    built = await bench.build(files)
    assert built.image is not None, bench.log
    said = bench.log
    for line in ("in-a beside", "3200000", "link -> a/b"):
        assert line in said
    assert "Dockerfile\n" not in said.partition("RUN cd")[2]
    assert "a.log" not in said
    assert (await bench.build(files)).image == built.image
    other = await bench.build(files | {"a/b": "IN-A "})
    assert other.image not in (None, built.image)
    assert "IN-A beside" in bench.log


@pytest.mark.programs
async def test_a_private_base_image_is_taken_with_the_daemons_login(
    containerd: Dockerd, shop: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    bench = Bench(DirectLink(containerd.socket), tmp_path)
    both: list[ClassicBuilder | DockerBuilder] = [
        ClassicBuilder(bench.folder.joinpath),
        DockerBuilder(bench.folder.joinpath),
    ]
    files = {"Dockerfile": f"FROM {shop.image}\nCOPY a /a\n", "a": "1"}
    for builder in both:
        bench.builder = builder
        with pytest.raises(EngineError, match=r"the base image: .*needs a login"):
            await bench.build(files)
    auth = {"auth": base64.b64encode(b"ana:canary").decode()}
    login = {"auths": {f"127.0.0.1:{shop.port}": auth}}
    (tmp_path / "config.json").write_text(json.dumps(login))
    for builder in both:
        bench.builder = builder
        assert (await bench.build(files)).image is not None, bench.log
    assert "canary" not in bench.log
    assert await DockerBuilder(bench.folder.joinpath).holds(bench.link, IMAGE)
    assert not await DockerBuilder(bench.folder.joinpath).holds(bench.link, "none.example/x:1")
    await bench.link.close()


def _pieces(folder: Path, files: dict[str, str]) -> Sequence[Piece]:
    path = folder / "archive"
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content.encode()))
    return context_of([("inputs/x", path)], "", "inputs/x/Dockerfile").pieces


def _framed(*messages: bytes) -> bytes:
    return b"".join(struct.pack(">BI", 0, len(each)) + each for each in messages)


def _unframed(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = 5 + struct.unpack_from(">BI", data)[1]
        found.append(data[5:end])
        data = data[end:]
    return found


async def _all(sender: FileSender) -> list[bytes]:
    taken = b""
    while data := await sender.take(7):
        taken += data
    return _unframed(taken)


def _asks(number: int) -> bytes:
    return _framed(written_number(1, 1) + written_number(3, number))


async def test_names_come_first_then_contents_that_are_asked_for_once(tmp_path: Path) -> None:
    seen: list[int] = []
    pieces = _pieces(tmp_path, {"Dockerfile": "FROM x", "a-b": "12", "a/b": "345", "empty": ""})
    sender = FileSender(pieces, seen.append)
    *names, end = await _all(sender)
    paths = [text(texts(each, 2)[0], 1) for each in names]
    below = ["Dockerfile", "a", "a/b", "a-b", "empty"]
    assert paths == ["inputs", "inputs/x", *(f"inputs/x/{name}" for name in below)]
    assert end == b""
    asked = _asks(4) + _asks(6)
    sender.feed(asked[:3])
    sender.feed(asked[3:])
    said = [dict(fields(each)) for each in await _all(sender)]
    assert said == [{1: 2, 3: 4, 4: b"345"}, {1: 2, 3: 4}, {1: 2, 3: 6}]
    assert sum(seen) == 3
    assert not sender.is_over
    sender.feed(_framed(written_number(1, 3)))
    assert [dict(fields(each)) for each in await _all(sender)] == [{1: 3}]
    assert sender.is_over


def test_what_is_not_copied_is_not_sent(tmp_path: Path) -> None:
    pieces = _pieces(tmp_path, {"Dockerfile": "FROM x", "a/b": "1", "a/c": "2", "ab": "3"})
    start = len("inputs/x/")

    def sent(*paths: str) -> str:
        found = followed(pieces, [f"inputs/x/{path}".encode() for path in paths])
        return " ".join(each.name[start:] for each in found).strip()

    assert sent("a") == "a a/b a/c"
    assert sent("a/b", "ab") == "a a/b ab"
    assert sent("a/b/") == "a a/b"
    assert followed(pieces, []) == followed(pieces, [b"."]) == followed(pieces, [b"/"]) == pieces
    assert followed(pieces, [b"inputs", b"a*"]) == pieces
    assert followed(pieces, [b"a/" * 30_000]) == pieces  # folders of it would fill a gigabyte


@pytest.mark.parametrize(
    "said",
    [_asks(4) * 2, _asks(3), _asks(99), _framed(b"\xff"), b"\1\0\0\0\0", b"\0\xff\0\0\0",
     _framed(written_number(1, 4)), _framed(written_number(1, 2))],
)  # fmt: skip
async def test_whoever_breaks_the_protocol_gets_nothing(tmp_path: Path, said: bytes) -> None:
    sender = FileSender(_pieces(tmp_path, {"Dockerfile": "FROM x", "a/b": "345"}), lambda _: None)
    await _all(sender)
    with pytest.raises(BadRequest):
        sender.feed(said)


def test_images_of_a_dockerfile() -> None:
    said = """# FROM no/comment
ARG TAG=1
ARG WHOSE
FROM --platform=linux/amd64 first:${TAG} AS one
FROM ${WHOSE:-none}/second \\
   as Two
COPY --chown=1 --from=third/x:2 a b
COPY --from=one a b
COPY --from=0 a b
RUN --mount=type=bind,from=fourth,target=/x true
FROM two
FROM scratch
"""
    assert images_of(said, {"TAG": "9"}) == ("none/second", "first:9", "third/x:2", "fourth")
    assert images_of(said, {"WHOSE": "r.example:5"})[0] == "r.example:5/second"
    assert images_of("FROM " + "x" * 9999, {}) == ("x" * 300,)
    assert len(images_of("FROM x\n" + "".join(f"FROM y{n}\n" for n in range(999)), {})) == 50


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\nRUN " + "--mount=" * 60_000,
        "FROM " + "${a-" * 120_000,
        "ARG A=" + "x" * 400_000 + "\n" + f"FROM {'$A' * 150}\n" * 200,
    ],
)
def test_no_dockerfile_takes_long_to_read(text: str) -> None:
    began = time.process_time()
    images_of(text, {})
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=evil/front",
        "#\fsyntax = evil/front",
        "\ufeff# syntax=evil/front",
        "// syntax=evil/front",
        "// escape=`\n//syntax=evil/front",
        "#!/bin/sh\n# syntax=evil/front",
        # Docker 23 and before: the last counts, after any number of other lines.
        "# syntax=docker/dockerfile:1\n# syntax=evil/front",
        "# a=1\n" * 60 + "# syntax=evil/front",
        '{"syntax": "evil/front"}',
        '\ufeff#!/bin/sh\n \n{"a": 1, "syntax": "evil/front"}',
    ],
)
def test_another_reader_is_found_wherever_buildkit_looks_for_it(text: str) -> None:
    assert foreign_syntax(f"{text}\n") in ("evil/front", "whatever its JSON names")
    assert foreign_syntax("# syntax=docker/dockerfile:1\nFROM x\n") is None
    assert foreign_syntax("\n# a\nFROM x\nRUN {\n") is None


def test_logins_are_those_of_the_images_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    auths = {
        "https://index.docker.io/v1/": {"auth": base64.b64encode(b"ana:canary").decode()},
        "r.example:5000": {"identitytoken": "tok"},
        "other.example": {"auth": base64.b64encode(b"x:y").decode()},
    }
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    found = logins_for(["ana/private:1", "r.example:5000/a", "none.example/a"])
    wanted = {
        "docker.io": Login("ana", Secret("canary")),
        "r.example:5000": Login("", Secret("tok")),
    }
    assert found == wanted
    assert "canary" not in repr(found)
    sent = json.loads(base64.urlsafe_b64decode(header_of(found)["X-Registry-Config"]))
    assert sent["https://index.docker.io/v1/"] == {"username": "ana", "password": "canary"}
    assert sent["r.example:5000"] == {"identitytoken": "tok"}
    assert header_of({}) == {}
    (tmp_path / "config.json").write_text('{"auths": {"r.example": {"auth": "%%%"}}}')
    with pytest.raises(InputError, match="logins of registries cannot be read"):
        logins_for(["r.example/a"])
    names = ("a", "a/b", "index.docker.io/a/b", "localhost/a", "r.example/a", "r:5/a")
    assert [*map(registry, names)] == [
        "docker.io", "docker.io", "docker.io", "localhost", "r.example", "r:5",
    ]  # fmt: skip
