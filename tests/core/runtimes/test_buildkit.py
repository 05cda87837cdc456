"""Builds by BuildKit in a real dockerd, which has no network."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import h2.config
import h2.connection
import h2.events
import pytest

from hostler.base.errors import EngineError, HostFault, InputError, Unreachable
from hostler.base.secret import Secret
from hostler.model.jobs import GivenSecret
from hostler.model.timings import DEFAULT
from hostler.runtimes.docker.build_words import buildkit_trouble
from hostler.runtimes.docker.builder import DockerBuilder
from hostler.runtimes.docker.buildkit import _failed
from hostler.runtimes.docker.classic import ClassicBuilder
from hostler.runtimes.docker.logins import Login
from hostler.runtimes.docker.protobuf import written
from hostler.runtimes.docker.session_calls import FILES as OF_FILES
from hostler.runtimes.docker.session_calls import HEALTH, LOGIN, NAMED_VALUE, Calls, Offer
from hostler.runtimes.docker.trace import Trace
from tests.core.runtimes.support import MemorySink
from tests.core.runtimes.test_classic_build import FILES, Bench
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import IMAGE, Dockerd, runs

LOGINS = {"docker.io": Login("ana", Secret("word"))}
TOKEN = (GivenSecret("TOKEN", Secret("canary-5317")),)


@pytest.fixture
def bench(link: DirectLink, tmp_path: Path) -> Bench:
    made = Bench(link, tmp_path)
    made.builder = DockerBuilder(lambda digest: tmp_path / digest)
    return made


@pytest.fixture
def client(dockerd: Dockerd) -> Iterator[Any]:
    made = docker.APIClient(base_url=dockerd.url, version="auto")
    yield made
    made.close()


async def test_an_image_is_built_logged_and_found_again(bench: Bench, client: Any) -> None:
    built = await bench.build(FILES, args={"WORD": "hello"})
    assert built.image is not None, bench.log
    assert client.inspect_image("hostler/dddddddd/run:image")["Id"] == built.image
    assert "RUN echo said hello" in bench.log or "RUN echo said $WORD" in bench.log
    again = await bench.build(FILES, args={"WORD": "hello"})
    assert again == built
    assert "CACHED" in bench.log


async def test_a_secret_is_seen_by_one_command_and_kept_nowhere(
    bench: Bench, dockerd: Dockerd
) -> None:
    text = (
        f"FROM {IMAGE}\nRUN --mount=type=secret,id=TOKEN cat /run/secrets/TOKEN | wc -c > /size; "
        "cat /size; ls /run/secrets | wc -l\nRUN echo then; ls /run | wc -l\n"
    )
    built = await bench.build({"Dockerfile": text}, secrets=TOKEN)
    assert built.image is not None, bench.log
    assert "11\n1\n" in bench.log
    files = [path for path in dockerd.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if b"canary-5317" in path.read_bytes()]
    missing = await bench.build(
        {"Dockerfile": f"FROM {IMAGE}\nRUN --mount=type=secret,id=X,required=true true\n"}
    )
    assert missing.image is None
    assert "X" in missing.error


async def test_failures_are_told(bench: Bench) -> None:
    built = await bench.build({"Dockerfile": f"FROM {IMAGE}\nRUN echo oh; exit 7\n"})
    assert (built.image, built.exit_code) == (None, 7)
    assert built.error == "[2/2] RUN echo oh; exit 7: exit code 7"
    built = await bench.build({"Dockerfile": f"FROM {IMAGE}\nRUM true\n"})
    assert "unknown instruction: RUM" in built.error
    with pytest.raises(EngineError, match=r"the base image: nowhere\.example/none:1 .*registry"):
        await bench.build({"Dockerfile": "FROM nowhere.example/none:1\n"})
    with pytest.raises(EngineError, match=r"the image of `# syntax=`.*docker/dockerfile.*registry"):
        await bench.build({"Dockerfile": f"# syntax=docker/dockerfile:1\nFROM {IMAGE}\n"})
    with pytest.raises(InputError, match=r"read by evil/frontend:1"):
        await bench.build({"Dockerfile": f"# a\n# syntax = evil/frontend:1\nFROM {IMAGE}\n"})


async def test_a_build_ends_with_its_connection(bench: Bench) -> None:
    text = f"FROM {IMAGE}\nRUN echo waits; sleep 600\n"
    task = asyncio.ensure_future(bench.build({"Dockerfile": text}))
    while b"\nwaits\n" not in bench.sink.data:
        assert not task.done(), bench.log
        await asyncio.sleep(0.05)
    bench.link.cut()
    with pytest.raises(Unreachable):
        await task


class _Noticing(MemorySink):
    """Says when the first command of a build has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    def append(self, data: bytes, position: Mapping[str, Any]) -> None:
        super().append(data, position)
        if b" RUN " in self.data:
            self.begun.set()


