"""State folders of daemons that have run very many pipelines of nine stages, for measurements.

Rows are written by the store's own statements, so that they are what a daemon would have written.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from hostler.model.events import EventKind
from hostler.model.files import Artifact
from hostler.model.pipelines import Cause, Pipeline
from hostler.model.records import NewEvent
from hostler.model.runs import Attempt, Outcome, Phase, Run, Source
from hostler.spec.pipeline import read_pipeline
from hostler.store import writes
from hostler.store.database import Store
from hostler.store.migrations import STATE
from hostler.store.opening import open_for_writing

DAY = 86_400.0
YEARS = 3
OWNERS = ("ana", "bo", "cleo", "dev", "eva", "finn", "gus", "hana")
PIPELINES = ("digits", "sweep", "segment", "nightly", "distill", "audio")
HOSTS = tuple(f"gpu{number:02}" for number in range(1, 13))
STAGES = 9
_TEXT = Path(__file__).parents[2] / "examples" / "digits" / "pipeline.toml"
_CHARACTERS = "0123456789abcdefghjkmnpqrstuvwxyz"
_CHUNK = 500
_MOST_SETTINGS = 40
_ENV = {
    "PATH": "/home/{0}/venv/bin:/usr/local/bin:/usr/bin:/bin",
    "VIRTUAL_ENV": "/home/{0}/venv",
}
_DIFF = "".join(f"-    rate = {n / 1000}\n+    rate = {n / 500}\n" for n in range(40))


@dataclass(frozen=True)
class Made:
    """One run with everything that belongs to it."""

    run: Run
    attempts: tuple[Attempt, ...]
    artifacts: tuple[Artifact, ...]


def fill(folder: Path, count: int, now: float) -> None:
    """Make a state folder of so many runs, spread over three years; the last are the newest."""
    asyncio.run(_begin(folder))
    path = folder / "hostler.db"
    with closing(open_for_writing(path, STATE, synchronous="OFF", backups=False)) as db:
        chance = random.Random(count)
        for start in range(0, count, _CHUNK):
            db.execute("BEGIN")
            for number in range(start, min(count, start + _CHUNK)):
                made = _made(number, now - YEARS * DAY * 365 * (1 - number / count), chance)
                _write(db, made)
                _leave_files(folder, made, now)
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _begin(folder: Path) -> None:
    await (await Store.open(folder)).close()


def bytes_of_tables(path: Path) -> dict[str, int]:
    """Table or index -> its bytes, the largest first."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC")
        return {str(name): int(size) for name, size in rows}


@cache
def _pipeline(name: str, epochs: int, lr: float, seed: int) -> Pipeline:
    read = read_pipeline(_text(name), file="pipeline.toml", params={
        "epochs": str(epochs), "lr": str(lr), "seed": str(seed),
    })  # fmt: skip
    assert len(read.stages) == STAGES
    return read


@cache
def _text(name: str) -> str:
    text = _TEXT.read_text().replace('name = "digits"', f'name = "{name}"')
    text = text.replace("epochs = 12", "epochs = 12\nlr = 0.1\nseed = 1")
    return text.replace("select_best.py", "select_best.py --seed {params.seed} --lr {params.lr}")


