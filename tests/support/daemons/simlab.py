"""A small simulated lab, and the faults that tests do to its hosts. Each has its end, too."""

from __future__ import annotations

import time

from hostler.base.errors import EngineError, HostError
from hostler.base.units import GIB
from hostler.sim.clock import LabClock
from hostler.sim.lab import A100, Pace, SimLab
from hostler.sim.parts import SimGpu
from hostler.sim.people import Faults


class PatientClock(LabClock):
    """Time in which this process did not run hardly counts: where much else runs, a stage of a
    fraction of a second would else end before a test has looked at it."""

    MOST = 0.1
    """Real seconds that count between two looks at it. A lab looks more often."""

    def __init__(self, speed: float) -> None:
        super().__init__(speed)
        self._shown, self._seen = super().now(), time.monotonic()

    def now(self) -> float:
        """See `LabClock`."""
        seen = time.monotonic()
        passed, self._seen = seen - self._seen, seen
        self._shown += min(max(passed, 0.0), self.MOST) * self.speed
        return self._shown


def small_lab(
    hosts: int = 3, gpus: int = 2, pace: Pace | None = None, speed: float = 1.0
) -> SimLab:
    """A few equal, empty hosts named gpu1, gpu2, ...; by default as fast as tests want them."""
    quick = Pace(message=0.001, create=0.004, start=0.004, remove=0.002, claim=0.001,
                 notice=0.06, pulse=0.05)  # fmt: skip
    lab = SimLab(clock=PatientClock(speed), pace=pace or quick)
    for number in range(1, hosts + 1):
        lab.add_host(f"gpu{number}", [A100] * gpus, cpus=32, memory=256 * GIB)
    return lab


def faults_on(lab: SimLab, name: str) -> LabFaults:
    """What can be done to a host."""
    return LabFaults(lab.host(name))


