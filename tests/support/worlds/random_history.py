"""A store that is changed at random, as a daemon would, and what must have become of it."""

from __future__ import annotations

import math
import random
import sqlite3
from dataclasses import dataclass, field, replace
from typing import Any

from hostler.model.files import Artifact
from hostler.model.runs import Attempt, Outcome, Phase, Run, Source
from hostler.store import writes
from tests.support.values import stored

DIGESTS = [letter * 64 for letter in "abcdef"]


@dataclass
class RandomHistory:
    """Changes a database at random, as a daemon would."""

    db: sqlite3.Connection
    chance: random.Random
    runs: dict[str, Run] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    made: int = 0

    def step(self) -> None:
        """One change."""
        open_ones = [run_id for run_id, run in self.runs.items() if run.outcome is None]
        what = self.chance.choice((self.submit, self.place, self.place, self.move, self.move,
                                   self.move, self.collect, self.end, self.forget))  # fmt: skip
        if what == self.submit or not open_ones:
            self.submit()
        else:
            what(self.chance.choice(open_ones))

    def submit(self, _run_id: str = "") -> None:
        """A new run, sometimes one that takes outputs over."""
        self.made += 1
        pick, run_id = self.chance.choice, f"r{self.made:06}"
        kept = stored.attempt("rold000", phase=Phase.SUCCEEDED, outputs={"x": pick(DIGESTS)})
        params: dict[str, Any] = {"lr": pick((0.1, 1, "0.1", "warm", True)), "n": pick((1, 2, 3))}
        run = stored.run(
            run_id,
            pipeline=pick(("digits", "audio")),
            owner=pick(("ana", "bo")),
            title=pick(("", "Größe", "x%y")),
            submitted_at=float(self.made),
            params=dict(list(params.items())[: pick((0, 1, 2))]),
            source=Source(digest=pick(DIGESTS), git_commit=pick(("c0ffee", None))),
            kept={"z": kept} if self.chance.random() < 0.2 else {},
            stages=tuple(stored.stage(name) for name in "abc"),
        )
        writes.create_run(self.db, run, "text", [])
        self.runs[run_id], self.attempts[run_id] = run, []

    def place(self, run_id: str) -> None:
        """An intent; of a recovered run it may bring everything at once."""
        there = self.attempts[run_id]
        stage = self.chance.choice("abc")
        mine = [attempt for attempt in there if attempt.stage == stage]
        if mine and not mine[-1].phase.is_final:
            return
        made = stored.attempt(run_id, stage, len(mine) + 1, gpus=())
        if self.chance.random() < 0.1:
            made = self.moved(replace(made, phase=Phase.SUCCEEDED))
        writes.add_attempt(self.db, made, None, None)
        there.append(made)

    def move(self, run_id: str) -> None:
        """A transition, or a correction of what has ended."""
        if self.attempts[run_id]:
            place = self.chance.randrange(len(self.attempts[run_id]))
            moved = self.moved(self.attempts[run_id][place])
            writes.change_attempt(self.db, moved.attempt_id, stored.changes(moved), None)
            self.attempts[run_id][place] = moved

    def moved(self, attempt: Attempt) -> Attempt:
        """With more known of it."""
        pick = self.chance.choice
        if attempt.phase is Phase.STARTING:
            attempt = replace(attempt, phase=Phase.RUNNING)
        elif attempt.phase is Phase.RUNNING:
            attempt = replace(attempt, phase=pick((Phase.SUCCEEDED, Phase.CANCELLED)))
        more: dict[str, Any] = {
            "started_at": pick((attempt.started_at, 150.0, 160.0)),
            "metrics": {
                **attempt.metrics,
                pick(("acc", "loss")): pick((0.5, 1.0, math.nan, math.inf)),
            },
            "usage": pick((attempt.usage, {"gpu_seconds_allocated": 8.0}, {"energy_wh": 2.0})),
            "outputs": pick((attempt.outputs, {"model": pick(DIGESTS)})),
        }
        return replace(attempt, **{name: more[name] for name in self.chance.sample(list(more), 2)})

    def collect(self, run_id: str) -> None:
        """An output, perhaps instead of another."""
        if self.attempts[run_id]:
            one, digest = self.attempts[run_id][0], self.chance.choice(DIGESTS)
            artifact = Artifact(run_id, one.stage, one.attempt_id, "model", digest, 1, 2.0)
            writes.put_artifact(self.db, artifact)

    def end(self, run_id: str) -> None:
        """All attempts, then the run."""
        for place, attempt in enumerate(self.attempts[run_id]):
            if not attempt.phase.is_final:
                ended = replace(attempt, phase=Phase.SUCCEEDED)
                writes.change_attempt(self.db, ended.attempt_id, stored.changes(ended), None)
                self.attempts[run_id][place] = ended
        outcome = self.chance.choice(list(Outcome))
        at = 200.0 + self.chance.randrange(9)
        writes.end_run(self.db, run_id, outcome, at, None)
        self.runs[run_id] = replace(self.runs[run_id], outcome=outcome, finished_at=at)

    def forget(self, run_id: str) -> None:
        """A run that has ended."""
        if len(self.runs) > 20:
            self.end(run_id)
            writes.delete_run(self.db, run_id)
            del self.runs[run_id], self.attempts[run_id]
