"""Transfers, against an agent that says what it is told to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from hostler.base.errors import AgentError, EngineError
from hostler.link.agent_link import AgentLink
from hostler.link.bulk import BulkAgent
from hostler.ports import ArchiveSource
from hostler_agent.wire import END, FrameReader, frame, json_frame
from tests.support.programs.scripted_agent import heard, script, starts

pytestmark = pytest.mark.programs

SOURCE = ArchiveSource("r1-train-1", "process", "r1-train-1", "out")
DATA = bytes(range(256)) * 5000


def says(*frames: bytes) -> dict[str, Any]:
    return {"bulk": b"".join(frames).hex()}


def framed(data: bytes, size: int = 100_000) -> bytes:
    return b"".join(frame(data[at : at + size]) for at in range(0, len(data), size))


def ending(data: bytes) -> bytes:
    return json_frame({"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})


async def drained(items: AsyncIterable[Any]) -> list[Any]:
    return [item async for item in items]


def received(folder: Path) -> list[object]:
    """Frames that the bulk agent was sent."""
    return list(FrameReader().feed((folder / "received").read_bytes()))


async def test_an_only_object_is_sent_with_its_end_at_once() -> None:
    """After it the agent may answer and be gone: a second write would fail."""

    class Stream:
        written: ClassVar[list[bytes]] = []

        async def write(self, data: bytes) -> None:
            self.written.append(data)

    started: Any = SimpleNamespace(stream=Stream())
    await BulkAgent("gpu1", started).send_only({"globs": None})
    assert Stream.written == [json_frame({"globs": None}) + END]


async def test_an_endless_answer_of_docker_is_cut_even_if_it_says_nothing(
    link: AgentLink, folder: Path
) -> None:
    await link.connect()
    script(folder, **says(json_frame({"said": ""}) * 70_000))
    with pytest.raises(AgentError, match="an endless answer of Docker"):
        await link.load_image([])


@pytest.mark.parametrize("have", [0, 700_000, len(DATA)])
async def test_put_sends_what_is_missing(
    link: AgentLink, folder: Path, tmp_path: Path, have: int
) -> None:
    await link.connect()
    (tmp_path / "blob").write_bytes(DATA)
    result = json_frame({"ok": True}).hex()
    script(folder, **says(json_frame({"offset": have})), bulk_after=result)
    await link.put_blob("cd" * 32, tmp_path / "blob")
    *data, end = received(folder)
    assert b"".join(part for part in data if isinstance(part, bytes)) == DATA[have:]
    assert end is None
    assert heard(folder)[-1] == {
        "mode": "bulk", "op": "blob.put", "digest": "cd" * 32, "size": len(DATA)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (json_frame({"offset": 5}), "an offset outside the file"),
        (json_frame({"offset": -1}), "an offset outside the file"),
        (json_frame({"offset": "0"}), "an offset outside the file"),
        (json_frame({}), "an offset outside the file"),
        (frame(b"bytes"), "bytes where a result was due"),
        (b"\xff\xff\xff\xff", "a frame of 2147483647 bytes"),
        (b"\x7f\xff\xff\xff", "a frame of 2147483647 bytes"),
        (b"\x80\x00\x00\x02[]", "a line that is not a JSON object"),
        (json_frame({"offset": 0}) + json_frame({"ok": 1}), "a result without ok"),
    ],
)
async def test_put_refuses_what_does_not_fit(
    link: AgentLink, folder: Path, tmp_path: Path, answer: bytes, why: str
) -> None:
    await link.connect()
    (tmp_path / "blob").write_bytes(b"four")
    script(folder, **says(answer))
    with pytest.raises(AgentError, match=why):
        await link.put_blob("cd" * 32, tmp_path / "blob")


async def test_put_sends_nothing_of_what_is_there(
    link: AgentLink, folder: Path, tmp_path: Path
) -> None:
    script(folder, answers={"blob.has": {"ok": {"size": 4, "complete": True}}})
    await link.connect()
    (tmp_path / "blob").write_bytes(b"four")
    await link.put_blob("cd" * 32, tmp_path / "blob")
    assert [line for line in heard(folder) if line.get("mode") == "bulk"] == []


async def test_put_that_fails_in_the_middle_says_why(
    link: AgentLink, folder: Path, tmp_path: Path
) -> None:
    await link.connect()
    (tmp_path / "blob").write_bytes(bytes(20_000_000))
    error = {"kind": "EngineError", "message": "the disk is full", "status": 507}
    script(folder, **says(json_frame({"offset": 0}), json_frame({"error": error})), bulk_ends=True)
    with pytest.raises(EngineError, match="disk is full") as caught:
        await link.put_blob("cd" * 32, tmp_path / "blob")
    assert caught.value.status == 507


async def test_an_agent_that_ends_before_it_was_told_all_says_why(
    link: AgentLink, folder: Path
) -> None:
    await link.connect()
    error = {"kind": "EngineError", "message": "there is no job r1-train-1", "status": 404}
    script(folder, **says(json_frame({"error": error})), bulk_ends=True)
    with pytest.raises(EngineError, match="there is no job"):
        await drained(link.read_archive(SOURCE, paths=["x" * 1000] * 5000))


async def test_errors_of_a_transfer_keep_their_kind(
    link: AgentLink, folder: Path, tmp_path: Path
) -> None:
    await link.connect()
    error = {"kind": "EngineError", "message": "no space left on gpu1:/var/tmp"}
    script(folder, **says(json_frame({"error": error})))
    with pytest.raises(EngineError, match="no space"):
        await link.place_blob("cd" * 32, SOURCE)


async def test_place(link: AgentLink, folder: Path) -> None:
    await link.connect()
    script(folder, **says(json_frame({"ok": True})))
    await link.place_blob("cd" * 32, SOURCE)
    told = heard(folder)[-1]
    assert told["op"] == "place"
    assert (told["path"], told["attempt_id"], told["runtime"]) == ("out", "r1-train-1", "process")


async def test_archive_is_read_and_checked(link: AgentLink, folder: Path) -> None:
    await link.connect()
    script(folder, **says(framed(DATA), ending(DATA)))
    archive = link.read_archive(SOURCE)
    came = b"".join([chunk async for chunk in archive])
    assert came == DATA
    assert archive.sha256 == hashlib.sha256(DATA).hexdigest()
    assert archive.size == len(DATA)


async def test_archive_from_an_offset(link: AgentLink, folder: Path) -> None:
    await link.connect()
    script(folder, **says(framed(DATA[1000:]), END, ending(DATA)))
    archive = link.read_archive(SOURCE, 1000)
    assert b"".join([chunk async for chunk in archive]) == DATA[1000:]
    assert heard(folder)[-1]["offset"] == 1000
    assert archive.sha256 == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    "frames",
    [
        (framed(DATA), ending(DATA[:-1])),
        (framed(DATA[:-1] + b"x"), ending(DATA)),
        (framed(DATA),),
        (framed(DATA), END, END),
        (framed(DATA), json_frame({"size": len(DATA)})),
        (framed(DATA)[:-5],),
    ],
)
async def test_archive_that_is_not_what_it_says(
    link: AgentLink, folder: Path, frames: tuple[bytes, ...]
) -> None:
    await link.connect()
    script(folder, **says(*frames), bulk_ends=True)
    with pytest.raises(AgentError, match="archive"):
        await drained(link.read_archive(SOURCE))


@pytest.mark.parametrize("end", [ending(DATA[:-1]), json_frame({"size": len(DATA)})])
async def test_the_rest_of_an_archive_has_to_have_its_size_and_a_hash(
    link: AgentLink, folder: Path, end: bytes
) -> None:
    await link.connect()
    script(folder, **says(framed(DATA[1000:]), end), bulk_ends=True)
    with pytest.raises(AgentError, match="an archive of"):
        await drained(link.read_archive(SOURCE, 1000))


async def test_archive_may_be_left_early(link: AgentLink, folder: Path) -> None:
    await link.connect()
    script(folder, **says(framed(DATA), ending(DATA)))
    archive = link.read_archive(SOURCE)
    assert await anext(archive)
    await archive.aclose()
    assert b"".join([chunk async for chunk in link.read_archive(SOURCE)]) == DATA


async def test_log_with_a_jump(link: AgentLink, folder: Path) -> None:
    await link.connect()
    script(
        folder,
        **says(frame(b"abc"), json_frame({"offset": 100}), frame(b"de"), json_frame({"end": True})),
    )
    read = [item async for item in link.read_log("r1-train-1", 5, follow=False)]
    assert read == [(5, b"abc"), (100, b"de")]
    assert heard(folder)[-1] == {
        "mode": "bulk", "op": "log", "attempt_id": "r1-train-1", "offset": 5
    }  # fmt: skip


@pytest.mark.parametrize("value", [-1, "5", True, None])
async def test_log_with_a_wrong_offset(link: AgentLink, folder: Path, value: object) -> None:
    await link.connect()
    script(folder, **says(json_frame({"offset": value})))
    with pytest.raises(AgentError, match="offset"):
        await drained(link.read_log("r1-train-1", 0, follow=False))


def piece(offset: object, data: bytes, end: bool = False) -> dict[str, Any]:
    return {"ok": {"offset": offset, "data": base64.b64encode(data).decode(), "end": end}}


async def test_log_is_followed_without_a_session(link: AgentLink, folder: Path) -> None:
    answers = [piece(0, b"ab"), piece(2, b""), piece(100, b"cd"), piece(102, b"e", end=True)]
    script(folder, answers={"job.log": answers})
    await link.connect()
    assert await drained(link.read_log("r1-t-1", 0, follow=True)) == [
        (0, b"ab"), (100, b"cd"), (102, b"e")
    ]  # fmt: skip
    asked = [line["job.log"]["offset"] for line in heard(folder) if "job.log" in line]
    assert asked == [0, 2, 2, 102]
    assert starts(folder) == 1


@pytest.mark.parametrize(
    "answer", [piece(-1, b""), piece("0", b""), {"ok": {"offset": 0, "data": "?", "end": False}}]
)
async def test_followed_log_that_does_not_fit(
    link: AgentLink, folder: Path, answer: dict[str, Any]
) -> None:
    script(folder, answers={"job.log": answer})
    await link.connect()
    with pytest.raises(AgentError):
        await drained(link.read_log("r1-t-1", 0, follow=True))


async def test_looks_do_not_wait_for_transfers(
    link: AgentLink, folder: Path, tmp_path: Path
) -> None:
    await link.connect()
    (tmp_path / "blob").write_bytes(DATA)
    script(folder, bulk="")
    transfer = asyncio.create_task(link.put_blob("cd" * 32, tmp_path / "blob"))
    for _ in range(20):
        assert (await link.look(1.0, 1.0)).gpus
    assert not transfer.done()
    transfer.cancel()
    await asyncio.gather(transfer, return_exceptions=True)
