"""`hostler daemon recover`: shows what the hosts know of a lost database, and rebuilds it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import DaemonBusy, HostError, InputError, Unreachable
from hostler.base.table import Column, is_terminal
from hostler.base.units import counted
from hostler.base.users import own_name
from hostler.cli.recover_view import recovery_json, row, unsigned_lines
from hostler.cli.shared import DECLINED, confirm, note, note_for, out, out_json, out_table, start
from hostler.client.daemon_start import running
from hostler.daemon.assemble import real_outside
from hostler.daemon.config_file import load_config, state_path
from hostler.daemon.lock import StateLock
from hostler.daemon.recover import Survey, known_identity, restore, survey
from hostler.decide.recovery import Rebuilt
from hostler.model.config import Config
from hostler.quick.socket import Found, find_socket
from hostler.store.content import ContentStore
from hostler_agent.json_values import Outgoing

_COLUMNS = (
    Column("RUN"), Column("OWNER"), Column("PIPELINE"), Column("SUBMITTED"), Column("STAGES"),
    Column("HOSTS"), Column("SIGNED"),
)  # fmt: skip


LEFT_OUT = 1
"""Exit code where some of the runs were not taken."""
_LINES = 20
"""Of an unsigned run's commands without a question about it, and of workloads without a copy."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was written down."""

    runs: Sequence[Rebuilt] | None
    """None: nothing was to be."""
    failed: Mapping[str, str]
    """Run -> why it could not be."""

    @property
    def count(self) -> int:
        """How many runs were recovered."""
        return len(self.runs or ()) - len(self.failed)

    def to_json(self) -> Outgoing:
        """As members of the answer."""
        taken = [rebuilt.run.run_id for rebuilt in self.runs or ()]
        return {
            "recovered": self.runs is not None,
            "taken": [run_id for run_id in taken if run_id not in self.failed],
            "failed": dict(self.failed),
        }


def run(args: argparse.Namespace) -> int:
    """Ask the hosts, show what they know, and write it down where that is wanted."""
    found, config = find_socket(args.socket), load_config()
    state = state_path(config, personal=found.personal)
    if running(found) is not None:
        raise DaemonBusy(
            f"a daemon runs with the state in {state}",
            remedy="stop it first (work on the hosts continues): hostler daemon stop",
        )
    identity = known_identity(state)
    without = _left_out(args.without, config)
    with StateLock(state):
        note_for(args)(f"asking {counted(len(config.hosts) - len(without), 'host')}")
        told = asyncio.run(_survey(config, state, identity, without))
        chosen = _decide(args, told)
        failed = asyncio.run(restore(state, chosen, own_name())) if chosen else {}
    return _answer(args, told, found, Taken(chosen, failed))


async def _survey(config: Config, state: Path, identity: str, without: Collection[str]) -> Survey:
    hosts = [host for host in config.hosts if host.name not in without]
    outside = real_outside(ContentStore(state).path)
    outside.use_settings(config.daemon)
    try:
        return await survey(hosts, state, identity, outside)
    finally:
        for runtime in outside.runtimes.values():
            await runtime.close()


def _left_out(names: Sequence[str], config: Config) -> set[str]:
    known = {host.name for host in config.hosts}
    for name in names:
        if name not in known:
            raise InputError(f"there is no host {name!r} in the configuration")
    return set(names)


def _decide(args: argparse.Namespace, told: Survey) -> Sequence[Rebuilt] | None:
    """The runs to write down, named beforehand or asked for; None: nothing is to be done. What a
    silent host knows is missing, so that a stage that runs or ran there would be begun again."""
    runs = told.recovery.runs
    _check_named(args.unsigned, runs)
    if told.silent and args.yes:
        raise _silent(told.silent)
    signed = [rebuilt for rebuilt in runs if not rebuilt.doubts]
    named = [rebuilt for rebuilt in runs if rebuilt.doubts and rebuilt.run.run_id in args.unsigned]
    if args.yes:
        return [*signed, *named]
    if not args.json:
        _show(args, told)
    if not (is_terminal() and not args.json and runs) or told.silent:
        return None
    chosen = signed if signed and confirm(args, f"Recover {counted(len(signed), 'run')}?") else []
    asked = [rebuilt for rebuilt in runs if rebuilt.doubts]
    return [*chosen, *(rebuilt for rebuilt in asked if _confirm_unsigned(args, rebuilt))] or None


def _confirm_unsigned(args: argparse.Namespace, rebuilt: Rebuilt) -> bool:
    return confirm(
        args,
        f"Recover run {rebuilt.run.run_id} as well? A host may have forged it, and the work "
        f"shown above would run as you on any host.",
    )


def _check_named(names: Sequence[str], runs: Sequence[Rebuilt]) -> None:
    known = {rebuilt.run.run_id for rebuilt in runs}
    for name in names:
        if name not in known:
            raise InputError(
                f"no host holds a run {name!r} that the database lacks",
                remedy="list these runs: hostler daemon recover",
            )


def _silent(silent: Mapping[str, str]) -> HostError:
    name, why = next(iter(silent.items()))
    more = f" (and {len(silent) - 1} more)" if len(silent) > 1 else ""
    leave = " ".join(f"--without {host}" for host in silent)
    return Unreachable(
        name,
        f"{why}{more}; its stages would be started again elsewhere",
        remedy=f"reconnect it, or, if none of your work runs there any more, add {leave}",
    )


def _answer(args: argparse.Namespace, told: Survey, found: Found, taken: Taken) -> int:
    runs, wanted = told.recovery.runs, taken.runs is not None
    left = [rebuilt for rebuilt in runs if rebuilt not in (taken.runs or ())]
    if args.json:
        out_json("recover", {**recovery_json(told), **taken.to_json()})
    elif wanted:
        if args.yes and not args.quiet:
            _show(args, told)
        note_for(args)(f"recovered {counted(taken.count, 'run')}")
    elif runs and is_terminal() and not told.silent:
        return DECLINED
    elif runs:
        note_for(args)("nothing was changed; to do it: hostler daemon recover --yes")
    for run_id, why in taken.failed.items():
        note(f"run {run_id} could not be recovered: {why}")
    if wanted and left:
        ids = " ".join(f"--unsigned {rebuilt.run.run_id}" for rebuilt in left)
        note(
            f"{counted(len(left), 'run')} left out, because a host may have forged them; "
            f"check the work shown above, then: hostler daemon stop; hostler daemon recover {ids}"
        )
    if wanted and found.personal:
        start(found)
        note_for(args)("your daemon was started and continues them")
    return LEFT_OUT if wanted and (left or taken.failed) else 0


def _show(args: argparse.Namespace, told: Survey) -> None:
    recovery = told.recovery
    if recovery.runs:
        out_table(args, _COLUMNS, [row(rebuilt) for rebuilt in recovery.runs])
    elif not args.quiet:
        out("the hosts hold no run that the database lacks")
    for stray in recovery.strays[:_LINES]:
        work = stray.workload
        state = "running" if work.running else "ended"
        whose = f" of {work.owner}" if work.owner else ""
        note(f"{stray.host}: {work.attempt_id}{whose}, {state}, has no copy and is not touched")
    if len(recovery.strays) > _LINES:
        note(f"and {len(recovery.strays) - _LINES} more without a copy")
    for host, why in told.silent.items():
        note(f"{host} could not be checked: {why}")
    for problem in told.problems:
        note(problem)
    for rebuilt in recovery.runs:
        if rebuilt.doubts:
            is_named = rebuilt.run.run_id in args.unsigned
            for line in unsigned_lines(rebuilt, most=None if is_named or is_terminal() else _LINES):
                note(line)
