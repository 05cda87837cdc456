"""The daemon of `random_lab`: it carries plans out in small steps that may be cut short."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hostler.base.errors import HostFault
from hostler.daemon.health import Health
from hostler.decide.causes import conclude, conclude_uncollected
from hostler.decide.index import PlanCache
from hostler.decide.plan import plan
from hostler.decide.progress import progress_of
from hostler.model.hosts import Host, HostCondition, HostFacts, Lease, Workload
from hostler.model.pipelines import Cause
from hostler.model.plans import (
    Action,
    Conclude,
    EndRun,
    Finish,
    Plan,
    Record,
    Release,
    Remove,
    Resume,
    SendWarning,
    Snapshot,
    Start,
    Stop,
)
from hostler.model.runs import Attempt, Phase, StageStatus
from tests.support.worlds.random_world import DAEMON, RealHost, Task, World


class Daemon(World):
    """What the daemon does, as tasks of several steps, and what it may never do."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.plan_cache = PlanCache()
        self.bound: set[str] = set()
        """Attempts that may be started once the rest of their group may."""
        self.copied: set[str] = set()
        """Attempts whose outputs are in the store."""
        self.health = Health()

    def kill_daemon(self) -> None:
        """All that was in memory is gone; rows, leases and containers stay."""
        for task in self.tasks.values():
            task.close()
        self.tasks.clear()
        self.places.clear()
        self.broken.clear()
        self.looks.clear()
        self.refused.clear()
        self.health = Health()
        self.health.recall(self.runs.values(), self.now)
        for name, real in self.real.items():
            drained = self.known[name].drained
            host = Host(
                name, "ssh", HostCondition.CONNECTING, self.now,
                facts=HostFacts(docker_gpu="nvidia"), drained=drained,
            )  # fmt: skip
            self.known[name] = replace(host, runtimes=("docker", "process"), cpus=4)
            if real.reachable:
                self.known[name] = self._as_up(name, None)

    def work(self) -> None:
        """One task gets a step further."""
        if self.tasks:
            self._advance(self.rng.choice(list(self.tasks)))

    def decide(self) -> Plan:
        """One turn of the loop."""
        snapshot = Snapshot(
            self.now,
            DAEMON,
            tuple(self.known.values()),
            tuple(self.runs.values()),
            frozenset(self.tasks),
            dict(self.refused),
            ailing=self.health.ailing,
        )
        decided = plan(snapshot, self.plan_cache)
        afresh = plan(snapshot)
        assert decided.actions == afresh.actions
        assert decided.wake_at == afresh.wake_at
        assert decided.reasons == afresh.reasons
        for action in decided.actions:
            self._begin(action)
        self._check_reasons(snapshot, decided)
        return decided

    def _begin(self, action: Action) -> None:
        assert action.key not in self.tasks
        match action:
            case Start():
                self._check_start(action)
                self._save(action.attempt)
                task = self._start(action.attempt, action.until_bound)
                self._spawn(action, action.attempt.host, task)
            case Resume():
                task = self._start(action.attempt, action.until_bound)
                self._spawn(action, action.attempt.host, task)
            case Record():
                self._record(action)
            case Finish():
                self._spawn(action, action.attempt.host, self._finish(action))
            case Conclude():
                self._conclude(action)
            case SendWarning():
                assert action.attempt.stop_reason is None
                self._save(replace(action.attempt, warned_at=self.now, warning="sent"))
            case Stop():
                assert action.workload.daemon_id == DAEMON
                self._spawn(action, action.host, self._stop(action))
            case Remove():
                assert action.workload.daemon_id == DAEMON
                self._spawn(action, action.host, self._remove(action))
            case Release():
                self._spawn(action, action.host, self._release(action))
            case EndRun():
                run = self.runs.pop(action.run_id)
                self.ended[run.run_id] = replace(run, outcome=action.outcome)

    def _start(self, attempt: Attempt, until_bound: bool) -> Task:
        host = self.real[attempt.host]
        yield
        if not self._reach(host):
            return
        refused = self._claim(host, attempt)
        if refused is not None:
            self.refused[host.name] = self.now
            self._end(attempt.attempt_id, (Phase.FAILED, Cause.NOT_STARTED, refused), None)
            return
        yield
        if not self._reach(host):
            return
        name = attempt.attempt_id
        if name not in host.work:
            if name in self.created:  # removed by hand between create and start
                self._start_failed(host, name)
                return
            self.created.add(name)
            host.work[name] = Workload(
                name, DAEMON, "docker", name, False, True, gpus=attempt.gpus, owner="ana"
            )
        yield
        if not self._reach(host):
            return
        found = host.work.get(name)
        if found is None:
            self._start_failed(host, name)
            return
        current = self._attempt(name)
        if until_bound and current is not None and current.phase is Phase.STARTING:
            self.bound.add(name)
            self._save(replace(current, ref=name))
            return
        if found.created_only and not host.starts:
            self._not_started(host, attempt)
            return
        if found.created_only:
            assert name not in self.launches, f"{name} was started twice"
            self.launches.add(name)
            host.work[name] = replace(found, running=True, created_only=False)
        if self.rng.random() < 0.2:
            yield
            if not self._reach(host):  # the reply is lost
                return
        current = self._attempt(name)
        if current is not None and not current.phase.is_final:
            self._save(replace(current, launched_at=self.now))
            self.health.started(current, self.now)

    def _not_started(self, host: RealHost, attempt: Attempt) -> None:
        run, error = self.runs[attempt.run_id], HostFault(host.name, "containerd is down")
        stage = next(s for s in run.stages if s.name == attempt.stage)
        fault = self.health.blames_host(run, attempt, error)
        if fault is None:
            self._start_failed(host, attempt.attempt_id)
            return
        self.health.failed(run, stage, attempt, fault, error.message, self.now)
        host.leases = {k: x for k, x in host.leases.items() if x.attempt_id != attempt.attempt_id}
        ended = (Phase.FAILED, Cause.HOST_FAULT, error.message)
        self._end(attempt.attempt_id, ended, None)

    def _start_failed(self, host: RealHost, attempt_id: str) -> None:
        """A start that fails after the claim gives the GPUs back before its end is recorded."""
        host.leases = {k: x for k, x in host.leases.items() if x.attempt_id != attempt_id}
        self._end(attempt_id, (Phase.FAILED, Cause.START_FAILED, "gone"), None)

    def _claim(self, host: RealHost, attempt: Attempt) -> str | None:
        for uuid in attempt.gpus:
            who = self._in_the_way(host, uuid, attempt.attempt_id)
            if who is not None:
                assert not who.startswith("our "), f"{attempt.attempt_id} on {uuid}: {who}"
                return who
        for uuid in attempt.gpus:
            host.leases = {k: x for k, x in host.leases.items() if x.gpu != uuid}
            lease_id = f"L-{attempt.attempt_id}-{uuid}"
            host.leases[lease_id] = Lease(
                lease_id, uuid, DAEMON, "ana", attempt.attempt_id, self.now,
                boot_id=f"{host.name}-{host.boot}", workload=attempt.attempt_id,
            )  # fmt: skip
        return None

    def _finish(self, action: Finish) -> Task:
        host, name = self.real[action.attempt.host], action.attempt.attempt_id
        yield
        if not self._reach(host):
            return
        attempt = self._attempt(name)
        if attempt is None or attempt.phase.is_final:
            return
        if attempt.phase.is_at_work:
            ended = conclude(attempt, action.stage, action.workload, boot_id=action.boot_id)
            if not action.stage.outputs:
                self._end(name, ended, action.workload)
                return
            self._judge(attempt, ended)
            yield
        yield from self._collect(name, host)

    def _judge(self, attempt: Attempt, ended: tuple[Phase, Cause | None, str]) -> None:
        """The verdict: from now on it holds no GPU."""
        phase, cause, detail = ended
        judged = replace(attempt, phase=Phase.COLLECTING, verdict=phase, cause=cause, detail=detail)
        self._save(replace(judged, finished_at=self.now))

    def _collect(self, name: str, host: RealHost) -> Task:
        """Nothing is copied twice, and of nothing that is not there."""
        while name not in self.copied:
            if not self._reach(host) or name not in host.work:
                return
            assert not host.work[name].running
            if self.rng.random() < 0.5:  # a large one takes several steps
                self.copied.add(name)
            yield
        attempt = self._attempt(name)
        if attempt is not None and attempt.verdict is not None:
            self._close(attempt, (attempt.verdict, attempt.cause, attempt.detail))

    def _conclude(self, action: Conclude) -> None:
        attempt = self._attempt(action.attempt.attempt_id)
        assert attempt is not None
        assert attempt.phase is Phase.COLLECTING
        there = attempt.attempt_id in self.real[attempt.host].work
        run = self.runs[attempt.run_id]
        assert action.is_lost or not there or not self.real[attempt.host].docker, (action, run)
        missing = [] if attempt.attempt_id in self.copied else [*action.stage.outputs]
        self._close(
            attempt, conclude_uncollected(attempt, missing, action.why, is_lost=action.is_lost)
        )

    def _close(self, attempt: Attempt, ended: tuple[Phase, Cause | None, str]) -> None:
        if attempt.phase.is_final:
            return
        phase, cause, detail = ended
        assert phase is Phase.SUCCEEDED or cause is not None
        assert phase is not Phase.SUCCEEDED or attempt.attempt_id in self.copied
        self._save(replace(attempt, phase=phase, cause=cause, detail=detail, verdict=None))

    def _stop(self, action: Stop) -> Task:
        attempt = self._attempt(action.workload.attempt_id)
        if attempt is not None and attempt.phase.is_at_work and attempt.stop_reason is None:
            self._save(replace(attempt, stop_reason=action.cause, stop_detail=action.detail))
        yield
        host = self.real[action.host]
        if self._reach(host) and action.workload.attempt_id in host.work:
            host.dying.add(action.workload.attempt_id)
        yield

    def _remove(self, action: Remove) -> Task:
        yield
        host = self.real[action.host]
        found = host.work.get(action.workload.attempt_id)
        if self._reach(host) and found is not None and not found.running:
            del host.work[action.workload.attempt_id]

    def _release(self, action: Release) -> Task:
        yield
        host = self.real[action.host]
        if not self._reach(host):
            return
        for lease_id in action.lease_ids:
            lease = host.leases.get(lease_id)
            if lease is None:
                continue
            work = host.work.get(str(lease.attempt_id))
            assert work is None or not work.running, f"{lease_id} released under {work}"
            del host.leases[lease_id]

    def _record(self, action: Record) -> None:
        attempt = self._attempt(action.attempt_id)
        assert attempt is not None
        self._check_proof(action, attempt)
        if action.phase is Phase.RUNNING:
            self._save(replace(attempt, phase=Phase.RUNNING))
        else:
            self._end(
                action.attempt_id, (action.phase, action.cause, action.detail), action.workload
            )

    def _spawn(self, action: Action, host: str, task: Task) -> None:
        self.tasks[action.key] = task
        self.places[action.key] = host
        self._advance(action.key)

    def _advance(self, key: str) -> None:
        """A step further; what was under way when the link broke ends there, done or not."""
        if key in self.broken or next(self.tasks[key], self) is self:
            self.tasks.pop(key).close()
            self.places.pop(key)
            self.broken.discard(key)

    def _attempt(self, attempt_id: str) -> Attempt | None:
        found = (
            a for run in self.runs.values() for a in run.attempts if a.attempt_id == attempt_id
        )
        return next(found, None)

    def _save(self, attempt: Attempt) -> None:
        run = self.runs[attempt.run_id]
        ids = [a.attempt_id for a in run.attempts]
        if attempt.attempt_id in ids:
            new = tuple(attempt if a.attempt_id == attempt.attempt_id else a for a in run.attempts)
        else:
            new = (*run.attempts, attempt)
        self.runs[run.run_id] = replace(run, attempts=new)

    def _end(
        self, attempt_id: str, ended: tuple[Phase, Cause | None, str], workload: Workload | None
    ) -> None:
        attempt = self._attempt(attempt_id)
        if attempt is None or attempt.phase.is_final:
            return
        phase, cause, detail = ended
        assert phase is Phase.SUCCEEDED or cause is not None
        if phase is Phase.SUCCEEDED:
            assert workload is not None
            assert workload.exit_code == 0
        self._save(replace(attempt, phase=phase, cause=cause, detail=detail, finished_at=self.now))

    def _check_start(self, action: Start) -> None:
        run = self.runs[action.attempt.run_id]
        assert run.cancelled_by is None
        assert all(a.attempt_id != action.attempt.attempt_id for a in run.attempts)
        assert all(a.phase.is_final for a in run.attempts if a.stage == action.stage.name)
        done = {a.stage for a in run.attempts if a.phase is Phase.SUCCEEDED}
        ended = action.stage.needs_ended
        assert done.issuperset(name for name in action.stage.needs if name not in ended)
        assert all(progress_of(run).status[name].is_final for name in ended)
        self._check_not_done(action, done)
        host = self.known[action.attempt.host]
        assert host.drained is None
        ailment = self.health.ailing.get((host.name, "docker"))
        assert ailment is None or self.now >= ailment.probe_at
        assert host.look is not None
        assert host.look.asked_at >= max(host.since, self.now - 10.0)
        counts = {count for count, _ in action.stage.resources.alternatives}
        assert len(set(action.attempt.gpus)) in counts

    def _check_not_done(self, action: Start, done: set[str]) -> None:
        assert action.stage.name not in done

    def _check_proof(self, action: Record, attempt: Attempt) -> None:
        """What is said to have ended has ended, unless it was given up unseen, and said so."""
        given_up = action.phase in (Phase.RUNNING, Phase.LOST, Phase.CANCELLED)
        found = self.real[attempt.host].work.get(attempt.attempt_id)
        assert given_up or found is None or not found.running, action

    def _check_reasons(self, snapshot: Snapshot, decided: Plan) -> None:
        started = {
            (a.attempt.run_id, a.stage.name) for a in decided.actions if isinstance(a, Start)
        }
        for run in snapshot.runs:
            status = progress_of(run).status
            for stage in run.stages:
                key = (run.run_id, stage.name)
                waits = status[stage.name] is StageStatus.WAITING and key not in started
                assert (key in decided.reasons) == waits
