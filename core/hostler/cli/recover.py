"""`hostler daemon recover`: asks the hosts for runs that a lost database lacks, asks about
unsigned ones, and rebuilds the database."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import DaemonBusy, HostError, InputError, Unreachable
from hostler.base.table import Column, is_terminal
from hostler.base.units import counted
from hostler.base.users import own_name
from hostler.cli.recover_view import recovery_json, row, service_lines, unsigned_lines
from hostler.cli.shared import DECLINED, confirm, note, note_for, out, out_json, out_table, start
from hostler.client.daemon_start import running
from hostler.daemon.assemble import real_outside
from hostler.daemon.config_file import load_config, state_path
from hostler.daemon.lock import StateLock
from hostler.daemon.recover import Survey, known_identity, restore, service_key, survey
from hostler.daemon.recover_services import LostService
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
"""Exit code if some of the runs were not recovered."""
_LINES = 20
"""The most lines for an unsigned run's commands without a question about it, and for workloads
without a copy."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The runs and services to write to the database."""

    runs: Sequence[Rebuilt]
    services: Sequence[LostService]

    @property
    def keys(self) -> list[str]:
        """Ids of the runs, and `service:NAME`."""
        named = [service_key(service.name) for service in self.services]
        return [*(rebuilt.run.run_id for rebuilt in self.runs), *named]

    def text(self) -> str:
        """Their number, as text."""
        return _counted(self.keys)


def _counted(keys: Sequence[str]) -> str:
    services = sum(":" in key for key in keys)
    runs = len(keys) - services
    told = [counted(runs, "run")] if runs or not services else []
    return " and ".join([*told, *([counted(services, "service")] if services else [])])


@dataclass(frozen=True, slots=True)
class Taken:
    """The runs and services that were written to the database."""

    chosen: Chosen | None
    """None: no recovery was chosen."""
    failed: Mapping[str, str]
    """Run, or `service:NAME` -> why it could not be recovered."""

    @property
    def keys(self) -> list[str]:
        """What was recovered."""
        chosen = self.chosen.keys if self.chosen is not None else []
        return [key for key in chosen if key not in self.failed]

    def to_json(self) -> Outgoing:
        """As members of the answer."""
        return {
            "recovered": self.chosen is not None,
            "taken": [key for key in self.keys if ":" not in key],
            "taken_services": [key.partition(":")[2] for key in self.keys if ":" in key],
            "failed": dict(self.failed),
        }


def run(args: argparse.Namespace) -> int:
    """Ask the hosts, show what they know, and write it to the database if the user wants it."""
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
        failed: Mapping[str, str] = {}
        if chosen is not None and chosen.keys:
            restoring = restore(state, chosen.runs, own_name(), chosen.services, told.tokens)
            failed = asyncio.run(restoring)
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


def _all(told: Survey) -> Chosen:
    return Chosen(told.recovery.runs, told.services)


def _decide(args: argparse.Namespace, told: Survey) -> Chosen | None:
    """What to write down, named beforehand or asked for; None: nothing is to be done. What a
    silent host knows is missing, so that a stage that runs or ran there would be begun again."""
    _check_named(args.unsigned, _all(told).keys)
    if told.silent and args.yes:
        raise _silent(told.silent)
    signed = _those(told, lambda _key, is_signed: is_signed)
    if args.yes:
        return _those(told, lambda key, is_signed: is_signed or key in args.unsigned)
    if not args.json:
        _show(args, told)
    if not (is_terminal() and not args.json and _all(told).keys) or told.silent:
        return None
    wanted = set[str]()
    if signed.keys and confirm(args, f"Recover {signed.text()}?"):
        wanted |= set(signed.keys)
    unsigned = [key for key in _all(told).keys if key not in signed.keys]
    wanted |= {key for key in unsigned if _confirm_unsigned(args, key)}
    return _those(told, lambda key, _: key in wanted) if wanted else None


def _those(told: Survey, is_wanted: Callable[[str, bool], bool]) -> Chosen:
    """The chosen runs and services by key, and whether the daemon signed each."""
    return Chosen(
        [r for r in told.recovery.runs if is_wanted(r.run.run_id, not r.doubts)],
        [s for s in told.services if is_wanted(service_key(s.name), s.is_signed)],
    )


def _confirm_unsigned(args: argparse.Namespace, key: str) -> bool:
    return confirm(
        args,
        f"Recover {_named(key)} as well? A host may have forged it, and the work shown above would "
        "run as you on any host.",
    )


def _named(key: str) -> str:
    kind, colon, name = key.partition(":")
    return f"{kind} {name}" if colon else f"run {key}"


def _check_named(names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            kind = "service" if ":" in name else "run"
            raise InputError(
                f"no host holds a {kind} {name!r} that the database lacks",
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
    every, wanted = _all(told).keys, taken.chosen is not None
    left = [key for key in every if key not in (taken.chosen.keys if taken.chosen else ())]
    if args.json:
        out_json("recover", {**recovery_json(told), **taken.to_json()})
    elif wanted:
        if args.yes and not args.quiet:
            _show(args, told)
        note_for(args)(f"recovered {_counted(taken.keys)}")
    elif every and is_terminal() and not told.silent:
        return DECLINED
    elif every:
        note_for(args)("nothing was changed; to do it: hostler daemon recover --yes")
    for key, why in taken.failed.items():
        note(f"{_named(key)} could not be recovered: {why}")
    if wanted and left:
        ids = " ".join(f"--unsigned {key}" for key in left)
        note(
            f"{_counted(left)} left out, because a host may have forged them; "
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
    elif not args.quiet and not told.services:
        out("the hosts hold no run that the database lacks")
    if told.tokens:
        note(f"{counted(len(told.tokens), 'token')} of the gateway recovered from a signed note")
    for service in told.services:
        is_named = service_key(service.name) in args.unsigned or is_terminal()
        for line in service_lines(service, most=None if is_named else _LINES):
            note(line)
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
