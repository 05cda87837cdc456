"""`hostler daemon recover`: show what the hosts know of a lost database, and make it again."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostler.cli.daemon_start import running, start
from hostler.cli.render import clock_text
from hostler.cli.shared import (
    DECLINED,
    confirm,
    counted,
    note,
    note_for,
    out,
    out_json,
    out_table,
    user_name,
)
from hostler.daemon.assemble import real_outside
from hostler.daemon.config_file import load_config
from hostler.daemon.lock import StateLock
from hostler.daemon.recover import Survey, known_identity, restore, survey
from hostler.decide.recovery import Rebuilt
from hostler.errors import DaemonBusy, HostError, InputError, Unreachable
from hostler.model.config import Config
from hostler.model.runs import Phase
from hostler.quick.places import state_folder
from hostler.quick.socket import Found, find_socket
from hostler.quick.table import Column, is_terminal
from hostler.store.content import ContentStore

_COLUMNS = (
    Column("RUN"), Column("OWNER"), Column("PIPELINE"), Column("SUBMITTED"), Column("STAGES"),
    Column("HOSTS"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stages:
    """How many stages of a run are where."""

    succeeded: int
    running: int
    ended: int
    """In another way than well."""
    open: int
    """To be begun, or begun and of a fate that is found out then."""

    def text(self) -> str:
        """ "1 done, 1 running, 1 to go"."""
        words = (
            (self.succeeded, "done"),
            (self.running, "running"),
            (self.ended, "not well"),
            (self.open, "to go"),
        )
        return ", ".join(f"{number} {word}" for number, word in words if number)


def run(args: argparse.Namespace) -> int:
    """Ask the hosts, show what they know, and write it down where that is wanted."""
    found, config = find_socket(args.socket), load_config()
    personal = found.personal or config.daemon.state is None
    state = Path(state_folder() if personal else config.daemon.state or "")
    if running(found) is not None:
        raise DaemonBusy(
            f"a daemon runs with the state in {state}",
            remedy="stop it first, work on the hosts goes on: hostler daemon stop",
        )
    identity = known_identity(state)
    without = _left_out(args.without, config)
    with StateLock(state):
        note_for(args)(f"asking {counted(len(config.hosts) - len(without), 'host')}")
        told = asyncio.run(_survey(config, state, identity, without))
        wanted = _decide(args, told)
        if wanted and told.recovery.runs:
            asyncio.run(restore(state, told.recovery.runs, user_name()))
    return _answer(args, told, found, wanted)


async def _survey(config: Config, state: Path, identity: str, without: Collection[str]) -> Survey:
    hosts = [host for host in config.hosts if host.name not in without]
    outside = real_outside(ContentStore(state).path)
    try:
        return await survey(hosts, state, identity, outside)
    finally:
        for runtime in outside.runtimes.values():
            await runtime.close()


def _left_out(names: Sequence[str], config: Config) -> set[str]:
    known = {host.name for host in config.hosts}
    for name in names:
        if name not in known:
            raise InputError(f"there is no host {name!r} in the configuration to leave out")
    return set(names)


def _decide(args: argparse.Namespace, told: Survey) -> bool:
    """Whether to write it down: said beforehand, or asked. What a silent host knows is missing, so
    that a stage that runs or ran there would be begun a second time."""
    may_ask = is_terminal() and not args.json and bool(told.recovery.runs)
    if told.silent and args.yes:
        raise _silent(told.silent)
    if args.yes:
        return True
    if not args.json:
        _show(args, told)
    if not may_ask or told.silent:
        return False
    return confirm(args, f"Recover {counted(len(told.recovery.runs), 'run')}?")


def _silent(silent: Mapping[str, str]) -> HostError:
    name, why = next(iter(silent.items()))
    more = f" (and {len(silent) - 1} more)" if len(silent) > 1 else ""
    leave = " ".join(f"--without {host}" for host in silent)
    return Unreachable(
        name,
        f"{why}{more}; stages that it knows of would be begun again elsewhere",
        remedy=f"bring it back, or, where nothing of yours runs there any more, add {leave}",
    )


def _answer(args: argparse.Namespace, told: Survey, found: Found, wanted: bool) -> int:
    runs = told.recovery.runs
    if args.json:
        out_json("recover", {**_json(told), "recovered": wanted})
    elif wanted:
        if args.yes and not args.quiet:
            _show(args, told)
        note_for(args)(f"recovered {counted(len(runs), 'run')}")
    elif runs and is_terminal() and not told.silent:
        return DECLINED
    elif runs:
        note_for(args)("nothing was changed; to do it: hostler daemon recover --yes")
    if wanted and found.personal:
        start(found)
        note_for(args)("your daemon was started and goes on with them")
    return 0


def _show(args: argparse.Namespace, told: Survey) -> None:
    recovery = told.recovery
    if recovery.runs:
        out_table(args, _COLUMNS, [_row(rebuilt) for rebuilt in recovery.runs])
    elif not args.quiet:
        out("the hosts know of no run that the database does not have")
    for stray in recovery.strays:
        work = stray.workload
        state = "running" if work.running else "ended"
        whose = f" of {work.owner}" if work.owner else ""
        note(f"{stray.host}: {work.attempt_id}{whose}, {state}, has no copy: it is left alone")
    for host, why in told.silent.items():
        note(f"{host} could not be asked: {why}")
    for problem in told.problems:
        note(problem)


def stages_of(rebuilt: Rebuilt) -> Stages:
    """Where the stages of a run are, by the newest attempt of each."""
    newest = {attempt.stage: attempt for attempt in rebuilt.run.attempts}
    phases = [attempt.phase for attempt in newest.values()]
    kept = rebuilt.run.kept.keys() - newest.keys()
    succeeded = phases.count(Phase.SUCCEEDED) + len(kept)
    ended = sum(phase.is_final for phase in phases) + len(kept) - succeeded
    running = len(set(rebuilt.running))
    return Stages(succeeded, running, ended, len(rebuilt.run.stages) - succeeded - ended - running)


def _row(rebuilt: Rebuilt) -> list[str]:
    run = rebuilt.run
    return [
        run.run_id, run.owner, run.pipeline, clock_text(run.submitted_at),
        stages_of(rebuilt).text(), ", ".join(rebuilt.hosts),
    ]  # fmt: skip


def _json(told: Survey) -> dict[str, Any]:
    return {
        "runs": [_run_json(rebuilt) for rebuilt in told.recovery.runs],
        "strays": [
            {"host": s.host, "attempt_id": s.workload.attempt_id, "owner": s.workload.owner,
             "running": s.workload.running}
            for s in told.recovery.strays
        ],
        "heard": list(told.heard),
        "silent": dict(told.silent),
        "problems": list(told.problems),
    }  # fmt: skip


def _run_json(rebuilt: Rebuilt) -> dict[str, Any]:
    run, stages = rebuilt.run, stages_of(rebuilt)
    return {
        "run_id": run.run_id, "owner": run.owner, "uid": run.uid, "pipeline": run.pipeline,
        "submitted_at": run.submitted_at, "hosts": list(rebuilt.hosts),
        "stages": {"succeeded": stages.succeeded, "running": stages.running,
                   "ended": stages.ended, "open": stages.open},
    }  # fmt: skip
