"""The daemon's service for its API: one method per call."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Mapping

from hostler.base.errors import ConflictError, InputError, NotFoundError, StateError
from hostler.base.secret import Secret
from hostler.daemon.after import told_of_others
from hostler.daemon.alerts import Alerts
from hostler.daemon.apply import Applier
from hostler.daemon.audit import Audit
from hostler.daemon.budgets import Budgets
from hostler.daemon.clean import Cleaner
from hostler.daemon.context import Context, newest_run
from hostler.daemon.controller import Controller
from hostler.daemon.drains import drain
from hostler.daemon.environments import ENVIRONMENTS, dropped_environment
from hostler.daemon.expiry import Expirer
from hostler.daemon.files import Files
from hostler.daemon.follow import LogReader, find_attempt
from hostler.daemon.garbage import GarbageCollector
from hostler.daemon.gateways import Gateways
from hostler.daemon.image_calls import ImageCalls
from hostler.daemon.keeping import Keeping
from hostler.daemon.measures import Measures, Numbers
from hostler.daemon.nested_requests import NestedRequests
from hostler.daemon.past import Past
from hostler.daemon.retry import Change, Retries
from hostler.daemon.run_cache import awaited_by
from hostler.daemon.services import run_meant
from hostler.daemon.submit import NO_SECRETS, Submission, Submitter
from hostler.daemon.tokens import Tokens
from hostler.daemon.turns import Turns
from hostler.daemon.views import (
    daemon_view,
    hosts_for,
    notes_on_gpus,
    plan_view,
    retry_view,
    run_view,
    troubles_of,
    why_stages,
)
from hostler.decide.gpu_names import told_of_models
from hostler.decide.index import open_attempts
from hostler.decide.reasons import unplaceable
from hostler.insight.gpu_states import fleet
from hostler.model.calls import Call, Caller
from hostler.model.codec import view_of
from hostler.model.events import EventKind
from hostler.model.hosts import Host
from hostler.model.records import RunFilter
from hostler.model.runs import Run, Source
from hostler.model.views.daemon import DaemonView
from hostler.model.views.files import ArtifactList
from hostler.model.views.gpus import FleetView
from hostler.model.views.kept import GcView
from hostler.model.views.plans import CheckView, PlanView, RetryView, WhyView
from hostler.model.views.runs import NewRun, RunDetail, RunList, RunView
from hostler.ports import Outside

_NO_CHANGE = Change()


class Service:
    """The daemon's calls for the API. Every change is durable before it is answered."""

    def __init__(
        self, context: Context, controller: Controller, applier: Applier, outside: Outside
    ) -> None:
        self.context = context
        self.controller = controller
        self._applier = applier
        self._outside = outside
        self.audit = Audit(context)
        self.submitter = self._submitter = Submitter(context)
        self._retries = Retries(context, self._submitter)
        self.nested = NestedRequests(context, self._submitter, controller.snapshot, self.cancel)
        self.alerts = Alerts(context, applier.usage.history, self.audit)
        self.garbage = GarbageCollector(context, applier.copies, self.alerts, applier.images)
        self.images = ImageCalls(context, applier.images, self.audit)
        self.gateways = Gateways(context, controller.snapshot)
        self.tokens = Tokens(context, self.audit, self.gateways)
        self.expirer = Expirer(context, self.alerts)
        self.cleaner = Cleaner(context, applier.copies, self.expirer, self.audit, applier.apply)
        self.budgets = Budgets(context, self.alerts)
        self.keeping = Keeping(context, self.audit)
        self.past = Past(context)
        self.sources = self._submitter.sources
        self.measures = Measures(context, applier.usage)
        self.numbers = Numbers(context)
        self.files = Files(context, self.expirer.fetching)
        self.previews = Turns()
        self._retried: dict[str, float] = {}
        self._started_at = context.clock.now()
        self.stopping = asyncio.Event()

    def about(self, api: int) -> DaemonView:
        """Who answers, with this version of the API."""
        return daemon_view(self.context, self._started_at, api)

    def authorize(self, who: Caller, call: Call, run: Run | None = None) -> None:
        """Check a call. Raises ForbiddenError."""
        self.context.rights.authorize(who, call, run)

    def use_ssh_agent(self, socket: str, who: Caller) -> None:
        """Use the SSH agent of a client's shell; logins that failed without it are tried again."""
        self.authorize(who, Call.SSH_AGENT)
        if os.environ.get("SSH_AUTH_SOCK") != socket:
            self._outside.use_agent(socket)
            self._outside.reset()
            for monitor in self.context.monitors.values():
                monitor.retry_now()

    async def request_stop(self, who: Caller) -> None:
        """Ask the process to end. A full or hanging disk does not prevent that."""
        self.authorize(who, Call.SHUTDOWN)
        with contextlib.suppress(StateError, TimeoutError):
            async with asyncio.timeout(self.context.timings.note_shutdown):
                await self.audit.note(who, Call.SHUTDOWN, {})
        self.stopping.set()

    def gpus(self) -> FleetView:
        """The `hostler.gpus/1` object."""
        context = self.context
        return fleet(
            [monitor.host for monitor in context.monitors.values()],
            context.clock.now(),
            context.config.policy,
            source="daemon",
            attempts=open_attempts(context.run_cache.runs()),
            daemon_id=context.daemon_id,
            history=self._applier.usage.history(),
        )

    def hosts(self, who: Caller | None = None) -> list[Host]:
        """All hosts, in the order of the config, as this user may see them."""
        return hosts_for(self.context, who)

    def host(self, name: str, who: Caller | None = None) -> Host:
        """One host. Raises NotFoundError, which lists the hosts."""
        found = next((host for host in self.hosts(who) if host.name == name), None)
        if found is None:
            known = ", ".join(self.context.monitors) or "none"
            raise NotFoundError(f"no host {name!r} in the config", remedy=f"known hosts: {known}")
        return found

    def retry_host(self, name: str, who: Caller) -> None:
        """Connect again at once, also after a refused login; not more often than its sshd, and
        what counts failed logins there, can take."""
        self.authorize(who, Call.RECONNECT)
        self.host(name)
        now = time.monotonic()
        if now - self._retried.get(name, -math.inf) < self.context.timings.reconnect_each:
            return
        self._retried[name] = now
        self._outside.reset()
        self.context.monitors[name].retry_now()

    async def drain(self, name: str, reason: str, who: Caller) -> None:
        """Take a host out of placement, durably."""
        self.authorize(who, Call.DRAIN)
        self.host(name)
        asked = self.audit.entry(who, Call.DRAIN, {"host": name, "reason": reason})
        await drain(self.context, name, reason or f"by {who.user}", who.user, asked=asked)

    async def undrain(self, name: str, who: Caller) -> None:
        """Open a host for new work again."""
        self.authorize(who, Call.UNDRAIN)
        self.host(name)
        asked = self.audit.entry(who, Call.UNDRAIN, {"host": name})
        said = f"{name} accepts work again"
        event = self.context.event(EventKind.HOST_UNDRAINED, said, host=name, actor=who.user)
        await self.context.store.clear_drain(name, event, asked)
        self.context.close_host(name, None)
        if self.context.health.forgive(name):
            said = f"{name} is retried: {who.user} reported it repaired"
            await self.context.tell(
                self.context.event(EventKind.HOST_STARTS, said, host=name, actor=who.user)
            )

    async def submit(self, submission: Submission, who: Caller, key: str | None = None) -> Run:
        """A new run, durable when this returns; for a repeated key, the run made before."""
        self.authorize(who, Call.SUBMIT)
        if self.context.standing.superseded_by is not None:
            self.context.standing.check_current()
        return await self._submitter.submit(submission, who, key)

    def no_host(self, run: Run) -> str | None:
        """The parts of a run that no host can ever take, in one sentence; None: there are none."""
        if run.outcome is not None:
            return None
        return unplaceable(self.controller.snapshot(), run)

    async def check(self, submission: Submission, who: Caller) -> CheckView:
        """The result of checking a submission, and the limits for its source. Raises PipelineError
        with all problems: before anything is uploaded."""
        self.authorize(who, Call.SUBMIT)
        run = await self._submitter.prepare(submission, who)
        return CheckView(
            pipeline=run.pipeline,
            stages=len(run.stages),
            snapshot=any(stage.code == "snapshot" for stage in run.stages),
            source_size=self.context.config.limits.source_size,
            source_file=self.context.config.limits.source_file,
        )

    async def preview(self, submission: Submission, who: Caller) -> PlanView:
        """Where every stage would be placed now; changes nothing."""
        self.authorize(who, Call.SUBMIT)
        run = await self._submitter.prepare(submission, who)
        # Beside the daemon's other work: of a run of thousands of stages it takes seconds.
        async with self.previews.of(who.uid):
            return await asyncio.to_thread(plan_view, self.controller.snapshot(), run)

    async def retry(
        self, run_id: str, who: Caller, change: Change = _NO_CHANGE, key: str | None = None
    ) -> Run:
        """A new run of the stages that did not succeed, or that are changed."""
        self.context.standing.check_current()
        # Before the name is looked up: "last" is that new run, where this was sent before.
        what = () if change == _NO_CHANGE else (change,)
        secrets = change.secrets
        asked = await self._submitter.asked(who, key, "retry", run_id, *what, secrets=secrets)
        if (there := await self._submitter.submitted(asked)) is not None:
            return there
        run = await self.own_run(run_id, who, Call.RETRY)
        return await self._retries.make(run.run_id, change, who, asked)

    async def plan_retry(self, run_id: str, who: Caller, change: Change) -> RetryView:
        """What a retry would keep and run again, and how large its source may be."""
        run = await self.own_run(run_id, who, Call.RETRY)
        found = await self._retries.prepare(run.run_id, change, who)
        return retry_view(found.old, found.run, found.plan, self.context.config.limits)

    async def rerun(
        self, run_id: str, who: Caller, source: Source | None, key: str | None = None,
        own: Mapping[str, Secret] = NO_SECRETS,
    ) -> Run:  # fmt: skip
        """A new run of everything."""
        self.context.standing.check_current()
        asked = await self._submitter.asked(who, key, "rerun", run_id, source, secrets=own)
        if (there := await self._submitter.submitted(asked)) is not None:
            return there
        run = await self.own_run(run_id, who, Call.RERUN)
        return await self._submitter.rerun(run.run_id, who, source, asked, own)

    async def cancel(self, run_id: str, who: Caller, by_run: str | None = None) -> str:
        """Stop a run. Returns its full id once the request is durable. `by_run`: a stage of that
        run asks, not the user."""
        self.context.standing.check_current()
        run = await self._open_run(run_id, "cancelled", who, Call.CANCEL)
        context = self.context
        if run.cancelled_by is None:
            of = {} if by_run is None else {"of": by_run}
            asked = self.audit.entry(who, Call.CANCEL, {"run": run.run_id, **of})
            said = f"{who.user if by_run is None else f'run {by_run}'} cancels run {run.run_id}"
            event = context.event(EventKind.RUN_CANCELLING, said, run_id=run.run_id, actor=who.user)
            changed = await context.store.request_cancel(run.run_id, who.user, event, asked)
            context.run_cache.change(run.run_id, **changed)
            context.hub.publish()
            await self.controller.interrupt_starts(run.run_id)
        return run.run_id

    async def lower(self, run_id: str, priority: int, who: Caller) -> str:
        """Lower a run's priority. Raises InputError for a higher one."""
        run = await self._open_run(run_id, "changed", who, Call.PRIORITY)
        if priority > run.priority:
            there = f"run {run.run_id} has priority {run.priority}"
            raise InputError(f"{there}: it can only be lowered")
        asked = self.audit.entry(who, Call.PRIORITY, {"run": run.run_id, "priority": priority})
        said = f"run {run.run_id} has priority {priority} now, {run.priority} before"
        context, kind = self.context, EventKind.RUN_PRIORITY_LOWERED
        event = context.event(kind, said, run_id=run.run_id, actor=who.user)
        changed = await context.store.lower_priority(run.run_id, priority, event, asked)
        context.run_cache.change(run.run_id, **changed)
        context.wake()
        return run.run_id

    async def remove(self, run_id: str, who: Caller) -> str:
        """Forget a finished run."""
        run = await self.own_run(run_id, who, Call.REMOVE)
        if run.outcome is None:
            there = f"run {run.run_id} has not ended"
            raise ConflictError(there, remedy=f"hostler cancel {run.run_id}")
        entry = self.audit.entry(who, Call.REMOVE, {"run": run.run_id})
        await self.garbage.remove_run(run.run_id, who.user, entry)
        self.expirer.soon()
        return run.run_id

    async def collect_garbage(self, dry_run: bool, who: Caller) -> GcView:
        """Free what has expired; with `dry_run` only list it."""
        self.authorize(who, Call.LOOK if dry_run else Call.GC)
        if not dry_run:
            await self.audit.note(who, Call.GC, {})
        told = await self.garbage.collect(dry_run)
        if not dry_run:
            await self.budgets.measure()
            self.context.wake()
        return told

    async def resolve(self, run_id: str) -> str:
        """The full id of a shortened one; "last" is the caller's newest run."""
        if run_id == "last":
            return await newest_run(self.context)
        return await self.context.store.resolve(run_id)

    async def meant(self, name: str) -> str:
        """As `resolve`, for reading: the name of a deployed service means its release's run."""
        return await run_meant(self.context, self.resolve, name)

    async def named_run(self, name: str) -> str:
        """The full id of a run; if it was forgotten, the name unchanged."""
        try:
            return await self.resolve(name)
        except NotFoundError:
            return name

    async def list_runs(self, wanted: RunFilter, limit: int) -> RunList:
        """Summaries, newest first."""
        found = await self.context.store.list_runs(wanted, limit)
        return RunList(runs=tuple(found))

    async def describe(self, run_id: str) -> RunDetail:
        """The `hostler.run/1` object, with what is kept of the run."""
        run = await self.run(await self.meant(run_id))
        view = self.view(run)
        keep, staying = await self.keeping.shown(run)
        may_nest = any(stage.nested for stage in run.stages)
        nested = await self.context.store.children(run.run_id) if may_nest else {}
        urls = self.gateways.urls_of(run)
        return view_of(RunDetail, view, keep=keep, staying=staying, nested=nested, urls=urls)

    async def describe_new(self, run: Run) -> NewRun:
        """The same of a run that has just been made, with what its submitter should know."""
        no_host = self.no_host(run)
        has_environment = bool(run.env.keys() & ENVIRONMENTS)
        dropped = await dropped_environment(self.context, run) if has_environment else None
        view = await self.describe(run.run_id)
        notes = notes_on_gpus(run, self.hosts)
        return view_of(NewRun, view, no_host=no_host, dropped_environment=dropped, **notes)

    def view(self, run: Run) -> RunView:
        """The `hostler.run/1` object of a run that was read already."""
        reasons, progress = self.controller.plan.reasons, self.context.progress
        return run_view(run, reasons, progress, troubles_of(self.context, run))

    async def why(self, run_id: str, stage: str | None) -> WhyView:
        """One line and, while it waits, the full reason for each stage (or the one named)."""
        run = await self.run(await self.meant(run_id))
        reasons, progress = self.controller.plan.reasons, self.context.progress
        stages = why_stages(run, reasons, progress, troubles_of(self.context, run))
        if stage is not None:
            stages = tuple(each for each in stages if stage in (each.name, each.base))
            if not stages:
                raise NotFoundError(
                    f"run {run.run_id} has no stage {stage!r}",
                    remedy="its stages: " + ", ".join(s.name for s in run.stages[:20]),
                )
        waiting = {each.name for each in stages if each.status == "waiting"}
        models = told_of_models(self.hosts(), (s for s in run.stages if s.name in waiting))
        return WhyView(run_id=run.run_id, stages=stages, gpu_models=models)

    async def artifacts(self, run_id: str) -> ArtifactList:
        """The outputs of a run."""
        found = await self.context.store.artifacts(await self.resolve(run_id))
        return ArtifactList(artifacts=tuple(found))

    async def open_log(self, run_id: str, stage: str, number: int | None) -> LogReader:
        """The log of the attempt of that number, or of the latest."""
        attempt = find_attempt(await self.run(await self.meant(run_id)), stage, number)
        return LogReader(self.context, self._applier.followers, attempt)

    async def run(self, run_id: str) -> Run:
        """One run, open or ended; the id may be shortened. Raises NotFoundError."""
        full = run_id if self.context.run_cache.find(run_id) else await self.resolve(run_id)
        run = self.context.run_cache.find(full) or await self.context.store.get_run(full)
        return await told_of_others(self.context, run) if awaited_by(run) else run

    async def own_run(self, run_id: str, who: Caller, call: Call = Call.FILES) -> Run:
        """One run, if the caller may make that call on it. Raises ForbiddenError."""
        run = await self.run(run_id)
        self.authorize(who, call, run)
        return run

    async def _open_run(self, run_id: str, verb: str, who: Caller, call: Call) -> Run:
        run = await self.own_run(run_id, who, call)
        if run.outcome is not None:
            if run.outcome.value == "cancelled":
                raise ConflictError(f"run {run.run_id} was cancelled already")
            there = f"run {run.run_id} has already {run.outcome.value}"
            raise ConflictError(f"{there}: it cannot be {verb}")
        return run
