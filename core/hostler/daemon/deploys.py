"""Plans a deploy or rollback, checks rights and lock, and opens the release; how it then proceeds
is in `decide.releases`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hostler.base.errors import ConflictError, NotFoundError
from hostler.base.failpoints import failpoint
from hostler.base.secret import Secret
from hostler.base.text import shown
from hostler.daemon.context import Context
from hostler.daemon.deploy_kept import with_kept
from hostler.daemon.deploy_plans import (
    DeployPlan,
    env_of,
    release_of,
    replicas_of,
    service_of,
    startup_of,
    version_of,
    wanted_number,
)
from hostler.daemon.deploy_room import first_looks, room_of
from hostler.daemon.gateway_looks import check_free, is_behind, is_reached
from hostler.daemon.release_images import with_images_of
from hostler.daemon.releases import note_and_show, refresh, releases_of, told, was_stopped
from hostler.daemon.service import Service
from hostler.daemon.submit import Made, Submission, Submitter
from hostler.daemon.turns import Turns
from hostler.decide.releases.number import resized
from hostler.decide.releases.opening import (
    Asked,
    choose,
    expected,
    summary,
    undoing,
)
from hostler.decide.releases.words import opened
from hostler.insight.deploys import changes
from hostler.model.calls import AuditEntry, Call, Caller
from hostler.model.codec import view_of
from hostler.model.plans import Snapshot
from hostler.model.records import NewEvent, SubmissionKey
from hostler.model.releases import (
    Deployment,
    Release,
    ReleaseState,
    ServiceState,
    Strategy,
)
from hostler.model.runs import Run
from hostler.model.views.services import DeployView, ReleaseView
from hostler.store.releases import Opening

Cancel = Callable[[str, Caller], Awaitable[object]]
"""Stops a run of a user."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user wants to deploy, and how."""

    submission: Submission
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of the service, replacing those of the file."""
    strategy: Strategy | None = None
    rebuild: bool = False
    """Run again the stages that would be kept from the release before."""


class Deploys:
    """Plans deploys, and opens releases."""

    def __init__(
        self,
        context: Context,
        submitter: Submitter,
        snapshot: Callable[[], Snapshot],
        waiting: Callable[[], Mapping[str, str]],
        cancel: Cancel,
        previews: Turns,
        problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._context = context
        self._submitter = submitter
        self._snapshot = snapshot
        self._waiting = waiting
        self._cancel = cancel
        self._previews = previews
        self._problem = problem
        """Why the gateway does not serve all services that it should."""

    async def plan(self, wanted: Wanted, who: Caller) -> DeployPlan:
        """What a deploy would do now; changes nothing. Raises PipelineError, InputError if it is
        never possible, ConflictError if there is no free capacity, ForbiddenError."""
        run = await self._prepare(await self._without_code(wanted, who), who)
        run = replace(run, source=wanted.submission.source)
        return await self._plan(run, who, wanted)

    async def _without_code(self, wanted: Wanted, who: Caller) -> Wanted:
        """If the code was not sent yet, only its digest is compared."""
        submission = wanted.submission
        source = submission.source
        if source.digest is None or await self._submitter.sources.may_use(source.digest, who.uid):
            return wanted
        source = replace(source, digest=None)
        return replace(wanted, submission=replace(submission, source=source))

    async def deploy(self, wanted: Wanted, who: Caller, key: str | None = None) -> Release:
        """Open a release, durable when this returns. Raises as `plan`, and ConflictError if another
        release is open."""
        self._context.standing.check_current()
        submission = wanted.submission
        asked = await self._submitter.asked(
            who, key, "deploy", submission, wanted.env, wanted.strategy,
            *(["rebuild"] if wanted.rebuild else []), secrets=submission.secrets,
        )  # fmt: skip
        there = await self._submitter.submitted(asked)
        run = there or await self._prepare(wanted, who)
        if there is None:
            made = await self._plan(run, who, wanted)
            text, own = submission.pipeline or "", submission.secrets
            run = await self._open(text, who, made, Made("deploy"), asked, own)
        return await self._release(run.pipeline, run)

    async def rollback(
        self, name: str, number: int | None, who: Caller, key: str | None = None
    ) -> Release:
        """Undo the open release; if none is open, or another one is named, release that one again.
        Raises NotFoundError, ForbiddenError, ConflictError."""
        self._context.standing.check_current()
        self._authorize(who, name)
        state = self._state(name)
        if state.opened is not None and number is None and await self._undone(state.opened, who):
            return state.opened
        state = self._state(name)
        asked = await self._submitter.asked(who, key, "rollback", name, number)
        if (there := await self._submitter.submitted(asked)) is not None:
            return await self._release(name, there)
        target, old, run = await self._brought_back(state, number, who)
        made = await self._plan(run, who, of=old)
        text = await self._context.store.pipeline_text(old.run_id)
        how = Made("deploy", old.run_id, f"the stages of release {target.number}")
        run = await self._open(text, who, made, how, asked, {})
        return await self._release(name, run)

    async def _undone(self, opened: Release, who: Caller) -> bool:
        """Stop an open release; False: it has just gone live, and nothing else would serve.
        Meanwhile no step starts; steps under way are awaited."""
        context, key = self._context, f"step:{opened.service}"
        context.opening.add(key)
        try:
            await asyncio.sleep(0)  # a step that was begun is handed to the database by then
            await releases_of(context).written()
            await refresh(context, opened.service)
            now = self._state(opened.service).opened
            if now is None or now.number != opened.number:
                return False
            await self._cancel(opened.run_id, who)
            return True
        finally:
            context.opening.discard(key)
            context.wake()

    async def plan_rollback(self, name: str, number: int | None, who: Caller) -> DeployView:
        """What `rollback` would do now; changes nothing. Raises as `rollback`."""
        self._authorize(who, name)
        state = self._state(name)
        opened = state.opened
        if opened is not None and number is None:
            served = opened.replaces
            return DeployView(name, opened.number, how=undoing(opened), release=served)
        target, old, run = await self._brought_back(state, number, who)
        return replace((await self._plan(run, who, of=old)).view(), release=target.number)

    async def _brought_back(
        self, state: ServiceState, number: int | None, who: Caller
    ) -> tuple[Release, Run, Run]:
        """The release that a rollback brings back, its run, and the new run."""
        target = await self._target(state, number)
        old = await self._context.store.get_run(target.run_id)
        self._context.rights.authorize(who, Call.RERUN, old)  # it brings its environment along
        self._submitter.check_hosts(old.stages)
        await self._submitter.check_secrets(who, {}, old.stages, call=None)
        self._submitter.check_kept(old, f"deploy it again: hostler deploy {old.file or 'FILE'}")
        run = self._submitter.again(old, who)
        hosts = [n for n, monitor in self._context.monitors.items() if monitor.is_connected]
        return target, old, with_images_of(run, old, hosts, self._context.images)

    async def changes(self, name: str, number: int, against: int, who: Caller) -> list[str]:
        """The differences between two releases, for users who may deploy the service: variables are
        not for all users. Raises NotFoundError, ForbiddenError."""
        self._authorize(who, name)
        self._state(name)
        known = {r.number: r for r in await releases_of(self._context).releases(name, 1000)}
        versions = []
        for each in (against, number):
            if each not in known:
                raise NotFoundError(
                    f"{name} has no release {each}", remedy=f"list them: hostler releases {name}"
                )
            run = await self._context.store.get_run(known[each].run_id)
            versions.append(version_of(run))
        return [str(change) for change in changes(*versions)]

    async def releases(self, name: str) -> list[Release]:
        """The releases of a service, the newest first, as plans see them: the next deploy builds on
        that, so a user who waits for a release must not see a later state. Raises NotFoundError."""
        stored = await releases_of(self._context).releases(name)
        planned = {release.number: release for release in self._state(name).releases}
        return [planned.get(release.number, release) for release in stored]

    def view(self, release: Release) -> ReleaseView:
        """A release as an object of the API; an open one with what it waits for."""
        reason = release.reason
        if release.state.is_open:
            reason = reason or self._reason(release)
        elif was_stopped(self._context, release):
            reason = "it was stopped"
        run = self._context.run_cache.find(release.run_id)
        return view_of(
            ReleaseView, release, state=release.state.value, strategy=release.strategy.value,
            reason=reason, is_open=release.state.is_open, url=self._url(run, release.service),
        )  # fmt: skip

    def _url(self, run: Run | None, name: str) -> str | None:
        if run is None or self._context.config.gateway.host is None:
            return None
        from hostler.daemon.gateway_urls import url_once_live

        return url_once_live(self._context, run, name)

    def _reason(self, release: Release) -> str:
        """What an open release waits for."""
        state, problem = self._context.services.get(release.service), self._problem()
        if problem is not None and state is not None and is_behind(self._context, state):
            return f"the release waits for the gateway: {problem}"
        return self._waiting().get(release.service, "")

    def _authorize(self, who: Caller, name: str) -> None:
        state = self._context.services.get(name)
        there = state.deployment if state is not None else None
        self._context.rights.authorize(who, Call.DEPLOY, None, there)

    def _check_meant(self, name: str) -> None:
        """Raises ConflictError if the name is that of a run, or begins like `RUN.STAGE`."""
        run_id = name.partition(".")[0]
        if self._context.run_cache.find(run_id) is not None:
            raise ConflictError(
                f"a service called {name} could be confused with the id of run {run_id}",
                remedy="give the pipeline another `name`",
            )

    def _state(self, name: str) -> ServiceState:
        state = self._context.services.get(name)
        if state is None:
            known = ", ".join(self._context.services) or "none"
            raise NotFoundError(
                f"no service {shown(name)} was deployed", remedy=f"those that were: {known}"
            )
        return state

    async def _target(self, state: ServiceState, number: int | None) -> Release:
        """The named release, even if it was stopped; else the last one that was live before."""
        name = state.deployment.name
        known = await releases_of(self._context).releases(name, 1000)
        good = [r for r in known if r.state is ReleaseState.RETIRED and number in (None, r.number)]
        good += [r for r in known if number == r.number and was_stopped(self._context, r)]
        if good:
            return good[0]
        which = "earlier release" if number is None else f"release {number}"
        raise NotFoundError(
            f"{name} has no {which} that was live", remedy=f"list them: hostler releases {name}"
        )

    async def _prepare(self, wanted: Wanted, who: Caller) -> Run:
        run = await self._submitter.prepare(wanted.submission, who)
        if not wanted.env:
            return run
        service_of(run)
        env = env_of(wanted.env)
        stages = (
            replace(stage, env={**stage.env, **env}) if stage.service is not None else stage
            for stage in run.stages
        )
        return replace(run, stages=tuple(stages))

    async def _plan(
        self, run: Run, who: Caller, wanted: Wanted | None = None, *, of: Run | None = None
    ) -> DeployPlan:
        """Plan a release. `of`: the run of the release that is brought back."""
        stage = service_of(run)
        state = self._context.services.get(run.pipeline)
        self._authorize(who, run.pipeline)
        self._check_meant(run.pipeline)
        live = await self._live(state)
        number = wanted_number(run, live, state)
        run = resized(run, number.replicas)
        if wanted is None or not wanted.rebuild:
            run = await with_kept(self._context, run, of or live, who)
        if live is not None:
            await first_looks(self._context)
        # Beside the daemon's other work: of a run of thousands of stages it takes seconds.
        async with self._previews.of(who.uid):
            room = await asyncio.to_thread(room_of, state, live, run, self._snapshot())
        is_direct = self._is_direct(run, live)
        asked = Asked(
            run.pipeline, replicas_of(run), startup_of(stage),
            wanted.strategy if wanted is not None else None, is_direct,
            self._context.config.gateway.host,
        )  # fmt: skip
        choice = choose(asked, room)
        found = changes(version_of(live), version_of(run)) if live is not None else []
        replaces = state.deployment.live if state is not None else None
        return DeployPlan(
            run, run.pipeline, replaces, tuple(found), choice, summary(choice, room),
            expected(asked.replicas, choice, room), number.told, self._url(run, run.pipeline),
            room.is_stopped,
        )  # fmt: skip

    def _is_direct(self, run: Run, live: Run | None) -> bool:
        """Whether no gateway serves it now. Raises ConflictError if the gateway cannot give it the
        address of its name, which it gets as soon as this release is live."""
        context = self._context
        if not is_reached(context, run):
            return True
        check_free(context, run, run.pipeline)
        return live is not None and not is_reached(context, live)

    async def _live(self, state: ServiceState | None) -> Run | None:
        live = state.live if state is not None else None
        if live is None:
            return None
        run = self._context.run_cache.find(live.run_id)
        return run if run is not None else await self._context.store.get_run(live.run_id)

    async def _open(
        self,
        text: str,
        who: Caller,
        made: DeployPlan,
        how: Made,
        asked: SubmissionKey | None,
        own: Mapping[str, Secret],
    ) -> Run:
        newest = await releases_of(self._context).releases(made.service, 1)
        self._authorize(who, made.service)  # another user may have taken the name meanwhile
        owner = self._owner(made.service, who)
        run = made.run
        release = release_of(run, made, newest[0].number + 1 if newest else 1)

        async def create(
            stored: Run, told_text: str, events: Sequence[NewEvent], key: SubmissionKey | None,
            entry: AuditEntry,
        ) -> None:  # fmt: skip
            opening = Opening(release, owner, stored, told_text)
            event = told(self._context, opened(release), replace(release, run_id=stored.run_id))
            failpoint("before_opening")
            if is_reached(self._context, stored):
                check_free(self._context, stored, made.service)  # others may have come meanwhile
            await releases_of(self._context).open(opening, [*events, event], key, entry)
            failpoint("after_opening")
            # Before its run: that must not start now.
            await note_and_show(self._context, made.service)

        opening, key = self._context.opening, f"step:{made.service}"
        opening.add(key)
        try:
            async with self._context.giving_address:
                return await self._submitter.store(run, text, how, asked, own, create)
        finally:
            opening.discard(key)
            self._context.wake()

    def _owner(self, name: str, who: Caller) -> Caller:
        """The owner of the service; for a new one, the user who deploys it."""
        state = self._context.services.get(name)
        there: Deployment | None = state.deployment if state is not None else None
        return who if there is None else Caller(there.uid, there.owner)

    async def _release(self, service: str, run: Run) -> Release:
        found = await self.releases(service)
        return next(release for release in found if release.run_id == run.run_id)


def deploys_of(service: Service) -> Deploys:
    """The `Deploys` of a daemon."""
    controller = service.controller
    return Deploys(
        service.context, service.submitter, controller.snapshot,
        lambda: controller.plan.releases, service.cancel, service.previews,
        lambda: service.gateways.problem,
    )  # fmt: skip
