"""Simulated users and faults of the demo: who uses GPUs without Hostler, which card fails, which
host drops out, and when."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from hostler.base.units import GIB
from hostler.model.jobs import Claim
from hostler.sim.claims import bind_leases, claim_gpus
from hostler.sim.host import SimHost

Script = Callable[[float], None]

HOSTILE_COMMAND = "python [/red]\x1b]52;c;ZXZpbA==\x07\x1b[2J \u202egpj.train"
"""Users may give a process any name; it has to be shown safely."""

_PEOPLE = ("mira", "tomas", "yuki", "bob")


class Faults:
    """Problems of one host of the demo."""

    def __init__(self, host: SimHost) -> None:
        self._host = host
        self._trouble = host.trouble

    def cut(self) -> None:
        """Cut the connection; running work continues. Noticed after `Pace.notice`."""
        if self._trouble.cut_since is None:
            self._trouble.cut_since = time.monotonic()
            self._host.bell.ring()

    def heal(self) -> None:
        """Messages get through again; those of connections that were not closed arrive late."""
        self._trouble.cut_since = None
        self._host.bell.ring()

    def heal_quietly(self) -> None:
        """The same, also for a host that is not cut."""
        if self._trouble.cut_since is not None and not self._trouble.off:
            self.heal()

    def lose_gpu(self, index: int) -> None:
        """A GPU falls off the bus: work on it fails, and an XID is reported."""
        host, gpu = self._host, self._host.gpus[index]
        host.advance()
        gpu.problem = "lost"
        for listener in tuple(host.listeners):
            message = "GPU has fallen off the bus"
            listener({"xid": {"gpu": gpu.uuid, "xid": 79, "message": message}})
        for work in host.users_of(gpu):
            work.last_words = "RuntimeError: CUDA error: GPU is lost"
            host.end(work, host.clock.now(), 1)


def works_by_hand(host: SimHost, index: int, seed: int = 0) -> Script:
    """A person who uses a card for a part of each period, without Hostler, but never one that
    Hostler uses."""
    chance = _bytes(host, index, seed)
    user, gpu = _PEOPLE[chance[0] % len(_PEOPLE)], host.gpus[index]
    period, part, shift = 300.0 + 4 * chance[1], 0.3 + chance[2] / 600, 10.0 * chance[3]
    memory = int(gpu.memory_total * (0.3 + chance[4] / 512))
    begun: list[int] = []

    def script(now: float) -> None:
        wanted = (now + shift) % period < part * period and not host.trouble.off
        if begun and begun[0] not in host.by_hand:
            begun.clear()
        if wanted and not begun and not host.users_of(gpu) and not _is_leased(host, gpu.uuid):
            begun.append(host.start_by_hand(gpu.uuid, user, memory))
        elif begun and not wanted:
            host.by_hand.pop(begun.pop(), None)

    return script


def own_daemon(host: SimHost, index: int, seed: int = 0) -> Script:
    """A colleague whose own Hostler runs one job after the other on a card, with leases."""
    chance = _bytes(host, index, seed)
    user, gpu = _PEOPLE[chance[5] % len(_PEOPLE)], host.gpus[index % len(host.gpus)]
    daemon_id = hashlib.sha256(user.encode()).hexdigest()[:32]
    period = 200.0 + 2 * chance[6]
    made: list[str] = []

    def script(now: float) -> None:
        number = int(now / period)
        attempt_id = f"{user}{number:x}-train-{host.name}-1"
        for old in made:
            _give_back(host, old)
        if host.trouble.off or attempt_id in made or any(old in host.works for old in made):
            return
        made[:] = [attempt_id]
        claim = Claim((gpu.uuid,), attempt_id, daemon_id, user, memory_floor=GIB, ignore=())
        leases = claim_gpus(host, claim).lease_ids
        if leases:
            asked = {"attempt_id": attempt_id, "daemon_id": daemon_id, "owner": user}
            host.create({**asked, "run_id": f"{user}{number:x}", "gpus": [gpu.uuid]})
            bind_leases(host, list(leases), attempt_id, claim)
            host.start(attempt_id, {"SIM": f"seconds={0.8 * period} memory=0.{4 + chance[7] % 5}"})

    return script


def _give_back(host: SimHost, attempt_id: str) -> None:
    work = host.works.get(attempt_id)
    if work is not None and not work.running:
        host.remove(attempt_id)
        host.release([x.lease_id for x in host.leases.values() if x.attempt_id == attempt_id])


def card_fails(faults: Faults, index: int, after: float) -> Script:
    """A card that falls off the bus, once, this long after the beginning."""
    begin: list[float] = []
    failed: list[float] = []

    def script(now: float) -> None:
        if not begin:
            begin.append(now)
        if not failed and now - begin[0] >= after:
            failed.append(now)
            faults.lose_gpu(index)

    return script


def _bytes(host: SimHost, index: int, seed: int) -> bytes:
    return hashlib.sha256(f"{host.name}/{index}/{seed or ''}".rstrip("/").encode()).digest()


def _is_leased(host: SimHost, uuid: str) -> bool:
    return any(lease.gpu == uuid for lease in host.leases.values())


def drops_out(faults: Faults, every: float, lasts: float, first: float) -> Script:
    """A host that loses its network from time to time."""
    begin: list[float] = []

    def script(now: float) -> None:
        if not begin:
            begin.append(now)
        passed = now - begin[0] - first
        if passed >= 0 and passed % every < lasts:
            faults.cut()
        else:
            faults.heal_quietly()

    return script
