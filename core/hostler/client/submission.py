"""Submits a run in steps: checks it, decides whether a command's code is copied or used in
place, uploads the code, and shows notes about files once. No I/O but by steps; the folder
`submit` makes what is sent."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hostler.base.errors import InputError, NotFoundError
from hostler.base.json_types import JsonTable
from hostler.base.keys import Shape
from hostler.base.units import format_size, format_value
from hostler.client import calls
from hostler.client.daemon_start import ensure
from hostler.client.exchange import ask, ask_surely
from hostler.client.flow import Blocking, Io, local
from hostler.client.methods import Value
from hostler.client.secrets import names as names_of_secrets
from hostler.client.work import has_snapshot, put_snapshot
from hostler.model.codec import to_json
from hostler.model.pipeline_file import command_keys
from hostler.submit.body import (
    check_no_include,
    code_folder,
    command_body,
    current_folder,
    included,
    left_out_lines,
    pipeline_body,
    skipped_lines,
    text_path,
    wants_snapshot,
    with_file_names,
)
from hostler.submit.own_gpus import file_notes
from hostler.submit.remembered import Say, remember, silent, tell_once
from hostler.submit.secrets import unset
from hostler.submit.words import words_of
from hostler_agent.json_values import strings, table

if TYPE_CHECKING:
    from hostler.model.views.plans import CheckView, PlanView, RetryView
    from hostler.model.views.runs import NewRun, RunDetail
    from hostler.packing import PackedSource

Option = Value | Sequence[str] | Sequence[int] | Mapping[str, str] | None
"""The options of a command, as `Client.run` takes them."""


_SNAPSHOT = {"command": {"command": ["true"], "code": "snapshot"}}
"""A submission for asking about the limits of sources."""


def run(
    what: str | PathLike[str] | Sequence[str], /, *, title: str = "", priority: int = 0,
    include: Sequence[str] = (), after: str | Sequence[str] = (),
    after_any: str | Sequence[str] = (), key: str | None = None,
    say: Say | None = None, **more: Any,
) -> Io[str]:  # fmt: skip
    """The id of a new run; see `Client.run`."""
    if priority > 0:
        raise InputError(
            f"a priority of {priority}: it can only be lowered", remedy="Use 0 or less"
        )
    if isinstance(what, (str, PathLike)):
        folder = Path(what).parent
        make = partial(_pipeline, Path(what), **more)
    else:
        folder = Path(more.pop("folder", None) or current_folder())
        make = partial(_command, what, folder, **more)
    yield from local(partial(_ensure, say=say))
    body = yield from local(lambda _: make())
    body |= {"title": title, "priority": priority, **_waits(after, after_any)}
    if include:
        body["source"] = {"include": list(include)}
    made = yield from submitted(body, folder, say or silent, key)
    return made.run_id


def _waits(after: str | Sequence[str], after_any: str | Sequence[str]) -> JsonTable:
    """The part of a body that names runs to wait for; empty if there are none, so that earlier
    daemons accept it."""
    named = {"after": after, "after_any": after_any}
    lists = {key: [runs] if isinstance(runs, str) else [*runs] for key, runs in named.items()}
    return {key: [*runs] for key, runs in lists.items() if runs}


def submitted(body: JsonTable, folder: Path, say: Say, key: str | None = None) -> Io[NewRun]:
    """A new run of this body, with its code. Warns if no host can ever run it."""
    yield from check_own(body, say)
    body = yield from choose_code(body, folder)
    body = yield from with_source(body, folder, say)
    made = yield from ask_surely(calls.submit(body, key=key))
    if made.no_host:
        say(made.no_host)
    for line in filter(None, (made.gpu_models, made.own_gpus)):
        say(line)
    yield from told_once(folder, [*filter(None, [made.dropped_environment])], say)
    return made


def check_own(body: JsonTable, say: Say) -> Io[None]:
    """Raises InputError where a command takes a secret that neither the caller's environment has
    nor the daemon. Reports which secrets come from the daemon instead."""
    names = strings(table(body.get("command")).get("secrets"))
    missing = [name for name in names if name not in table(body.get("secrets"))]
    if not missing:
        return
    kept = {secret.name for secret in (yield from ask(names_of_secrets()))}
    for name in missing:
        if name not in kept:
            raise unset(name)
        say(f"{name} is not set in this shell: the one of `hostler secret set` is used")


def _pipeline(
    file: Path,
    params: Mapping[str, Value] | None = None,
    secrets: Sequence[str] | Mapping[str, str] = (),
    args: Sequence[str] = (),
    **values: Value,
) -> JsonTable:
    if not file.suffix and not file.exists():
        raise NotFoundError(
            f"there is no pipeline file {file}",
            remedy=f"For an existing run: client.find({str(file)!r})",
        )
    texts = {name: format_value(value) for name, value in {**(params or {}), **values}.items()}
    own = [secrets] if isinstance(secrets, str) else secrets
    words = [args] if isinstance(args, str) else args
    return pipeline_body(file, texts, os.environ, words, secrets=own)


def _command(words: Sequence[str], folder: Path, **options: Option) -> JsonTable:
    texts = {key.name for key in command_keys().values() if key.kind.shape is Shape.TEXTS} | {
        "each"
    }
    asked: JsonTable = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            asked[name] = {**value}
        elif isinstance(value, str) or not isinstance(value, Sequence):
            asked[name] = [value] if name in texts and isinstance(value, str) else value
        else:
            asked[name] = [*value]
    given = {name: value for name, value in asked.items() if value is not None}
    return command_body(words, given, os.environ, folder)


def _ensure(client: Blocking, say: Say | None) -> None:
    """A daemon that answers; the user's own daemon is started if necessary."""
    if client.found.personal:
        ensure(client.found, say)


