"""Converts database rows to model values and back; compresses the texts of a run. Pure."""

from __future__ import annotations

import functools
import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from hostler.model.codec import from_json, to_json
from hostler.model.files import Artifact
from hostler.model.pipelines import Cause, Stage
from hostler.model.records import NewEvent
from hostler.model.runs import (
    Attempt,
    AttemptChange,
    Event,
    Origin,
    Outcome,
    Phase,
    Run,
    Source,
    in_order,
)
from hostler.model.service_wishes import ServiceWish, with_replicas

SqlValue = str | int | float | None
"""The type of a column's value."""

ATTEMPT_COLUMNS = (
    "attempt_id", "run_id", "stage", "number", "phase", "host", "gpus", "placed_at", "runtime",
    "launched_at", "ref", "boot_id", "started_at", "finished_at", "duration", "exit_code",
    "signal", "cause", "detail", "stop_reason", "stop_detail", "metrics", "outputs",
    "image_digest", "usage", "verdict", "warned_at", "warning",
    "ready_at", "port", "address",
)  # fmt: skip
ATTEMPT_FIXED = ("attempt_id", "run_id", "stage", "number", "host", "gpus", "placed_at")
"""Columns that the intent sets and no later transition may change."""

EVENT_COLUMNS = (
    "at", "kind", "message", "severity", "run_id", "stage", "attempt_id", "host", "actor",
    "gpu",
)  # fmt: skip
ARTIFACT_COLUMNS = (
    "attempt_id", "name", "run_id", "stage", "digest", "size", "collected_at", "files",
    "tree_digest", "kind", "partial", "index_digest",
)  # fmt: skip


