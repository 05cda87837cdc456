"""The output of `hostler daemon recover`: rows and JSON of the runs and services that hosts
hold, and why one counts as unsigned."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from hostler.base.dates import clock_text
from hostler.base.text import clean_line
from hostler.base.units import counted
from hostler.daemon.recover import Survey, service_key
from hostler.daemon.recover_services import LostService
from hostler.decide.recovery import Rebuilt
from hostler.model.environments import Environment
from hostler.model.pipelines import Stage
from hostler.model.releases import Release
from hostler.model.runs import Phase, Run
from hostler_agent.json_values import Outgoing


@dataclass(frozen=True, slots=True)
class Stages:
    """How many stages of a run are in each state."""

    succeeded: int
    running: int
    ended: int
    """Ended without success."""
    open: int
    """Not started, or started with an unknown end, which recovery finds out."""

    def text(self) -> str:
        """ "1 done, 1 running, 1 to go"."""
        words = (
            (self.succeeded, "done"),
            (self.running, "running"),
            (self.ended, "not well"),
            (self.open, "to go"),
        )
        return ", ".join(f"{number} {word}" for number, word in words if number)


def unsigned_lines(rebuilt: Rebuilt, most: int | None = None) -> list[str]:
    """Why a run counts as unsigned, and every command that it would run."""
    run = rebuilt.run
    lines = [f"run {run.run_id} is not signed ({'; '.join(rebuilt.doubts)}); it would run:"]
    work = [*_work(run)]
    shown = work if most is None or len(work) <= most else work[:most]
    lines += [f"  {line}" for line in shown]
    if len(shown) < len(work):
        more = f"hostler daemon recover --unsigned {run.run_id}"
        lines.append(f"  and {len(work) - len(shown)} lines more: {more}")
    return lines


def service_lines(lost: LostService, most: int | None = None) -> list[str]:
    """A service as hosts know it; for an unsigned one, every command that its releases would
    run."""
    note, hosts = lost.found.note, ", ".join(lost.found.hosts)
    deployment = note.deployment
    said = [f"{counted(deployment.replicas, 'replica')} wanted", *map(_release_text, note.releases)]
    lines = [
        f"service {deployment.name} of {clean_line(deployment.owner, 80)} (notes on {hosts}): "
        + ", ".join(said)
    ]
    if lost.is_signed:
        return lines
    work = [line for run, _ in lost.runs.values() for line in (f"run {run.run_id}:", *_work(run))]
    lines.append(f"  it is not signed ({'; '.join(lost.found.doubts)}); its releases run:")
    shown = work if most is None else work[:most]
    lines += [f"  {line}" for line in shown]
    if len(shown) < len(work):
        more = f"hostler daemon recover --unsigned {service_key(lost.name)}"
        lines.append(f"  and {len(work) - len(shown)} lines more: {more}")
    return lines


def _release_text(release: Release) -> str:
    return f"release {release.number} {release.state.value}"


def _service_json(lost: LostService) -> Outgoing:
    note = lost.found.note
    return {
        "service": lost.name, "owner": note.deployment.owner, "uid": note.deployment.uid,
        "replicas": note.deployment.replicas, "live": note.deployment.live,
        "releases": [
            {"number": r.number, "run_id": r.run_id, "state": r.state.value} for r in note.releases
        ],
        "hosts": list(lost.found.hosts), "signed": lost.is_signed,
        "doubts": list(lost.found.doubts),
        "commands": None if lost.is_signed else service_lines(lost)[2:],
    }  # fmt: skip


def _work(run: Run) -> Iterator[str]:
    """One line per different command of its stages; cells of a matrix are often equal."""
    told: dict[str, int] = {}
    for stage in run.stages:
        text = _stage_text(stage)
        told[text] = told.get(text, 0) + 1
    for text, count in told.items():
        yield text if count == 1 else f"{text}  (in {count} stages)"
    if run.source.path is not None and any(stage.code == "here" for stage in run.stages):
        yield f"in the folder {run.source.path}"
    if run.source.digest is not None:
        yield f"with the source {run.source.digest[:12]}, if this daemon still has it"
    for name, value in sorted(run.env.items()):
        yield f"with {name}={shlex.quote(value)}"


def _stage_text(stage: Stage) -> str:
    where = f"in image {stage.image}" if stage.image is not None else "as a process"
    env = "".join(f" {name}={shlex.quote(value)}" for name, value in sorted(stage.env.items()))
    placed = (f"{name} at {shlex.quote(at)}" for at, name in stage.mount_targets.items())
    named = ", ".join((*stage.mounts, *placed))
    mounts = f", mounts {named}" if named else ""
    venv = f", venv {stage.venv}" if stage.venv is not None else ""
    loaded = str(Environment(stage.conda, stage.modules))
    venv += f", {loaded}" if loaded else ""
    if stage.setup is not None:
        venv += f", after the setup {shlex.quote(stage.setup)}"
    folder = f", in {shlex.quote(stage.workdir)}" if stage.workdir is not None else ""
    taken = sorted({reference for found in stage.inputs.values() for reference in found})
    inputs = f", takes {', '.join(taken)}" if taken else ""
    about = f"{where}{folder}{mounts}{venv}{inputs}"
    return f"{stage.base}, {about}:{env} {shlex.join(stage.command)}"


def stages_of(rebuilt: Rebuilt) -> Stages:
    """The states of a run's stages, by the newest attempt of each."""
    newest = {attempt.stage: attempt for attempt in rebuilt.run.attempts}
    phases = [attempt.phase for attempt in newest.values()]
    kept = rebuilt.run.kept.keys() - newest.keys()
    succeeded = phases.count(Phase.SUCCEEDED) + len(kept)
    ended = sum(phase.is_final for phase in phases) + len(kept) - succeeded
    running = len(set(rebuilt.running))
    return Stages(succeeded, running, ended, len(rebuilt.run.stages) - succeeded - ended - running)


def row(rebuilt: Rebuilt) -> list[str]:
    """A run as a row of the table."""
    run = rebuilt.run
    return [
        run.run_id, run.owner, run.pipeline, clock_text(run.submitted_at),
        stages_of(rebuilt).text(), ", ".join(rebuilt.hosts), "no" if rebuilt.doubts else "yes",
    ]  # fmt: skip


def recovery_json(told: Survey) -> Outgoing:
    """Everything that was found, as members of the answer."""
    return {
        "runs": [_run_json(rebuilt) for rebuilt in told.recovery.runs],
        "strays": [
            {"host": s.host, "attempt_id": s.workload.attempt_id, "owner": s.workload.owner,
             "running": s.workload.running}
            for s in told.recovery.strays
        ],
        "services": [_service_json(lost) for lost in told.services],
        "tokens": len(told.tokens),
        "heard": list(told.heard),
        "silent": dict(told.silent),
        "problems": list(told.problems),
    }  # fmt: skip


def _run_json(rebuilt: Rebuilt) -> Outgoing:
    run, stages = rebuilt.run, stages_of(rebuilt)
    return {
        "run_id": run.run_id, "owner": run.owner, "uid": run.uid, "pipeline": run.pipeline,
        "submitted_at": run.submitted_at, "hosts": list(rebuilt.hosts),
        "signed": not rebuilt.doubts, "doubts": list(rebuilt.doubts),
        "commands": unsigned_lines(rebuilt)[1:] if rebuilt.doubts else None,
        "stages": {"succeeded": stages.succeeded, "running": stages.running,
                   "ended": stages.ended, "open": stages.open},
    }  # fmt: skip