def _made(number: int, at: float, chance: random.Random) -> Made:
    name, owner = chance.choice(PIPELINES), chance.choice(OWNERS)
    setting = chance.randrange(_MOST_SETTINGS)
    pipeline = _pipeline(name, 10 + setting % 4, round(0.001 * 1.17**setting, 6), setting % 7)
    run_id = "r" + "".join(
        _CHARACTERS[(number * 7_368_787 % 33**6) // 33**place % 33] for place in range(6)
    )
    run = Run(
        run_id=run_id, pipeline=name, stages=pipeline.stages, owner=owner,
        uid=1000 + OWNERS.index(owner), submitted_at=at, params=pipeline.params,
        source=_source(name, owner, number, chance),
        env={key: value.format(owner) for key, value in _ENV.items()},
        title=f"{name} {setting}" if chance.random() < 0.3 else "",
    )  # fmt: skip
    attempts = tuple(_attempts(run, chance))
    return Made(_ended(run, attempts), attempts, tuple(_artifacts(attempts)))


def _source(name: str, owner: str, number: int, chance: random.Random) -> Source:
    version = f"{name} {owner} {number // 200}"
    dirty = chance.random() < 0.2
    return Source(
        digest=_digest(version),
        path=f"/home/{owner}/projects/{name}",
        git_commit=hashlib.sha1(version.encode()).hexdigest(),
        git_branch="main" if chance.random() < 0.7 else f"try-{number % 50}",
        git_dirty=dirty,
        git_diff=f"{_DIFF}+ {number}\n" if dirty else None,
    )


def _attempts(run: Run, chance: random.Random) -> Iterator[Attempt]:
    at = run.submitted_at + 1
    fails = chance.randrange(STAGES) if chance.random() < 0.08 else None
    for index, stage in enumerate(run.stages):
        took = chance.uniform(5, 600)
        gpu = stage.base in ("train", "validate")
        made = Attempt(
            attempt_id=f"{run.run_id}-{stage.name}-1", run_id=run.run_id, stage=stage.name,
            number=1, phase=Phase.SUCCEEDED, host=chance.choice(HOSTS),
            gpus=(f"GPU-{_digest(str(chance.randrange(96)))[:36]}",) if gpu else (), placed_at=at,
            runtime="process", launched_at=at + 0.2, ref=f"{run.run_id}-{stage.name}-1",
            boot_id=_digest("boot")[:36], started_at=at + 0.1, finished_at=at + took,
            duration=took, exit_code=0, metrics=_metrics(stage.base, chance),
            outputs={output: _digest(f"{run.run_id} {stage.name}") for output in stage.outputs},
            usage=_usage(took, chance) if gpu else {},
        )  # fmt: skip
        at += took
        if index == fails:
            code = chance.choice((1, 1, 1, 2, 137))
            yield replace(made, phase=Phase.FAILED, exit_code=code, cause=Cause.USER_ERROR,
                          detail=f"exit code {code}", outputs={})  # fmt: skip
            return
        yield made


def _metrics(base: str, chance: random.Random) -> dict[str, float]:
    if base == "train":
        return {"loss": chance.random(), "val_acc": chance.random(), "epoch": 12.0}
    return {"accuracy": chance.random()} if base == "validate" else {}


def _usage(took: float, chance: random.Random) -> dict[str, float]:
    return {
        "gpu_seconds_allocated": took,
        "gpu_memory_peak": float(chance.randrange(1, 80) * 2**30),
        "gpu_seconds_busy": took * chance.random(),
        "gpu_utilization_mean": 100 * chance.random(),
        "energy_wh": took / 10,
    }


def _ended(run: Run, attempts: tuple[Attempt, ...]) -> Run:
    last = attempts[-1]
    outcome = Outcome.SUCCEEDED if last.phase is Phase.SUCCEEDED else Outcome.FAILED
    if outcome is Outcome.FAILED and hash(last.duration) % 8 == 0:
        outcome = Outcome.CANCELLED
    return replace(run, outcome=outcome, finished_at=(last.finished_at or 0.0) + 0.1)


def _artifacts(attempts: tuple[Attempt, ...]) -> Iterator[Artifact]:
    for attempt in attempts:
        for name, digest in attempt.outputs.items():
            yield Artifact(
                run_id=attempt.run_id, stage=attempt.stage, attempt_id=attempt.attempt_id,
                name=name, digest=digest, size=20_480, collected_at=attempt.finished_at or 0.0,
                files=3, tree_digest=_digest(digest),
            )  # fmt: skip


def _write(db: sqlite3.Connection, made: Made) -> None:
    run = made.run
    stored = replace(run, outcome=None, finished_at=None)
    said = f"run {run.run_id} ({run.pipeline}, {len(run.stages)} stages) submitted"
    begun = NewEvent(
        run.submitted_at, EventKind.RUN_SUBMITTED, said, run_id=run.run_id, actor=run.owner
    )
    writes.create_run(db, stored, _text(run.pipeline), [begun])
    for attempt in made.attempts:
        writes.add_attempt(db, attempt, None, None)
        writes.add_events(db, _events(attempt))
    for artifact in made.artifacts:
        writes.put_artifact(db, artifact)
    assert run.outcome is not None
    assert run.finished_at is not None
    kind = EventKind(f"run.{run.outcome}")
    said = f"run {run.run_id} ({run.pipeline}) {run.outcome.value}"
    over = NewEvent(run.finished_at, kind, said, run_id=run.run_id)
    writes.end_run(db, run.run_id, run.outcome, run.finished_at, over)


def _events(attempt: Attempt) -> list[NewEvent]:
    name, host = attempt.stage, attempt.host
    well = attempt.phase is Phase.SUCCEEDED
    told = (
        (attempt.placed_at, "placed", f"{name} goes to {host}", "info"),
        (attempt.started_at or 0.0, "started", f"{name} runs on {host}", "info"),
        (
            attempt.finished_at or 0.0,
            attempt.phase.value,
            f"{name} {attempt.phase.value} on {host}" + ("" if well else f": {attempt.detail}"),
            "info" if well else "error",
        ),
    )
    return [
        NewEvent(
            at, EventKind(f"attempt.{what}"), said, severity, attempt.run_id, name,
            attempt.attempt_id, host,
        )
        for at, what, said, severity in told
    ]  # fmt: skip


def _leave_files(folder: Path, made: Made, now: float) -> None:
    """What a daemon that frees space regularly still has: logs and snapshots of 90 days, outputs
    of 30."""
    run = made.run
    if run.submitted_at < now - 90 * DAY:
        return
    logs = folder / "logs" / run.run_id
    logs.mkdir(parents=True, mode=0o700)
    for attempt in made.attempts:
        (logs / f"{attempt.attempt_id}.log").write_bytes(b"a line of output\n")
    _leave_blob(folder, run.source.digest or "", run.submitted_at)
    if run.submitted_at >= now - 30 * DAY:
        for artifact in made.artifacts:
            _leave_blob(folder, artifact.digest, artifact.collected_at)


def _leave_blob(folder: Path, digest: str, at: float) -> None:
    path = folder / "content" / digest[:2] / digest
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(b"what a stage made")
    os.utime(path, (at, at))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    import sys

    begun = time.time()
    fill(Path(sys.argv[1]), int(sys.argv[2]), begun)
    sizes = bytes_of_tables(Path(sys.argv[1]) / "hostler.db")
    print(f"{sum(sizes.values()) / int(sys.argv[2]):.0f} bytes a run, {time.time() - begun:.1f} s")
    for name, size in sizes.items():
        print(f"  {name:<36} {size / int(sys.argv[2]):>8.0f}")
