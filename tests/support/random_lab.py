"""A lab that is as unkind as the world: slow starts, late stops, stale looks, silent hosts,
vanishing containers, reboots, foreign processes, lost replies, a daemon that is killed.

`RandomLab` plays it against `plan`, one small step at a time, and checks after each step what must
never happen. It keeps two worlds apart: what is really so on the hosts, and what the daemon knows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from random import Random

from hostler.decide.ending import conclude
from hostler.decide.plan import plan
from hostler.decide.progress import progress_of
from hostler.model.hosts import Gpu, GpuProcess, Host, HostCondition, Lease, Look, Workload
from hostler.model.pipelines import Cause, OnLost, Resources, Retries, Stage, StageKind
from hostler.model.plans import (
    Action, EndRun, Finish, Plan, Record, Release, Remove, Resume, Snapshot, Start, Stop,
)  # fmt: skip
from hostler.model.runs import Attempt, Phase, Run, StageStatus
from hostler.units import GIB

DAEMON, OTHER = "ours", "theirs"
Task = Generator[None, None, None]


@dataclass
class RealHost:
    """What is really so on a host."""

    name: str
    gpus: tuple[str, ...]
    boot: int = 1
    reachable: bool = True
    docker: bool = True
    work: dict[str, Workload] = field(default_factory=dict)
    dying: set[str] = field(default_factory=set)
    leases: dict[str, Lease] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    """GPUs whose memory does not come back for now."""

    def look(self, asked_at: float) -> Look:
        running = {w.attempt_id for w in self.work.values() if w.running}
        boot_id = f"{self.name}-{self.boot}"
        leases = tuple(
            replace(x, stale=x.boot_id != boot_id and x.attempt_id not in running)
            for x in self.leases.values()
        )
        cards = tuple(Gpu(u, i, "A100", 80 * GIB, **self._load(u)) for i, u in enumerate(self.gpus))  # type: ignore[arg-type]
        seen = tuple(self.work.values()) if self.docker else ()
        problem = None if self.docker else "docker does not answer"
        return Look(asked_at, boot_id, cards, seen, (), leases, docker_problem=problem)

    def _load(self, uuid: str) -> dict[str, object]:
        who = [w for w in self.work.values() if w.running and uuid in w.gpus]
        there = [
            GpuProcess(1, "compute", w.owner, "py", GIB * 5, attempt_id=w.attempt_id) for w in who
        ]
        if uuid in self.foreign:
            there.append(GpuProcess(2, "compute", "bob", "notebook", GIB * 5))
        busy = bool(there) or uuid in self.stuck
        return {"memory_used": 5 * GIB if busy else 0, "processes": tuple(there)}

    def end(self, attempt_id: str, code: int | None) -> None:
        workload = self.work[attempt_id]
        self.work[attempt_id] = replace(workload, running=False, exit_code=code)
        self.dying.discard(attempt_id)


class LinkCut(Exception):
    """The host does not answer; whether the last step took effect is not known."""


class RandomLab:
    """The lab, the daemon's memory of it, and one step of either at a time."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.now = 1000.0
        sizes = [rng.choice([0, 1, 2, 4]) for _ in range(rng.randint(1, 3))] + [2]
        self.real = {
            f"h{i}": RealHost(f"h{i}", tuple(f"h{i}-g{g}" for g in range(n)))
            for i, n in enumerate(sizes)
        }
        self.largest = max(sizes)
        self.known = {n: Host(n, "ssh", HostCondition.CONNECTING, self.now) for n in self.real}
        self.known = {n: self._as_up(n, None) for n in self.real}
        self.looks: list[tuple[float, str, Look]] = []
        """Under way: (when asked, host, what it saw)."""
        self.runs: dict[str, Run] = {}
        self.ended: dict[str, Run] = {}
        self.tasks: dict[str, Task] = {}
        self.refused: dict[str, float] = {}
        self.created: set[str] = set()
        self.launches: set[str] = set()
        self.calm = False

    # What the world does.

    def submit(self) -> None:
        rng, number = self.rng, len(self.runs) + len(self.ended)
        if number >= 6:
            return
        stages: list[Stage] = []
        for i in range(rng.randint(1, 4)):
            earlier = [s.name for s in stages]
            stages.append(
                Stage(
                    f"s{i}",
                    f"s{i}",
                    StageKind.TASK,
                    ("true",),
                    runtime="docker",
                    needs=tuple(n for n in earlier if rng.random() < 0.4),
                    resources=Resources(gpus=rng.randint(0, self.largest), cpus=rng.choice([1, 2])),
                    retries=Retries(max=rng.choice([0, 1, 2]), backoff=2.0),
                    on_lost=rng.choice([OnLost.WAIT, OnLost.RESTART]),
                    lost_after=rng.choice([5.0, 30.0]),
                    timeout=rng.choice([None, None, 50.0]),
                )
            )
        run_id = f"r{number}"
        owner = rng.choice(["ana", "bo"])
        self.runs[run_id] = Run(run_id, "p", tuple(stages), owner, 1000, self.now)

    def cancel(self) -> None:
        if self.runs:
            run = self.rng.choice(list(self.runs.values()))
            self.runs[run.run_id] = replace(run, cancelled_by="eve")

    def tick(self) -> None:
        self.now += self.rng.choice([0.2, 0.5, 1.0, 3.0])

    def jump(self) -> None:
        self.now += self.rng.choice([15.0, 40.0, 400.0])

    def ask(self) -> None:
        host = self._any_host()
        if host.reachable and self.known[host.name].condition is HostCondition.UP:
            self.looks.append((self.now, host.name, host.look(self.now)))

    def answer(self) -> None:
        if not self.looks:
            return
        asked_at, name, look = self.looks.pop(self.rng.randrange(len(self.looks)))
        before = self.known[name]
        if before.condition is HostCondition.UP and (
            before.look is None or before.look.asked_at < asked_at
        ):
            self.known[name] = replace(before, look=look)

    def look(self) -> None:
        """Ask and be answered at once: the usual case."""
        self.ask()
        if self.looks and self.rng.random() < 0.7:
            asked_at, name, look = self.looks.pop()
            before = self.known[name]
            if before.look is None or before.look.asked_at < asked_at:
                self.known[name] = replace(before, look=look)

    def silence(self) -> None:
        host = self._any_host()
        host.reachable = False
        if self.rng.random() < 0.7:
            self._lost_link(host.name)

    def heal(self) -> None:
        host = self._any_host()
        host.reachable = True
        if self.known[host.name].condition is not HostCondition.UP:
            self.known[host.name] = self._as_up(host.name, self.known[host.name].look)

    def exit(self) -> None:
        found = [(h, w) for h in self.real.values() for w in h.work.values() if w.running]
        if found:
            host, workload = self.rng.choice(found)
            host.end(workload.attempt_id, self.rng.choice([0, 0, 1]))

    def die(self) -> None:
        """What was told to stop stops, late."""
        for host in self.real.values():
            for attempt_id in sorted(host.dying):
                if attempt_id in host.work and host.work[attempt_id].running:
                    host.end(attempt_id, 137)

    def vanish(self) -> None:
        """Somebody removes a container by hand."""
        host = self._any_host()
        ours = [a for a, w in host.work.items() if w.daemon_id == DAEMON]
        if ours:
            del host.work[self.rng.choice(ours)]

    def reboot(self) -> None:
        host = self._any_host()
        host.boot += 1
        host.foreign.clear()
        host.stuck.clear()
        for attempt_id, workload in list(host.work.items()):
            if workload.running:
                host.end(attempt_id, 255)
        self._lost_link(host.name)

    def intrude(self) -> None:
        host = self._any_host()
        if host.gpus:
            uuid = self.rng.choice(host.gpus)
            (host.foreign.discard if uuid in host.foreign else host.foreign.add)(uuid)

    def stick(self) -> None:
        host = self._any_host()
        if host.gpus:
            uuid = self.rng.choice(host.gpus)
            (host.stuck.discard if uuid in host.stuck else host.stuck.add)(uuid)

    def docker_away(self) -> None:
        host = self._any_host()
        host.docker = not host.docker

    def other_daemon(self) -> None:
        """Another Hostler takes a GPU that is really free, or gives it back."""
        host = self._any_host()
        theirs = [a for a, w in host.work.items() if w.daemon_id == OTHER]
        if theirs:
            gone = theirs[0]
            host.leases = {k: x for k, x in host.leases.items() if x.attempt_id != gone}
            del host.work[gone]
            return
        free = [u for u in host.gpus if self._in_the_way(host, u, "x") is None]
        if free:
            name = f"x-{host.name}-{len(self.launches)}-{self.now}"
            host.work[name] = Workload(
                name, OTHER, "docker", name, True, gpus=(free[0],), owner="zoe"
            )
            host.leases[f"L-{name}"] = Lease(
                f"L-{name}",
                free[0],
                OTHER,
                "zoe",
                name,
                self.now,
                boot_id=f"{host.name}-{host.boot}",
            )

    def drain(self) -> None:
        host = self._any_host()
        before = self.known[host.name]
        self.known[host.name] = replace(before, drained=None if before.drained else "fans")

    def kill_daemon(self) -> None:
        """All that was in memory is gone; rows, leases and containers stay."""
        for task in self.tasks.values():
            task.close()
        self.tasks.clear()
        self.looks.clear()
        self.refused.clear()
        for name, real in self.real.items():
            drained = self.known[name].drained
            host = Host(name, "ssh", HostCondition.CONNECTING, self.now, drained=drained)
            self.known[name] = replace(host, runtimes=("docker", "process"), cpus=4)
            if real.reachable:
                self.known[name] = self._as_up(name, None)

    def work(self) -> None:
        """One task gets a step further."""
        if self.tasks:
            self._advance(self.rng.choice(list(self.tasks)))

    # What the daemon does.

    def decide(self) -> Plan:
        """One turn of the loop."""
        snapshot = Snapshot(
            self.now,
            DAEMON,
            tuple(self.known.values()),
            tuple(self.runs.values()),
            frozenset(self.tasks),
            dict(self.refused),
        )
        decided = plan(snapshot)
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
                self._spawn(action, self._start(action.attempt))
            case Resume():
                self._spawn(action, self._start(action.attempt))
            case Record():
                self._record(action)
            case Finish():
                self._spawn(action, self._finish(action))
            case Stop():
                assert action.workload.daemon_id == DAEMON
                self._spawn(action, self._stop(action))
            case Remove():
                assert action.workload.daemon_id == DAEMON
                self._spawn(action, self._remove(action))
            case Release():
                self._spawn(action, self._release(action))
            case EndRun():
                run = self.runs.pop(action.run_id)
                self.ended[run.run_id] = replace(run, outcome=action.outcome)

    def _start(self, attempt: Attempt) -> Task:
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
                self._end(name, (Phase.FAILED, Cause.START_FAILED, "gone"), None)
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
            self._end(name, (Phase.FAILED, Cause.START_FAILED, "gone"), None)
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

    def _in_the_way(self, host: RealHost, uuid: str, attempt_id: str) -> str | None:
        for workload in host.work.values():
            if workload.running and uuid in workload.gpus and workload.attempt_id != attempt_id:
                return f"{'our' if workload.daemon_id == DAEMON else 'their'} {workload.attempt_id}"
        for lease in host.look(self.now).leases:
            if lease.gpu == uuid and lease.attempt_id != attempt_id and not lease.stale:
                return f"{'our' if lease.daemon_id == DAEMON else 'their'} {lease.lease_id}"
        return "bob's process" if uuid in host.foreign or uuid in host.stuck else None

    def _finish(self, action: Finish) -> Task:
        yield
        if not self._reach(self.real[action.attempt.host]):
            return
        attempt = self._attempt(action.attempt.attempt_id)
        if attempt is not None and not attempt.phase.is_final:
            ended = conclude(attempt, action.stage, action.workload, boot_id=action.boot_id)
            self._end(attempt.attempt_id, ended, action.workload)

    def _stop(self, action: Stop) -> Task:
        attempt = self._attempt(action.workload.attempt_id)
        if attempt is not None and not attempt.phase.is_final and attempt.stop_reason is None:
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
        if action.phase is Phase.RUNNING:
            self._save(replace(attempt, phase=Phase.RUNNING))
        else:
            self._end(
                action.attempt_id, (action.phase, action.cause, action.detail), action.workload
            )

    # Small parts.

    def _reach(self, host: RealHost) -> bool:
        if not host.reachable or self.known[host.name].condition is not HostCondition.UP:
            self._lost_link(host.name)
            return False
        return True

    def _lost_link(self, name: str) -> None:
        before = self.known[name]
        if before.condition is HostCondition.UP:
            self.known[name] = replace(before, condition=HostCondition.UNREACHABLE, since=self.now)
            self.looks = [look for look in self.looks if look[1] != name]

    def _as_up(self, name: str, look: Look | None) -> Host:
        before = self.known[name]
        return replace(
            before,
            condition=HostCondition.UP,
            since=self.now,
            look=look,
            runtimes=("docker", "process"),
            cpus=4,
        )

    def _spawn(self, action: Action, task: Task) -> None:
        self.tasks[action.key] = task
        self._advance(action.key)

    def _advance(self, key: str) -> None:
        if next(self.tasks[key], self) is self:
            del self.tasks[key]

    def _any_host(self) -> RealHost:
        return self.rng.choice(list(self.real.values()))

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

    # What must never be.

    def _check_start(self, action: Start) -> None:
        run = self.runs[action.attempt.run_id]
        assert run.cancelled_by is None
        assert all(a.attempt_id != action.attempt.attempt_id for a in run.attempts)
        assert all(a.phase.is_final for a in run.attempts if a.stage == action.stage.name)
        done = {a.stage for a in run.attempts if a.phase is Phase.SUCCEEDED}
        assert done.issuperset(action.stage.needs)
        assert action.stage.name not in done
        assert self.known[action.attempt.host].drained is None
        assert len(set(action.attempt.gpus)) == action.stage.resources.gpus

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

    def check(self) -> None:
        """Raises AssertionError when something is so that must never be."""
        held: dict[str, str] = {}
        for run in self.runs.values():
            for attempt in run.attempts:
                if attempt.phase.is_final:
                    continue
                for uuid in attempt.gpus:
                    assert uuid not in held, f"{uuid}: {held.get(uuid)} and {attempt.attempt_id}"
                    held[uuid] = attempt.attempt_id
        for host in self.real.values():
            alive: dict[str, str] = {}
            for workload in host.work.values():
                for uuid in workload.gpus if workload.running else ():
                    assert uuid not in alive, f"{uuid}: {alive.get(uuid)} and {workload.attempt_id}"
                    alive[uuid] = workload.attempt_id

    def calm_down(self, rounds: int = 150) -> None:
        """The world is kind again: every run has to end, and nothing of ours may be left."""
        self.calm = True
        for host in self.real.values():
            host.reachable = host.docker = True
            host.foreign.clear()
            host.stuck.clear()
            for gone in [a for a, w in host.work.items() if w.daemon_id == OTHER]:
                del host.work[gone]
            host.leases = {k: x for k, x in host.leases.items() if x.daemon_id == DAEMON}
        for name in self.known:
            self.known[name] = replace(self._as_up(name, self.known[name].look), drained=None)
        quiet = 0
        for _ in range(rounds):
            self.now += 5.0
            for key in list(self.tasks):
                while key in self.tasks:
                    self._advance(key)
            self.die()
            self.exit()
            for name, host in self.real.items():
                look = host.look(self.now)
                self.known[name] = replace(self.known[name], look=look)
            self.now += 0.1
            decided = self.decide()
            self.check()
            quiet = quiet + 1 if not decided.actions and not self.runs else 0
            if quiet > 2:
                break
        assert not self.runs, f"never ended: {[(r.run_id, r.attempts) for r in self.runs.values()]}"
        for host in self.real.values():
            assert not host.work, f"left over: {host.work}"
            assert not host.leases, f"left over: {host.leases}"


def moves(lab: RandomLab) -> dict[str, tuple[int, Callable[[], object]]]:
    """Every kind of step, with how often it happens."""
    return {
        "submit": (4, lab.submit),
        "decide": (14, lab.decide),
        "work": (16, lab.work),
        "look": (12, lab.look),
        "ask": (3, lab.ask),
        "answer": (3, lab.answer),
        "tick": (8, lab.tick),
        "jump": (1, lab.jump),
        "exit": (4, lab.exit),
        "die": (3, lab.die),
        "silence": (2, lab.silence),
        "heal": (4, lab.heal),
        "cancel": (1, lab.cancel),
        "vanish": (1, lab.vanish),
        "reboot": (1, lab.reboot),
        "intrude": (1, lab.intrude),
        "stick": (1, lab.stick),
        "docker_away": (1, lab.docker_away),
        "other_daemon": (1, lab.other_daemon),
        "drain": (1, lab.drain),
        "kill_daemon": (1, lab.kill_daemon),
    }


NAMES: Iterable[str] = [
    name for name, (weight, _) in moves(RandomLab(Random(0))).items() for _ in range(weight)
]