def plan(file: Path, params: Mapping[str, Value], *, priority: int = 0) -> Io[PlanView]:
    """Where a pipeline would be placed now, and why; changes and sends nothing."""

    def named() -> JsonTable:
        body = _pipeline(file, params) | {"priority": priority}
        return with_file_names(body, file.parent)

    body = yield from local(lambda _: named())
    return (yield from ask(calls.plan(body)))


def rerun(
    name: str, *, same_code: bool, say: Say, secrets: Mapping[str, str] | None = None
) -> Io[RunDetail]:
    """A new run of everything that a run did: with the code that lies in its folder today, where
    it took a copy along, unless the same code is wanted."""
    old = yield from ask(calls.show(name))
    source = None
    if not same_code and old.source.digest:
        folder = yield from local(lambda here: code_folder(old, here.found, "add --same-code"))
        limits = yield from ask(calls.check(_SNAPSHOT))
        include = old.source.include
        words = [word for stage in old.stages for word in stage.command]
        source = yield from sent_source(folder, limits, say, include, words)
    return (yield from ask_surely(calls.rerun(old.run_id, source=source, secrets=secrets)))


def choose_code(body: JsonTable, folder: Path) -> Io[JsonTable]:
    """The body with `code` chosen for a command that does not set it: the folder itself if only
    this machine runs it, no code from a home folder, else a copy of the files that git sees."""
    command = body.get("command")
    if not isinstance(command, dict) or command.get("code") is not None:
        return body
    return {**body, "command": {**command, "code": (yield from code_of(folder))}}


def code_of(folder: Path) -> Io[str]:
    """The source of a folder's code if the user does not choose one."""
    if (yield from _is_local()):
        return "here"
    return "none" if folder.resolve() in (Path.home().resolve(), Path("/")) else "snapshot"


def _is_local() -> Io[bool]:
    """Whether the daemon's machine is the only host."""
    about = yield from ask(calls.version())
    if about.local is not None:
        return about.local
    hosts = yield from ask(calls.hosts())
    return bool(hosts) and all(host.transport == "local" for host in hosts)


def with_source(body: JsonTable, folder: Path, say: Say) -> Io[JsonTable]:
    """The body with its source: packed and uploaded where a stage wants a copy of the code.

    The daemon reads the rest first: a mistake must not cost an upload. Reports files that choose
    GPUs of the host themselves.
    """
    return (yield from sent((yield from parcel_of(body, folder)), say))


