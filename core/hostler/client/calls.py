"""Every call of the API as a value, so that the two clients only differ in how they send. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hostler.base.wire import target


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `body` is a JSON value or None."""

    method: str
    target: str
    body: Any = None
    key: str = ""
    """With it, the call may be sent again: the daemon carries it out once."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further ones."""


def new_key() -> str:
    """A key for one submission."""
    return os.urandom(16).hex()


def version() -> Call:
    """Who answers: version, API level, daemon id, pid."""
    return Call("GET", target(["version"]))


def gpus() -> Call:
    """The `hostler.gpus/1` object."""
    return Call("GET", target(["gpus"]))


def hosts() -> Call:
    """All hosts."""
    return Call("GET", target(["hosts"]))


def host(name: str) -> Call:
    """One host with its look and facts."""
    return Call("GET", target(["hosts", name]))


def host_history(name: str, minutes: int) -> Call:
    """What the GPUs of a host did lately."""
    return Call("GET", target(["hosts", name, "history"], {"minutes": minutes}))


def fleet_history(minutes: int) -> Call:
    """What all GPUs together did lately."""
    return Call("GET", target(["history", "fleet"], {"minutes": minutes}))


def drain(name: str, reason: str) -> Call:
    """Give a host no new work."""
    return Call("POST", target(["hosts", name, "drain"]), {"reason": reason})


def undrain(name: str) -> Call:
    """Give a host work again."""
    return Call("POST", target(["hosts", name, "undrain"]), {})


def clean_host(
    name: str, dry_run: bool, checkpoints: bool, kept: bool, shown_at: float | None
) -> Call:
    """Remove from a host what no open or kept run needs."""
    wish: dict[str, Any] = {"dry_run": dry_run, "checkpoints": checkpoints, "kept": kept}
    if shown_at is not None:
        wish["shown_at"] = shown_at
    return Call("POST", target(["hosts", name, "clean"]), wish)


def retry_host(name: str) -> Call:
    """Connect to a host at once."""
    return Call("POST", target(["hosts", name, "retry"]))


def snapshot(digest: str, method: str) -> Call:
    """HEAD: is it there? PUT: here it is."""
    return Call(method, target(["snapshots", digest]))


def submit(submission: Mapping[str, Any], key: str | None) -> Call:
    """A new run."""
    return Call("POST", target(["runs"]), dict(submission), key or new_key())


def check(submission: Mapping[str, Any]) -> Call:
    """Whether a submission would be taken, before its source is uploaded."""
    return Call("POST", target(["check"]), dict(submission))


def plan(submission: Mapping[str, Any]) -> Call:
    """Where a submission would go, changing nothing."""
    return Call("POST", target(["plan"]), dict(submission))


def runs(
    state: str | None, pipeline: str | None, owner: str | None,
    since: float | None, limit: int | None,
) -> Call:  # fmt: skip
    """Summaries, the newest first."""
    query = {"state": state, "pipeline": pipeline, "owner": owner, "since": since, "limit": limit}
    return Call("GET", target(["runs"], query))


def run(run_id: str) -> Call:
    """One run with its stages and attempts."""
    return Call("GET", target(["runs", run_id]))


def run_events(run_id: str, after: int | None, follow: bool) -> Call:
    """A run's events after number `after`; with `follow` until it ends."""
    return Call("GET", target(["runs", run_id, "events"], {"after": after, "follow": follow}))


def events(after: int | None, limit: int | None, follow: bool, host: str | None) -> Call:
    """Events after number `after`; without it the latest."""
    query = {"after": after, "limit": limit, "follow": follow, "host": host}
    return Call("GET", target(["events"], query))


def why(run_id: str, stage: str | None) -> Call:
    """Reasons why stages wait."""
    return Call("GET", target(["runs", run_id, "why"], {"stage": stage}))


def logs(
    run_id: str, stage: str, attempt: int | None, offset: int | None,
    follow: bool, tail: int | None, length: int | None,
) -> Call:  # fmt: skip
    """A stage's output as raw bytes; `tail` in lines."""
    query = {
        "attempt": attempt, "offset": offset, "follow": follow, "tail": tail, "length": length,
    }  # fmt: skip
    return Call("GET", target(["runs", run_id, "logs", stage], query))


def metrics(run_id: str, stage: str, points: int | None, after: str | None) -> Call:
    """What a stage wrote to its metrics file, as rows: a page of them from `after` on, or about so
    many `points` of each metric."""
    query = {"points": points, "after": after}
    return Call("GET", target(["runs", run_id, "metrics", stage], query))