class LabFaults(Faults):
    """Faults of one host that no demo shows."""

    def power_off(self) -> None:
        """The machine is down: all that ran is dead, and nobody says so."""
        host, trouble = self._host, self._trouble
        host.advance()
        self.cut()
        trouble.off = True
        now = host.clock.now()
        for work in host.works.values():
            if work.running:
                host.end(work, now, 255 if work.runtime == "docker" else None)
        host.by_hand.clear()

    def power_on(self) -> None:
        """The machine is up again, with another boot id and empty GPUs."""
        host, trouble = self._host, self._trouble
        host.boots += 1
        trouble.off, trouble.docker = False, None
        for gpu in host.gpus:
            gpu.problem, gpu.hung, gpu.kept, gpu.energy = None, False, 0, 0.0
        self.heal()

    def reboot(self) -> None:
        """Off and on again at once."""
        self.power_off()
        self.power_on()

    def docker_down(self, why: str = "the Docker daemon does not answer") -> None:
        """Docker does not answer; containers go on (live-restore)."""
        self._trouble.docker = why
        self._host.bell.ring()

    def docker_up(self) -> None:
        """Docker answers again, and tells what ended meanwhile."""
        self._trouble.docker = None
        self._host.bell.ring()

    def start_nothing(self, why: str = "containerd does not answer", gpus: bool = False) -> None:
        """Docker answers, and starts no container; with `gpus` none with GPUs."""
        if gpus:
            self._trouble.starts_no_gpus = why
        else:
            self._trouble.starts_nothing = why

    def start_again(self) -> None:
        """It starts containers again."""
        self._trouble.starts_nothing = self._trouble.starts_no_gpus = None

    def restart_docker(self) -> None:
        """Docker was restarted without live-restore: its containers were killed."""
        self._host.advance()
        for work in self._host.works.values():
            if work.running and work.runtime == "docker":
                work.engine_restarted = True
                self._host.end(work, self._host.clock.now(), 137)

    def slow(self, seconds: float) -> None:
        """Each message takes so many real seconds more; 0 ends it."""
        self._trouble.slow = seconds

    def refuse_login(self, why: str = "Permission denied (publickey)") -> None:
        """Logins are refused from now on."""
        self._trouble.refuses = why

    def accept_login(self) -> None:
        """Logins work again."""
        self._trouble.refuses = None

    def cut_off_from_gpus(self) -> None:
        """A reload of systemd: containers may not open their GPUs any more."""
        for work in self._host.works.values():
            if work.running and work.runtime == "docker" and work.gpus:
                work.cut_off = True
        self._host.bell.ring()

    def tell_xid(self, index: int, xid: int) -> None:
        """The driver reports a fault of a card that NVML goes on to read without complaint."""
        for listener in tuple(self._host.listeners):
            told = {"gpu": self._host.gpus[index].uuid, "xid": xid, "message": f"XID {xid}"}
            listener({"xid": told})

    def hang_gpu(self, index: int) -> None:
        """A card does not answer; what uses it cannot be killed."""
        gpu = self._gpu(index)
        gpu.problem, gpu.hung = "does not answer", True

    def mend_gpu(self, index: int) -> None:
        """A card works again."""
        gpu = self._gpu(index)
        gpu.problem, gpu.hung = None, False
        self._host.bell.ring()

    def keep_memory(self, index: int) -> None:
        """The memory of whatever ends on this card does not come back."""
        self._gpu(index).keeps = True

    def give_memory_back(self, index: int) -> None:
        """It comes back, and so does all that comes later."""
        gpu = self._gpu(index)
        gpu.keeps, gpu.kept = False, 0
        self._host.bell.ring()

    def start_by_hand(
        self, index: int, user: str = "bob", memory: int = 8 * 1024**3, image: str | None = None
    ) -> int:
        """Somebody uses a card without Hostler (in a container, where an image is named)."""
        return self._host.start_by_hand(self._gpu(index).uuid, user, memory, image=image)

    def end_by_hand(self, pid: int) -> None:
        """That ends."""
        self._host.by_hand.pop(pid, None)

    def take_at_claim(self, user: str = "bob", times: int = 1) -> None:
        """Somebody is faster: starts by hand on a GPU just before the next claim for it arrives."""
        self._trouble.taken_at_claim.extend([user] * times)

    def no_image(self, glob: str = "*") -> None:
        """The registry does not have these images."""
        self._trouble.no_image.append(glob)

    def slow_pull(self, seconds: float) -> None:
        """An image that is not there takes so many of the lab's seconds."""
        self._host.pull_seconds = seconds

    def no_output(self, glob: str = "*") -> None:
        """Stages do not write these outputs."""
        self._trouble.no_output.append(glob)

    def no_path(self, glob: str) -> None:
        """These folders do not exist on the host."""
        self._trouble.no_path.append(glob)

    def no_environment(self, glob: str) -> None:
        """These modules and conda environments do not exist on the host."""
        self._trouble.no_environment.append(glob)

    def lose_reply(self, verb: str, times: int = 1) -> None:
        """The next answers to this request get lost after it was carried out."""
        lost = self._trouble.lost_replies
        lost[verb] = lost.get(verb, 0) + times

    def fail(self, verb: str, error: HostError | None = None) -> None:
        """The next such request is answered with an error, without effect."""
        why = error or EngineError(self._host.name, "internal error", status=500)
        self._trouble.failures.setdefault(verb, []).append(why)

    def garbage(self, times: int = 1) -> None:
        """The next looks are answered with nonsense."""
        self._trouble.garbage += times

    def vanish(self, attempt_id: str) -> None:
        """A workload is removed by hand, by force and without a trace."""
        self._host.advance()
        work = self._host.works.pop(attempt_id, None)
        if work is not None:
            work.ended_at = self._host.clock.now()
        self._host.bell.ring()

    def _gpu(self, index: int) -> SimGpu:
        return self._host.gpus[index]
