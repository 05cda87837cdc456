"""A lab that is as unkind as the world: slow starts, late stops, stale looks, silent hosts,
vanishing containers, reboots, foreign processes, lost replies, a daemon that is killed.

`RandomLab` plays it against `plan`, one small step at a time, and checks after each step what must
never happen. It keeps two worlds apart: what is really so on the hosts, and what the daemon knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from tests.support.worlds.random_daemon import Daemon
from tests.support.worlds.random_world import DAEMON, OTHER


class RandomLab(Daemon):
    """The lab, the daemon's memory of it, and one step of either at a time."""

    def check(self) -> None:
        """Raises AssertionError when something is so that must never be."""
        held: dict[str, str] = {}
        for run in self.runs.values():
            for attempt in run.attempts:
                if not attempt.phase.is_at_work:
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
        for host in self.real.values():
            host.reachable = host.docker = host.starts = True
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
        "ail": (1, lab.ail),
        "kill_daemon": (1, lab.kill_daemon),
    }


NAMES: Iterable[str] = [
    name for name, (weight, _) in moves(RandomLab(Random(0))).items() for _ in range(weight)
]