def artifacts(run_id: str) -> Call:
    """The outputs that a run's stages have handed over."""
    return Call("GET", target(["runs", run_id, "artifacts"]))


def files(run_id: str, stage: str | None, after: int) -> Call:
    """A page of the files of a run that can be fetched."""
    query = {"stage": stage, "after": after or None}
    return Call("GET", target(["runs", run_id, "files"], query))


def all_files(pages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The answers to `files`, in their order, as one."""
    whole = {key: value for key, value in pages[0].items() if key != "next"}
    whole["files"] = [file for page in pages for file in page["files"]]
    whole["truncated"] = any(page["truncated"] for page in pages)
    return whole


def list_folder(run_id: str, stage: str, path: str) -> Call:
    """What lies in a folder of a stage."""
    return Call("GET", target(["runs", run_id, "ls", stage], {"path": path or None}))


def content(
    run_id: str, stage: str, path: str, artifact: str | None, attempt: int | None,
    offset: int, etag: str,
) -> Call:  # fmt: skip
    """The bytes of a file from `offset` on, where it still is the version of `etag`; then the
    SHA-256 of the whole file."""
    query = {"path": path, "artifact": artifact, "attempt": attempt, "digest": True}
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if offset and etag:
        headers["If-Range"] = etag
    return Call("GET", target(["runs", run_id, "files", stage, "content"], query), headers=headers)


def fetched(run_id: str, stage: str, attempt_id: str, artifact: str | None) -> Call:
    """All files of an artifact (None: all that lie on the host) are in somebody's hands."""
    body = {"attempt_id": attempt_id, "artifact": artifact}
    return Call("POST", target(["runs", run_id, "files", stage, "fetched"]), body)


def source(run_id: str) -> Call:
    """Where a run's code came from."""
    return Call("GET", target(["runs", run_id, "source"]))


def usage(run_id: str, stage: str) -> Call:
    """What the attempts of a stage used."""
    return Call("GET", target(["runs", run_id, "usage", stage]))


def history(**wanted: object) -> Call:
    """All runs, searched."""
    return Call("GET", target(["history", "runs"], wanted))


def compare(run_ids: Iterable[str]) -> Call:
    """Runs side by side."""
    return Call("GET", target(["history", "compare"], {"run": tuple(run_ids)}))


def alerts(open_only: bool, limit: int) -> Call:
    """What needs eyes, the newest first."""
    return Call("GET", target(["alerts"], {"open": open_only, "limit": limit}))


def audit(**wanted: object) -> Call:
    """Who asked for what."""
    return Call("GET", target(["audit"], wanted))


def acknowledge(alert_id: int, verb: str) -> Call:
    """`acknowledge` an alert, or take it back: `unacknowledge`."""
    return Call("POST", target(["alerts", str(alert_id), verb]), {})


def act(run_id: str, verb: str, body: Any = None) -> Call:
    """`cancel` a run."""
    return Call("POST", target(["runs", run_id, verb]), {} if body is None else body)


def again(run_id: str, verb: str, key: str | None, body: Any = None) -> Call:
    """`retry` or `rerun` a run: a new one."""
    body = {} if body is None else body
    return Call("POST", target(["runs", run_id, verb]), body, key or new_key())


def plan_retry(run_id: str, change: Mapping[str, Any]) -> Call:
    """What a retry would keep and run again."""
    return Call("POST", target(["runs", run_id, "retry", "plan"]), dict(change))


def priority(run_id: str, value: int) -> Call:
    """Lower a run's priority."""
    return Call("POST", target(["runs", run_id, "priority"]), {"priority": value})


def remove(run_id: str) -> Call:
    """Forget a finished run."""
    return Call("DELETE", target(["runs", run_id]))


def kept(run_id: str) -> Call:
    """What is kept of a run, where, and until when."""
    return Call("GET", target(["runs", run_id, "kept"]))


def keep(run_id: str, until: float | None) -> Call:
    """Keep all of a run up to a time; None: for ever."""
    return Call("POST", target(["runs", run_id, "keep"]), {"until": until})


def unkeep(run_id: str) -> Call:
    """Keep a run no longer than others."""
    return Call("DELETE", target(["runs", run_id, "keep"]))


def gc(dry_run: bool) -> Call:
    """Free what nothing needs."""
    return Call("POST", target(["gc"]), {"dry_run": dry_run})


def shutdown() -> Call:
    """Stop the daemon; work goes on."""
    return Call("POST", target(["shutdown"]), {})