async def test_a_build_that_stops_just_as_a_container_starts_leaves_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    """BuildKit itself leaves the container running where the request ends at that moment."""
    timings = replace(DEFAULT.runtimes, command_start=100.0, build_stop=100.0)
    bench.builder = DockerBuilder(lambda digest: tmp_path / digest, timings)
    bench.sink = sink = _Noticing()
    mine = f"60318.{os.getpid()}"
    text = f"FROM {IMAGE}\nRUN echo runs; sleep {mine}\n"
    task = asyncio.ensure_future(bench.build({"Dockerfile": text}))
    await asyncio.wait_for(sink.begun.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert b"\nruns\n" in sink.data
    until = time.monotonic() + 60
    while runs("sleep", mine):
        assert time.monotonic() < until, "the container still runs"
        await asyncio.sleep(0.05)


def test_a_command_is_starting_until_it_writes_or_ends_or_time_has_passed() -> None:
    def vertex(digest: bytes, name: bytes, *times: int) -> bytes:
        fields = b"".join(written(number, b"") for number in times)
        return written(1, written(1, digest) + written(3, name) + fields)

    def starting(*messages: bytes) -> bool:
        trace = Trace()
        for number, each in enumerate(messages):
            trace.lines(base64.b64encode(each).decode(), 100.0 + number)
        return trace.is_starting(103.0, 5.0)

    begun = vertex(b"a", b"[build 2/3] RUN make", 5)
    said = written(3, written(1, b"a") + written(4, b"line"))
    assert starting(begun)
    assert starting(begun, said, vertex(b"b", b"[3/3] RUN true", 5))
    assert not starting(begun, said)
    assert not starting(begun, said, begun)
    assert not starting(begun, vertex(b"a", b"[build 2/3] RUN make", 5, 6))
    assert not starting(vertex(b"a", b"[2/3] RUN make", 5, 6, 4))
    assert not starting(vertex(b"a", b"[2/3] COPY a b", 5), vertex(b"b", b"[3/3] RUN true"))
    trace = Trace()
    trace.lines(base64.b64encode(begun).decode(), 100.0)
    assert not trace.is_starting(105.0, 5.0)


async def test_a_full_disk_is_told_and_blames_no_host(bench: Bench, dockerd: Dockerd) -> None:
    says = "no space left on device"
    text = {"Dockerfile": f"FROM {IMAGE}\nRUN echo 'x: {says}'; exit 3\n"}
    classic = ClassicBuilder(bench.folder.joinpath)
    for builder in (bench.builder, classic):
        bench.builder = builder
        with pytest.raises(EngineError, match=r"no space on here while building: .*code 3") as told:
            await bench.build(text)
        assert not isinstance(told.value, HostFault)
    bench.builder = DockerBuilder(bench.folder.joinpath)
    built = await bench.build({"Dockerfile": f"FROM {IMAGE}\nRUN true '{says}'; exit 3\n"})
    assert built.exit_code == 3
    error = buildkit_trouble("here", f"write /var/lib/docker/x: {says}")
    assert error is not None
    assert error.message == "no space on here: /var/lib/docker/x"
    named = {"Dockerfile": f"FROM {IMAGE}\nENV A=${{b:?{says}}}\n"}
    with contextlib.suppress(EngineError):
        assert (await bench.build(named)).image is None


class Wire:
    """What dockerd sends on the turned-round connection, and what it gets."""

    def __init__(self) -> None:
        self.to_us: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = bytearray()

    async def read(self, limit: int = 65536) -> bytes:
        """See `ByteStream`."""
        return await self.to_us.get()

    async def write(self, data: bytes) -> None:
        """See `ByteStream`."""
        self.sent += data

    async def close(self) -> None:
        """See `ByteStream`."""


async def _asked(*calls: tuple[str, bytes]) -> list[tuple[str, bytes]]:
    """Status and message of each call."""
    wire = Wire()
    config = h2.config.H2Configuration(client_side=True, header_encoding=None)
    http = h2.connection.H2Connection(config)
    http.initiate_connection()
    for number, (method, body) in enumerate(calls):
        headers = [(":method", "POST"), (":path", method), (":scheme", "http"), (":authority", "x")]
        http.send_headers(2 * number + 1, headers)
        http.send_data(2 * number + 1, struct.pack(">BI", 0, len(body)) + body, end_stream=True)
    wire.to_us.put_nowait(http.data_to_send())
    wire.to_us.put_nowait(b"")
    await Calls(wire, Offer(secrets={"TOKEN": b"value"}, logins=LOGINS)).serve()
    found = {2 * n + 1: ["", b""] for n in range(len(calls))}
    for event in http.receive_data(bytes(wire.sent)):
        if isinstance(event, h2.events.TrailersReceived):
            found[event.stream_id][0] = dict(event.headers)[b"grpc-status"].decode()
        elif isinstance(event, h2.events.DataReceived):
            found[event.stream_id][1] += event.data  # type: ignore[operator]
    return [(str(status), bytes(data)) for status, data in found.values()]  # type: ignore[arg-type]


async def test_a_session_answers_health_and_secrets_by_name_and_nothing_else() -> None:
    answers = await _asked(
        (HEALTH, b""),
        (NAMED_VALUE, written(1, b"TOKEN")),
        (NAMED_VALUE, written(1, b"../../etc/passwd")),
        (NAMED_VALUE, b"\xff" * 20),
        (OF_FILES, b""),
        (LOGIN, written(1, b"registry-1.docker.io")),
        (LOGIN, written(1, b"elsewhere.example")),
        ("/moby.buildkit.v1.Control/Solve", b""),
    )
    assert [status for status, _ in answers] == ["0", "0", "5", "3", "12", "0", "0", "12"]
    assert answers[1][1][5:] == written(1, b"value")
    assert answers[5][1][5:] == written(1, b"ana") + written(2, b"word")
    assert [data for _, data in answers[2:5]] == [b""] * 3
    assert answers[6][1][5:] == b""


async def test_an_answer_waits_until_the_other_side_takes_it() -> None:
    """It may be larger than a frame and than all that fits into the windows, which files fill."""
    wire, value = Wire(), b"v" * 200_000
    http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    http.initiate_connection()
    body = written(1, b"TOKEN")
    headers = [(":method", "POST"), (":scheme", "http"), (":authority", "x")]
    for number, method in ((1, NAMED_VALUE), (3, HEALTH)):
        http.send_headers(number, [*headers, (":path", method)])
        data = struct.pack(">BI", 0, len(body)) + body
        http.send_data(number, data, end_stream=True)
    wire.to_us.put_nowait(http.data_to_send())
    serving = asyncio.ensure_future(Calls(wire, Offer(secrets={"TOKEN": value})).serve())
    got: dict[int | None, bytes] = {1: b"", 3: b""}
    ended: set[int | None] = set()
    while len(ended) < 2:
        assert not serving.done()
        await asyncio.sleep(0)
        sent, wire.sent = bytes(wire.sent), bytearray()
        for event in http.receive_data(sent):
            if isinstance(event, h2.events.DataReceived):
                got[event.stream_id] += event.data or b""
                http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                ended.add(event.stream_id)
        if more := http.data_to_send():
            wire.to_us.put_nowait(more)
    wire.to_us.put_nowait(b"")
    await serving
    assert got[1].endswith(value)
    assert got[3]


async def test_files_are_not_sent_again_and_again() -> None:
    """Sorting 100,000 of them takes the daemon a while."""
    wire = Wire()
    http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    http.initiate_connection()
    headers = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", OF_FILES)]
    for number in range(1, 80, 2):
        http.send_headers(number, [*headers, ("dir-name", "dockerfile")], end_stream=True)
    wire.to_us.put_nowait(http.data_to_send())
    wire.to_us.put_nowait(b"")
    await Calls(wire, Offer(files={"dockerfile": ()})).serve()
    events = http.receive_data(bytes(wire.sent))
    refused = [e.stream_id for e in events if isinstance(e, h2.events.TrailersReceived)]
    assert refused == list(range(65, 80, 2))


def test_an_exit_code_of_thousands_of_digits_is_no_crash() -> None:
    """Python reads no such number."""
    told = "did not complete successfully: exit code: " + "9" * 5000
    built = _failed("gpu1", Trace(), told, MemorySink())
    assert built.image is None
    assert built.error


def test_a_broken_account_of_a_build_is_passed_over() -> None:
    trace = Trace()
    for aux in (
        None,
        1,
        "no base64!",
        "é",
        "AAAA",
        base64.b64encode(b"\x0a\xff\xff\xff\xff").decode(),
    ):
        assert trace.lines(aux) == b""
    step = written(1, b"x" * 1000) + written(3, b"RUN") + written(5, b"")
    assert trace.lines(base64.b64encode(written(1, step)).decode()) == b"#1 RUN\n"
    assert max(map(len, trace._numbers)) == 200


async def test_a_dockerfile_gets_no_privileges_and_no_cache_of_others(bench: Bench) -> None:
    for flag in ("--network=host", "--security=insecure"):
        built = await bench.build({"Dockerfile": f"FROM {IMAGE}\nRUN {flag} true\n"})
        assert built.image is None, flag
    assert "network.host is not allowed" in bench.log
    lists = "RUN --mount=type=cache,id=x,target=/c ls /c && touch /c/left-here"
    for owner, there in (("anna", False), ("bob", False), ("anna", True)):
        start = len(bench.sink.data)
        text = f"FROM {IMAGE}\nARG BUILDKIT_CACHE_MOUNT_NS=anna\nRUN echo {start}\n{lists}\n"
        built = await bench.build({"Dockerfile": text}, owner=owner)
        assert built.image is not None, bench.log
        assert (b"\nleft-here\n" in bench.sink.data[start:]) is there, owner
    built = await bench.build(
        {"Dockerfile": f"FROM {IMAGE}\nRUN --mount=type=ssh,required=true true\n"}
    )
    assert built.image is None