def storable(text: str) -> str:
    """Text that SQLite accepts: lone surrogates, which occur in file names and logs, become "?"."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def dump(value: object) -> str:
    """Compact JSON of a model value."""
    return json.dumps(to_json(value), separators=(",", ":"))


def run_texts(run: Run, pipeline_text: str) -> RunTexts:
    """The texts of a run that are stored compressed."""
    return RunTexts(
        stages=tuple(dump(stage) for stage in run.stages),
        pipeline=storable(pipeline_text),
        env=dump(run.env),
        git_diff=run.source.git_diff,
    )


def run_values(run: Run) -> dict[str, SqlValue]:
    """The columns of a run. Earlier versions had texts in `pipeline_text` and `env`."""
    return {
        "run_id": run.run_id,
        "pipeline": storable(run.pipeline),
        "owner": storable(run.owner),
        "uid": run.uid,
        "submitted_at": run.submitted_at,
        "params": dump(run.params),
        "source": dump(replace(run.source, git_diff=None)),
        "source_digest": run.source.digest,
        "priority": run.priority,
        "cancelled_by": run.cancelled_by,
        "outcome": run.outcome.value if run.outcome else None,
        "finished_at": run.finished_at,
        "kept": dump(run.kept),
        "retry_of": run.retry_of,
        "parent": run.parent,
        "env": "",
        "title": storable(run.title),
        "file": storable(run.file),
        "origins": dump(run.origins),
        "checkpoints": _mapping(run.checkpoints),
        "services": dump(run.services) if run.services else "{}",
        "stage_count": len(run.stages),
        "pipeline_text": "",
    }


def read_run(row: sqlite3.Row, texts: RunTexts, attempts: Sequence[Attempt]) -> Run:
    """A run from its row, its texts and its attempts."""
    kept, origins = json.loads(row["kept"]), _read_mapping(row["origins"])
    source = from_json(Source, json.loads(row["source"]))
    stages = tuple(read_stage(spec) for spec in texts.stages)
    wishes = read_wishes(row["services"])
    return Run(
        run_id=row["run_id"],
        pipeline=row["pipeline"],
        stages=with_replicas(stages, wishes) if wishes else stages,
        owner=row["owner"],
        uid=row["uid"],
        submitted_at=row["submitted_at"],
        params=json.loads(row["params"]),
        source=replace(source, git_diff=texts.git_diff),
        priority=row["priority"],
        attempts=in_order(attempts),
        cancelled_by=row["cancelled_by"],
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        finished_at=row["finished_at"],
        kept={stage: from_json(Attempt, attempt) for stage, attempt in kept.items()},
        retry_of=row["retry_of"],
        parent=row["parent"],
        env=json.loads(texts.env),
        title=row["title"],
        file=row["file"],
        origins={name: from_json(Origin, value) for name, value in origins.items()},
        checkpoints=_read_mapping(row["checkpoints"]),
        services=wishes,
    )


def read_wishes(text: str) -> dict[str, ServiceWish]:
    """The requests for the services of a run."""
    return {name: from_json(ServiceWish, wish) for name, wish in _read_mapping(text).items()}


@functools.lru_cache(maxsize=8192)
def read_stage(spec: str) -> Stage:
    """A stage from its JSON. Cached, since runs of one pipeline mostly have the same stages."""
    return from_json(Stage, json.loads(spec))


def attempt_values(attempt: Attempt) -> dict[str, SqlValue]:
    """The columns of an attempt, in the order of `ATTEMPT_COLUMNS`."""
    return {name: _column(getattr(attempt, name)) for name in ATTEMPT_COLUMNS}


def change_values(changes: AttemptChange) -> dict[str, SqlValue]:
    """The columns of the fields that change."""
    return {name: _column(value) for name, value in changes.items()}


def _column(value: object) -> SqlValue:
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str):
        return storable(value)
    return _mapping(value) if isinstance(value, Mapping) else json.dumps(value)


def read_attempt(row: sqlite3.Row) -> Attempt:
    """An attempt from a row with `ATTEMPT_COLUMNS`, in that order."""
    values = list(row)
    return Attempt(
        attempt_id=values[0],
        run_id=values[1],
        stage=values[2],
        number=values[3],
        phase=Phase(values[4]),
        host=values[5],
        gpus=tuple(json.loads(values[6])),
        placed_at=values[7],
        runtime=values[8],
        launched_at=values[9],
        ref=values[10],
        boot_id=values[11],
        started_at=values[12],
        finished_at=values[13],
        duration=values[14],
        exit_code=values[15],
        signal=values[16],
        cause=Cause(values[17]) if values[17] else None,
        detail=values[18],
        stop_reason=Cause(values[19]) if values[19] else None,
        stop_detail=values[20],
        metrics=_read_mapping(values[21]),
        outputs=_read_mapping(values[22]),
        image_digest=values[23],
        usage=_read_mapping(values[24]),
        verdict=Phase(values[25]) if values[25] else None,
        warned_at=values[26],
        warning=values[27],
        ready_at=values[28],
        port=values[29],
        address=values[30],
    )


def event_values(event: NewEvent) -> tuple[SqlValue, ...]:
    """The columns of an event, in the order of `EVENT_COLUMNS`."""
    return (
        event.at, event.kind.value, storable(event.message), event.severity, event.run_id,
        event.stage, event.attempt_id, event.host, event.actor, event.gpu,
    )  # fmt: skip


def read_event(row: sqlite3.Row) -> Event:
    """An event from a row with `seq` and `EVENT_COLUMNS`."""
    return Event(**dict(zip(row.keys(), row, strict=True)))


def artifact_values(artifact: Artifact) -> tuple[SqlValue, ...]:
    """The columns of an artifact, in the order of `ARTIFACT_COLUMNS`."""
    return (
        artifact.attempt_id, storable(artifact.name), artifact.run_id, artifact.stage,
        artifact.digest, artifact.size, artifact.collected_at, artifact.files,
        artifact.tree_digest, artifact.kind, int(artifact.partial), artifact.index,
    )  # fmt: skip


def read_artifact(row: sqlite3.Row) -> Artifact:
    """An artifact from a row with `ARTIFACT_COLUMNS`."""
    values = dict(zip(row.keys(), row, strict=True))
    index = values.pop("index_digest")
    return Artifact(**{**values, "partial": bool(values["partial"])}, index=index)


def _mapping(value: Mapping[str, float | str]) -> str:
    return json.dumps(dict(value)) if value else "{}"


def _read_mapping(text: str) -> dict[str, Any]:
    return dict(json.loads(text)) if text != "{}" else {}


@dataclass(frozen=True, slots=True)
class RunTexts:
    """Texts of a run that are read only with the whole run.

    Stages of a run have the same keys and mostly the same values. Compressed together with the
    pipeline file they take a tenth of the space.
    """

    stages: tuple[str, ...]
    """JSON of each stage, in order."""
    pipeline: str
    """The submitted pipeline file."""
    env: str
    """The environment as JSON."""
    git_diff: str | None


def pack(texts: RunTexts) -> bytes:
    """All texts as one compressed value."""
    head = json.dumps([texts.pipeline, texts.env, texts.git_diff])
    # JSON contains no line breaks, and all other characters are escaped to ASCII.
    return zlib.compress("\n".join((head, *texts.stages)).encode("ascii"))


def unpack(packed: bytes) -> RunTexts:
    """The texts from `pack`'s value."""
    head, *stages = zlib.decompress(packed).decode("ascii").split("\n")
    pipeline, env, git_diff = json.loads(head)
    return RunTexts(tuple(stages), pipeline, env, git_diff)
