"""What is said to the daemon on the way to a new run: is it right, here is its code. No I/O but by
steps; `submit` makes what is sent."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hostler.base.units import format_size
from hostler.client import calls
from hostler.client.exchange import ask
from hostler.client.flow import Io, local
from hostler.client.work import has_snapshot, put_snapshot
from hostler.model.codec import to_json
from hostler.packing import PackedSource, pack_source
from hostler.submit.body import check_no_include, included, wants_snapshot, with_file_names
from hostler.submit.sources import left_out_lines, skipped_lines, text_path
from hostler.submit.told import Say, silent, tell_once
from hostler.submit.words import words_of


def choose_code(body: dict[str, Any], folder: Path) -> Io[dict[str, Any]]:
    """The body with `code` decided for a command that does not say: the folder itself where only
    this machine runs it, nothing from a home folder, else a copy of what git sees."""
    command = body.get("command")
    if command is None or command.get("code") is not None:
        return body
    hosts = yield from ask(calls.hosts())
    if all(host.get("transport") == "local" for host in hosts):
        code = "here"
    elif folder.resolve() in (Path.home().resolve(), Path("/")):
        code = "none"
    else:
        code = "snapshot"
    return {**body, "command": {**command, "code": code}}


def with_source(body: dict[str, Any], folder: Path, say: Say) -> Io[dict[str, Any]]:
    """The body with its source: packed and uploaded where a stage wants a copy of the code.

    The daemon reads the rest first: a mistake must not cost an upload.
    """
    if not wants_snapshot(body):
        check_no_include(body)
        return {**body, "source": {"path": str(text_path(folder.absolute()))}}
    named = yield from local(lambda _: with_file_names(body, folder))
    limits = yield from ask(calls.check(named))
    source = yield from sent_source(folder, limits, say, included(body), words_of(body))
    return {**body, "source": source}


def sent_source(
    folder: Path, limits: Mapping[str, Any], say: Say, include: Sequence[str] = (),
    words: Sequence[str] = (),
) -> Io[dict[str, Any]]:  # fmt: skip
    """The folder's code, packed, uploaded where the daemon does not have it, and described. What
    does not go along is told; of `words`, those of commands, also what git ignores."""
    packed = yield from local(
        lambda _: pack_source(
            folder, limits["source_size"], file_limit=limits["source_file"], include=include,
            words=words,
        )
    )  # fmt: skip
    try:
        if not (yield from has_snapshot(packed.digest)):
            _tell_size(packed, say)
            yield from put_snapshot(packed.digest, packed.path)
        lines = [*left_out_lines(packed), *skipped_lines(packed)]
        yield from told_once(folder, lines, say)
    finally:
        with contextlib.suppress(FileNotFoundError):
            packed.path.unlink()
    return {key: value for key, value in to_json(packed.source).items() if value is not None}


def told_once(folder: Path, lines: Sequence[str], say: Say) -> Io[None]:
    """Tell standing notes of a folder that it has not had yet."""
    if say is silent:
        return
    fresh: list[str] = []
    yield from local(lambda _: tell_once(folder, lines, fresh.append))
    for line in fresh:
        say(line)


def _tell_size(packed: PackedSource, say: Say) -> None:
    if packed.files:
        files = f"{packed.files} file{'' if packed.files == 1 else 's'}"
        say(f"sending {files} ({format_size(packed.size)})")
