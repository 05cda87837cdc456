"""Random faults, one after another, on a lab of three with a stream of short stages and a service.

    python -m tests.chaos.nemesis --minutes 60 --seed 1 --keep .chaos

Faults, moments and hosts come from the seed. Every few minutes all is healed, the history ends and
is checked, and another begins: a violation is found near its cause. Exit 1 if there was any.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.chaos.checker import Violation
from tests.chaos.serving import Serving, put_gateway
from tests.chaos.trouble import sshd_killed
from tests.chaos.watch import Watch, put_proxies
from tests.chaos.work import STREAM, write
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.support.machines import haproxy
from tests.support.machines.desk import Desk, desk_folder
from tests.support.machines.labfixture import own_name

SEGMENT_S = 150.0
"""Of faults, before the history is ended and checked."""
SUBMIT_EVERY_S = 4.0
RELEASE_EVERY = 6
"""Runs of the stream after which the service gets another release."""


class Nemesis:
    """Carries out faults; each is over, and healed, when its method returns."""

    def __init__(self, watch: Watch, chance: random.Random) -> None:
        self._watch, self._chance = watch, chance
        self._faults: tuple[Callable[[Host], None], ...] = (
            self.cut, self.cut_one_way, self.freeze, self.kill_sshd, self.reboot,
            self.kill_daemon, self.stop_daemon, self.kill_agent, self.stop_agent,
            self.kill_docker, self.lose_gpu,
        )  # fmt: skip

    def strike(self) -> str:
        """One fault of chance; its name."""
        fault = self._chance.choice(self._faults)
        host = self._chance.choice(self._watch.lab.hosts)
        fault(host)
        return f"{fault.__name__} {host.name}"

    def cut(self, host: Host) -> None:
        """No packet either way, for a second or for half a minute."""
        with self._watch.recorder.fault("cut", host.name):
            host.cut()
            self._perhaps_kill_daemon(host)
            time.sleep(self._chance.choice((1, 5, 15, 30)))
            host.heal()

    def cut_one_way(self, host: Host) -> None:
        """What it hears, or what it says, is lost."""
        way = self._chance.choice(("in", "out"))
        with self._watch.recorder.fault(f"cut {way}", host.name):
            host.cut(way)
            time.sleep(self._chance.choice((5, 15)))
            host.heal()

    def freeze(self, host: Host) -> None:
        """Every process stands still, as on a host whose disk hangs."""
        with self._watch.recorder.fault("freeze", host.name):
            host.freeze()
            self._perhaps_kill_daemon(host)
            time.sleep(self._chance.choice((1, 5, 15)))
            host.thaw()

    def kill_sshd(self, host: Host) -> None:
        """kill -9 of sshd with all its sessions, which is away for a moment."""
        with self._watch.recorder.fault("sshd", host.name), sshd_killed(host):
            time.sleep(self._chance.uniform(0, 15))

    def reboot(self, host: Host) -> None:
        """The power goes, and comes back."""
        with self._watch.recorder.fault("power", host.name):
            host.reboot()
        self._watch.canaries.plant(host)

    def kill_daemon(self, host: Host) -> None:
        """kill -9; the next client starts another."""
        with self._watch.recorder.fault("kill daemon"):
            self._watch.desk.kill_daemon()

    def stop_daemon(self, host: Host) -> None:
        """It stands still, and goes on."""
        with self._watch.recorder.fault("stop daemon"):
            for number in (signal.SIGSTOP, signal.SIGCONT):
                with suppress(FileNotFoundError, ProcessLookupError):  # the last fault left none
                    os.kill(self._watch.desk.daemon_pid(), number)
                if number == signal.SIGSTOP:
                    time.sleep(self._chance.choice((1, 5, 20)))

    def _perhaps_kill_daemon(self, host: Host) -> None:
        """Inside another fault: the next daemon begins with a host that it cannot see whole."""
        if self._chance.random() < 0.3:
            self.kill_daemon(host)

    def kill_agent(self, host: Host) -> None:
        """kill -9 of all that runs of the agent on a host."""
        with self._watch.recorder.fault("kill agent", host.name):
            signal_agents(host, "KILL")

    def stop_agent(self, host: Host) -> None:
        """All that runs of the agent stands still, and goes on."""
        with self._watch.recorder.fault("stop agent", host.name):
            signal_agents(host, "STOP")
            time.sleep(self._chance.choice((1, 5, 15)))
            signal_agents(host, "CONT")

    def lose_gpu(self, host: Host) -> None:
        """One falls off the bus, and is back later."""
        index = self._chance.choice((0, 1, 2))
        with self._watch.recorder.fault("gpu lost", host.name):
            host.gpus.lose(index)
            time.sleep(self._chance.choice((1, 5, 15)))
            host.gpus.recover(index)

    def kill_docker(self, host: Host) -> None:
        """kill -9 of dockerd, which is away for a moment; its containers end as it comes back."""
        with self._watch.recorder.fault("kill docker", host.name):
            host.kill_docker()
            self._perhaps_kill_daemon(host)
            time.sleep(self._chance.uniform(0, 10))
            host.start_docker()
        self._watch.canaries.plant(host)


def segment(lab: Lab, file: Path, seconds: float, chance: random.Random) -> list[Violation]:
    """One history: faults for that long, then the end of all work."""
    lab.reset()
    with desk_folder() as home:
        desk, gate = Desk.at_lab(lab, home), lab.hosts[0]
        has_service = haproxy.can_run()
        if has_service:
            put_gateway(desk, gate)
        watch = Watch(lab, desk, file)
        serving = Serving(watch, gate) if has_service else None
        over = threading.Event()
        stream = threading.Thread(target=_submit, args=(watch, serving, over), daemon=True)
        stream.start()
        try:
            nemesis, end = Nemesis(watch, chance), time.monotonic() + seconds
            while time.monotonic() < end:
                print(f"{time.strftime('%H:%M:%S')} {nemesis.strike()}", flush=True)
                time.sleep(chance.uniform(0, 8))
            over.set()
            stream.join()
            watch.recover()
            watch.services = (serving.end(),) if serving is not None else ()
            found = watch.end(timeout=300)
            if found:
                file.with_suffix(".txt").write_text(situation(lab, desk))
            return found
        finally:
            over.set()
            if serving is not None:
                serving.close()
            watch.close()
            (file.with_suffix(".daemon.log")).write_text(desk.log())
            desk.close()


def signal_agents(host: Host, name: str) -> None:
    """A signal to all that runs of the agent on a host; none is no error."""
    host.exec(["pkill", f"-{name}", "-u", "ana", "-f", "hostler_agent"], check=False)


def situation(lab: Lab, desk: Desk) -> str:
    """What people would look at next, while it is still there."""
    said = [desk.hostler("ps").out, desk.hostler("hosts", "--json").out]
    for run in desk.ok("runs", "--state", "open", "--json").json["runs"]:
        said.append(desk.hostler("why", run["run_id"]).out)
    for host in lab.hosts:
        said.append(host.docker("ps", "-a"))
        said.append(host.exec(["sh", "-c", "ps ax; tail -n 50 /var/log/dockerd.log"]).stdout)
    return "\n".join(said)


def _submit(watch: Watch, serving: Serving | None, over: threading.Event) -> None:
    file = write(watch.desk.work, "stream", STREAM)
    for number in itertools.count(1):
        watch.submit(file)
        if serving is not None and number % RELEASE_EVERY == 0:
            serving.deploy()
        if over.wait(SUBMIT_EVERY_S):
            return


def main(argv: list[str]) -> int:
    """Run it; how many violations there were, at most 100."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.nemesis")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, default=Path(".chaos"))
    options = parser.parse_args(argv)
    chance, end = random.Random(options.seed), time.monotonic() + options.minutes * 60
    lab, found, number = Lab.up(3, name=own_name("n"), owned=True), 0, 0
    try:
        put_proxies(lab)
        while time.monotonic() < end:
            number += 1
            file = options.keep / f"nemesis-{options.seed}-{number:03}.jsonl"
            file.unlink(missing_ok=True)
            left = min(SEGMENT_S, max(20.0, end - time.monotonic()))
            for violation in segment(lab, file, left, chance):
                found += 1
                print(f"{file}: {violation.invariant}: {violation.text}", flush=True)
    finally:
        lab.down()
    print(f"seed {options.seed}: {number} histories in {options.keep}, {found} violations")
    return min(found, 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
