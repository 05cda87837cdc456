"""`random_lab` with stages that are placed, started, retried and settled together.

What must never be, beside the rest: a part of a group that runs before all of it is bound, or while
a part of it has no place; a group of which a plan starts some.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hostler.decide.groups import Group, groups_of
from hostler.decide.lifecycle import unfolded
from hostler.model.pipelines import GroupHosts, Stage
from hostler.model.plans import Plan, Start
from hostler.model.runs import Run
from tests.support.worlds.random_lab import RandomLab


class GroupLab(RandomLab):
    """Most of its runs have a group of two or three stages. Use it within `toy_kinds`."""

    def submit(self) -> None:
        before = set(self.runs)
        super().submit()
        for run_id in self.runs.keys() - before:
            if self.rng.random() < 0.8:
                run = self.runs[run_id]
                self.runs[run_id] = replace(run, stages=self._with_group(run.stages))

    def _with_group(self, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        """One of the stages as a group that the lab has room for when it is empty."""
        sizes = sorted((len(host.gpus) for host in self.real.values()), reverse=True)
        kind = self.rng.choice(["gang", "team"])
        ranks = 2 if kind == "team" else self.rng.randint(2, min(3, len(sizes)))
        most = sizes[0] // ranks if kind == "team" else sizes[ranks - 1]
        chosen = self.rng.choice(stages)
        asked = replace(chosen.resources, gpus=self.rng.randint(0, most), gpu_models=())
        group = replace(chosen, kind=kind, env={"RANKS": str(ranks)}, resources=asked)
        return unfolded([group if stage is chosen else stage for stage in stages])

    def check(self) -> None:
        """Also of each group that runs."""
        super().check()
        for run, group in self._groups():
            for number in group.tries:
                ids = {f"{run.run_id}-{stage.name}-{number}" for stage in group.stages}
                assert not ids & self.launches or ids <= self.bound, f"{ids} bound {self.bound}"

    def decide(self) -> Plan:
        """A plan starts all of a group or none, and nothing of it while something of it is open."""
        groups = {(run.run_id, group.name): group for run, group in self._groups()}
        decided = super().decide()
        starts = [action.attempt for action in decided.actions if isinstance(action, Start)]
        for (run_id, _), group in groups.items():
            names = {stage.name for stage in group.stages}
            found = [a.host for a in starts if a.run_id == run_id and a.stage in names]
            if not found:
                continue
            assert not group.is_live
            assert len(found) == len(group.stages), found
            distinct = len(found) if group.hosts is GroupHosts.DISTINCT else 1
            assert len(set(found)) == distinct, found
        return decided

    def _groups(self) -> Iterator[tuple[Run, Group]]:
        for run in self.runs.values():
            for name, group in groups_of(run).items():
                if group.stages[0].name == name:
                    yield run, group

    def _check_not_done(self, action: Start, done: set[str]) -> None:
        """What ended well in a try that failed runs again with the others."""
        group = groups_of(self.runs[action.attempt.run_id]).get(action.stage.name)
        if group is None:
            super()._check_not_done(action, done)
        else:
            assert not group.is_done
