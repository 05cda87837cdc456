"""Secrets of users and of single runs: stored, checked at submission, handed to attempts; rules for
names and lengths are in `base.secret_rules`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from hostler.base.errors import ConflictError, InputError, NotFoundError, StateError
from hostler.base.failpoints import failpoint
from hostler.base.secret import Secret
from hostler.base.secret_rules import (
    MAX_KEPT,
    check_secret_value,
    read_secret_name,
    too_large_together,
)
from hostler.daemon.run_cache import RunCache
from hostler.model.calls import AuditEntry, Call, Caller
from hostler.model.jobs import GivenSecret
from hostler.model.pipelines import Stage
from hostler.model.runs import Run
from hostler.model.timings import DEFAULT, Timings
from hostler.model.views.secrets import SecretList, SecretView
from hostler.ports import Clock
from hostler.store.database import Store
from hostler.store.secrets import RunSecrets, SecretStore

_log = logging.getLogger("hostler.daemon")
_SET = "set it: hostler secret set {name}"
_TAKE = "take it from your shell for this run: {call} --secret {name}"
_KEEP = (
    'for hostler deploy, which takes no value from a shell, write secrets = ["{name}"] instead, '
    "and keep it: hostler secret set {name}"
)


class Secrets:
    """The secrets that each user has set, and those of each open run."""

    def __init__(
        self,
        files: SecretStore,
        store: Store,
        run_cache: RunCache,
        clock: Clock,
        timings: Timings = DEFAULT,
    ) -> None:
        self._timings = timings
        self._files = files
        self._store = store
        self._run_cache = run_cache
        self._clock = clock
        self.runs: dict[str, RunSecrets] = {}
        """All secrets of every open run, so that masking never waits for a disk."""
        self.broken: set[str] = set()
        """Runs whose secrets could not be read."""
        self._unseen: StateError | None = None
        """Why it is unknown which runs have stored secrets."""
        self._changing = asyncio.Lock()
        """Lock, held while the stored secrets of a run change."""

    async def load(self) -> None:
        """Read the stored secrets of runs, before any work. Secrets that no run needs are
        deleted."""
        try:
            begun = await asyncio.to_thread(self._files.begun_runs)
            kept = await asyncio.to_thread(self._files.runs)
        except StateError as error:
            _log.error("the secrets of runs cannot be read: %s", error)
            self._unseen = error
            return
        for run_id in begun:
            kept |= await self._settle(run_id)
        for run_id, written_at in kept.items():
            await self._load(run_id, written_at)

    async def names(self, caller: Caller) -> SecretList:
        """The secrets that a user has set, and which open runs use them."""
        known = await asyncio.to_thread(self._files.person, caller.uid)
        return SecretList(
            secrets=tuple(
                SecretView(name=name, set_at=kept.set_at, used_by=self._users(caller.uid, name))
                for name, kept in sorted(known.items())
            )
        )

    async def put(self, caller: Caller, name: str, value: Secret) -> None:
        """Set a secret; attempts that start from now on get the new value. Raises InputError."""
        _check(name, value)
        known = await asyncio.to_thread(self._files.person, caller.uid)
        if name not in known and len(known) >= MAX_KEPT:
            raise ConflictError(
                f"you have {len(known)} secrets, which is the maximum",
                remedy="Remove one: hostler secret rm NAME",
            )
        await self._note(caller, Call.SECRET_SET, name)
        await asyncio.to_thread(self._files.put, caller.uid, name, value, self._clock.now())

    async def remove(self, caller: Caller, name: str) -> None:
        """Remove a secret. Raises NotFoundError."""
        known = await asyncio.to_thread(self._files.person, caller.uid)
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise NotFoundError(f"you have set no secret {name!r}", remedy=f"yours: {names}")
        await self._note(caller, Call.SECRET_REMOVE, name)
        await asyncio.to_thread(self._files.remove, caller.uid, name)

    async def check(
        self,
        uid: int,
        own: Mapping[str, Secret],
        stages: Iterable[Stage],
        *,
        call: str | None = "hostler run",
    ) -> None:
        """Raises InputError if a stage takes a secret that is not set, or too many. `call`: the
        command that can give it; None: no command can."""
        wanting = [stage for stage in stages if stage.named_secrets]
        for name, value in own.items():
            _check(name, value)
        if not wanting:
            return
        known = await self._known(uid, own, wanting)
        for stage in wanting:
            missing = [n for n in stage.named_secrets if n not in _open_to(stage, own, known)]
            if missing:
                raise _missing(stage, missing, call)
            values = (_open_to(stage, own, known)[n].reveal() for n in stage.named_secrets)
            too_large = too_large_together(values)
            if too_large:
                raise InputError(f"stage {stage.name}: {too_large}", remedy="Keep it in a file")

    def check_used(self, own: Collection[str], stages: Iterable[Stage]) -> None:
        """Raises InputError for a given secret that no stage takes."""
        used = {name for stage in stages for name in stage.named_secrets}
        for name in own:
            if name not in used:
                raise InputError(
                    f"no stage takes the secret {name}",
                    remedy=f'Name it in a stage or in [defaults]: secrets = ["{name}"]',
                )

    async def keep_own(self, run_id: str, own: Mapping[str, Secret]) -> None:
        """Store the secrets of a submission durably, before its run is durable."""
        await asyncio.to_thread(self._files.begin_run, run_id, own)
        failpoint("after_secrets_kept")

    async def confirm(self, run_id: str, own: Mapping[str, Secret]) -> None:
        """The submission's run is durable. Never raises: the next start of a daemon repeats what
        failed here."""
        self.runs[run_id] = RunSecrets(own)
        try:
            await asyncio.to_thread(self._files.confirm_run, run_id)
        except StateError as error:
            _log.warning("the secrets of run %s: %s", run_id, error)

    async def abandon(self, run_id: str, own: Mapping[str, Secret]) -> None:
        """The submission made no run with this id."""
        if not own:
            return
        try:
            await asyncio.to_thread(self._files.abandon_run, run_id)
        except StateError as error:
            _log.warning("the secrets of run %s: %s", run_id, error)

    async def drop(self, run_id: str) -> None:
        """Forget a run that has ended and whose logs are complete. Never raises, as `confirm`."""
        self._run_cache.with_secrets.discard(run_id)
        if run_id not in self.runs and run_id not in self.broken:
            return
        async with self._changing:
            self.runs.pop(run_id, None)
            self.broken.discard(run_id)
            try:
                await asyncio.to_thread(self._files.drop_run, run_id)
            except StateError as error:
                _log.warning("the secrets of run %s: %s", run_id, error)

    async def of_attempt(self, run: Run, stage: Stage) -> tuple[GivenSecret, ...]:
        """The newest values of a stage's secrets, stored for masking before any host gets them.
        Raises InputError if one was removed, StateError."""
        if not stage.named_secrets:
            return ()
        own = self._run(run.run_id).own
        known = _open_to(stage, own, await self._known(run.uid, own, [stage]))
        missing = [name for name in stage.named_secrets if name not in known]
        if missing:
            raise _gone(run, stage, missing)
        too_large = too_large_together(known[name].reveal() for name in stage.named_secrets)
        if too_large:
            raise InputError(f"stage {stage.name}: {too_large}", remedy="Keep it in a file")
        await self._add_given(run.run_id, [known[name] for name in stage.named_secrets])
        failpoint("after_secrets_given")
        return tuple(
            GivenSecret(name, known[name], as_variable=name in stage.secrets)
            for name in stage.named_secrets
        )

    def own_of(self, run_id: str, stage: Stage) -> dict[str, Secret]:
        """The secrets given with the submission of a run for a stage. Raises StateError."""
        own = self._run(run_id).own if stage.named_secrets else {}
        return {name: own[name] for name in stage.named_secrets if name in own}

    def masked_values(self, run_id: str) -> tuple[str, ...]:
        """All values that may occur in a run's output. Raises StateError if they are unknown: then
        the output must not be stored."""
        known = self._run(run_id)
        self._check_known(run_id)
        values = (*known.own.values(), *known.given)
        return tuple(dict.fromkeys(value.reveal() for value in values))

    def known_values(self, run_id: str) -> tuple[str, ...] | None:
        """The same; None if they are lost. Raises StateError if a file cannot be read: it may be
        repaired."""
        self._run(run_id)
        try:
            return self.masked_values(run_id)
        except StateError:
            return None

    async def fingerprints(self, own: Mapping[str, Secret]) -> dict[str, str]:
        """A digest that differs between submissions with different values."""
        return await asyncio.to_thread(
            lambda: {name: self._files.fingerprint(value) for name, value in own.items()}
        )

    def _run(self, run_id: str) -> RunSecrets:
        """Raises StateError if it cannot be read; it is read again each time, since users repair
        files."""
        if run_id in self.broken:
            found = self._files.run(run_id)
            self.broken.discard(run_id)
            if found != RunSecrets():  # else the file was moved away, and its values are lost
                self.runs[run_id] = found
        if self._unseen is not None and run_id in self._run_cache.with_secrets:
            raise self._unseen
        return self.runs.get(run_id, RunSecrets())

    def _check_known(self, run_id: str) -> None:
        """Raises StateError if attempts have got values that are lost now."""
        if run_id in self.runs or run_id not in self._run_cache.with_secrets:
            return
        run = self._run_cache.run(run_id)
        given = {stage.name for stage in run.stages if stage.named_secrets}
        launched = [a for a in run.attempts if a.launched_at is not None and a.stage in given]
        if any(not attempt.phase.is_final for attempt in launched):
            raise StateError(
                f"the values of the secrets of run {run_id} are lost",
                remedy="Its output is not stored, because the values cannot be masked in it: "
                "cancel the run and submit it again",
            )

    async def _known(
        self, uid: int, own: Mapping[str, Secret], stages: Iterable[Stage]
    ) -> dict[str, Secret]:
        """The secrets that a user has set; not read if the run itself has all wanted ones."""
        if all(name in own for stage in stages for name in stage.named_secrets):
            return {}
        kept = await asyncio.to_thread(self._files.person, uid)
        return {name: one.value for name, one in kept.items()}

    async def _add_given(self, run_id: str, values: Iterable[Secret]) -> None:
        async with self._changing:
            known = self._run(run_id)
            self._check_known(run_id)
            there = {*known.given, *known.own.values()}
            fresh = [value for value in dict.fromkeys(values) if value not in there]
            if not fresh:
                return
            now = replace(known, given=(*known.given, *fresh))
            await asyncio.to_thread(self._files.write_run, run_id, now)
            self.runs[run_id] = now

    async def _settle(self, run_id: str) -> dict[str, float]:
        """Finish what an earlier daemon began to store: confirm it if the run exists, else delete
        it."""
        try:
            if await self._store.is_over(run_id) is None:
                await asyncio.to_thread(self._files.abandon_run, run_id)
                return {}
            await asyncio.to_thread(self._files.confirm_run, run_id)
        except StateError as error:
            _log.warning("the secrets of run %s: %s", run_id, error)
        return {run_id: time.time()}

    async def _load(self, run_id: str, written_at: float) -> None:
        is_over = await self._store.is_over(run_id)
        is_old = is_over is None and time.time() - written_at > self._timings.keep_unknown_secrets
        try:
            if is_over or is_old:
                await asyncio.to_thread(self._files.drop_run, run_id)
            else:
                self.runs[run_id] = await asyncio.to_thread(self._files.run, run_id)
        except StateError as error:
            _log.error("the secrets of run %s: %s", run_id, error)
            self.broken.add(run_id)

    def _users(self, uid: int, name: str) -> tuple[str, ...]:
        """Open runs that take this secret from those that their owner has set."""
        return tuple(
            run.run_id
            for run in self._run_cache.runs()
            if run.uid == uid
            and name not in self.runs.get(run.run_id, RunSecrets()).own
            and any(_takes(stage, name) for stage in run.stages)
        )

    async def _note(self, caller: Caller, call: Call, name: str) -> None:
        entry = AuditEntry(self._clock.now(), caller.uid, caller.user, call, {"secret": name})
        await self._store.add_audit(entry)


def _takes(stage: Stage, name: str) -> bool:
    return name in stage.named_secrets and name not in stage.from_submitter


def _open_to(
    stage: Stage, own: Mapping[str, Secret], known: Mapping[str, Secret]
) -> dict[str, Secret]:
    """The secrets that a stage may get: the run's own take precedence over those that the user has
    set."""
    usual = {name: value for name, value in known.items() if name not in stage.from_submitter}
    return {**usual, **own}


def _check(name: str, value: Secret) -> None:
    try:
        read_secret_name(name)
    except ValueError as error:
        raise InputError(str(error)) from None
    try:
        check_secret_value(value.reveal())
    except ValueError as error:
        raise InputError(f"the secret {name}: {error}") from None


def _missing(stage: Stage, missing: list[str], call: str | None) -> InputError:
    name = missing[0]
    only = name in stage.from_submitter
    what = f"the secret {name}" if len(missing) == 1 else f"the secrets {', '.join(missing)}"
    who = "which was not given with it" if only else "which you have not set"
    ways = [] if only else [_SET.format(name=name)]
    if call is not None:
        ways.append(_TAKE.format(name=name, call=call))
    if only and stage.service is not None:
        ways.append(_KEEP.format(name=name))
    remedy = "; or ".join(ways)
    return InputError(f"stage {stage.name} wants {what}, {who}", remedy=remedy)


def _gone(run: Run, stage: Stage, missing: list[str]) -> InputError:
    """Why a stage cannot start now, although it could at submission."""
    name = missing[0]
    what = f"the secret {name}" if len(missing) == 1 else f"the secrets {', '.join(missing)}"
    if name in stage.from_submitter:
        return InputError(
            f"{what} of this run is lost",
            remedy=f"{run.owner} can provide it again: hostler retry {run.run_id} --secret {name}",
        )
    return InputError(
        f"{what} is missing: {run.owner} removed it, or its value was lost with a run",
        remedy=f"{run.owner} can set it again: hostler secret set {name}; then: hostler retry "
        f"{run.run_id}",
    )