@dataclass(frozen=True, slots=True)
class Parcel:
    """A submission whose code is packed and not sent yet: `plan` is shown before. The caller sends
    it or calls `drop`."""

    body: JsonTable
    folder: Path
    plan: JsonTable
    """The body for a plan, with the digest of the code."""
    packed: PackedSource | None
    """None: no stage wants a copy of the code."""

    def drop(self) -> None:
        """Remove the packed code; may be called twice."""
        if self.packed is not None:
            self.packed.path.unlink(missing_ok=True)


def parcel_of(body: JsonTable, folder: Path) -> Io[Parcel]:
    """The body with its code packed if a stage wants a copy. Raises the daemon's errors for the
    rest before packing."""
    if not wants_snapshot(body):
        check_no_include(body)
        plan: JsonTable = {**body, "source": {"path": str(text_path(folder.absolute()))}}
        return Parcel(body, folder, plan, None)
    named = yield from local(lambda _: with_file_names(body, folder))
    limits = yield from ask(calls.check(named))
    packed = yield from _packed(folder, limits, included(body), words_of(body))
    return Parcel(body, folder, {**named, "source": _described(packed)}, packed)


def sent(parcel: Parcel, say: Say) -> Io[JsonTable]:
    """The body to submit for a parcel, once its code is at the daemon."""
    body, folder, packed = parcel.body, parcel.folder, parcel.packed
    yield from told_once(folder, (yield from local(lambda _: file_notes(body, folder))), say)
    if packed is None:
        whole = parcel.plan
    else:
        whole = {**body, "source": (yield from _uploaded(folder, packed, say))}
    yield from local(partial(_remember, body=whole))
    return whole


def _remember(client: Blocking, body: JsonTable) -> None:
    """Record what another user's daemon receives: it may not request anything else later."""
    if not client.found.is_own:
        remember(client.found, body)


def _described(packed: PackedSource) -> JsonTable:
    return {key: value for key, value in to_json(packed.source).items() if value is not None}


def sent_source(
    folder: Path, limits: CheckView | RetryView, say: Say, include: Sequence[str] = (),
    words: Sequence[str] = (),
) -> Io[JsonTable]:  # fmt: skip
    """The folder's code, packed, uploaded where the daemon does not have it, and described.
    Reports the files that are not sent; for `words` of commands, also those that git ignores."""
    return (yield from _uploaded(folder, (yield from _packed(folder, limits, include, words)), say))


def _uploaded(folder: Path, packed: PackedSource, say: Say) -> Io[JsonTable]:
    """Uploads the packed file, and removes it in every case."""
    try:
        if not (yield from has_snapshot(packed.digest)):
            _tell_size(packed, say)
            yield from put_snapshot(packed.digest, packed.path)
        lines = [*left_out_lines(packed), *skipped_lines(packed)]
        yield from told_once(folder, lines, say)
    finally:
        with contextlib.suppress(FileNotFoundError):
            packed.path.unlink()
    return _described(packed)


def _packed(
    folder: Path, limits: CheckView | RetryView, include: Sequence[str], words: Sequence[str]
) -> Io[PackedSource]:
    """Packs the folder into a file. The file is removed if the caller no longer waits for it."""
    given_up = threading.Event()

    def pack(client: Blocking) -> PackedSource:
        from hostler.packing import pack_source  # takes time to load

        size, most = limits.source_size, limits.source_file
        packed = pack_source(folder, size, file_limit=most, include=include, words=words)
        if given_up.is_set():
            packed.path.unlink(missing_ok=True)
        return packed

    try:
        return (yield from local(pack))
    except BaseException:
        given_up.set()
        raise


def told_once(folder: Path, lines: Sequence[str], say: Say) -> Io[None]:
    """Show the permanent notes about a folder that were not shown for it yet."""
    if say is silent or not lines:
        return
    fresh: list[str] = []
    yield from local(lambda _: tell_once(folder, lines, fresh.append))
    for line in fresh:
        say(line)


def _tell_size(packed: PackedSource, say: Say) -> None:
    if packed.files:
        files = f"{packed.files} file{'' if packed.files == 1 else 's'}"
        say(f"sending {files} ({format_size(packed.size)})")
