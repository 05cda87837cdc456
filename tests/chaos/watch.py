"""Records what happens at a desk and in its lab, and hands the end of it to the checker.

watch = Watch(lab, desk, file)
run_id = watch.submit(STREAM)
with watch.recorder.fault("kill daemon"): ...
assert watch.end() == []
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from hostler.base.errors import HostlerError
from tests.chaos.canary import NAME, Canaries
from tests.chaos.checker import Violation, check
from tests.chaos.history import (
    AttemptEnd,
    Call,
    ContainerEnd,
    DockerCall,
    Fault,
    Final,
    GrantSeen,
    Recorder,
    Sample,
    ServiceEnd,
    Told,
    TrueExit,
    read,
)
from tests.chaos.work import TELLING, forget_told, living, told
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.support.machines.desk import Desk, wait_until

HERE = Path(__file__).resolve().parent
SAMPLE_S = 1.0
CLEAN_WITHIN_S = 10.0
"""Within which, once all has ended, no host may hold anything of Hostler's."""


def put_proxies(lab: Lab) -> None:
    """Let every host's dockerd, from now on, stand behind the recording proxy."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_put_proxy, lab.hosts))


def _put_proxy(host: Host) -> None:
    shutil.copy(HERE / "dockerproxy.py", host.paths.share / "dockerproxy")
    host.kill_docker()
    host.start_docker()


class Watch:
    """One history: begins with the desk's first call, ends with `end`."""

    def __init__(
        self, lab: Lab, desk: Desk, file: Path, *, others: Sequence[Desk] = (),
        every: float = SAMPLE_S,
    ) -> None:  # fmt: skip
        self.lab, self.desk = lab, desk
        self.desks = (desk, *others)
        """All whose runs are part of the history; the first one's view of the hosts is sampled."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.recorder = Recorder(file)
        self.canaries = Canaries(lab)
        self.foreign_attempts: set[str] = set()
        """Of other daemons on the same hosts."""
        self.refusals: list[str] = []
        """What clients said that told no id."""
        self.services: tuple[ServiceEnd, ...] = ()
        """How they ended, where there were any."""
        self._record = lab.paths.referee / "docker.jsonl"
        self._record.unlink(missing_ok=True)
        for host in lab.hosts:
            forget_told(host)
        self._every = every
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="sampler", daemon=True)
        self._sampler.start()

    def submit(self, file: Path, *words: str, desk: Desk | None = None) -> str | None:
        """Submit a pipeline file as a client would; its run id, where one was told."""
        begun = time.time()
        try:
            said = (desk or self.desk).hostler("run", "-d", "-q", *words, str(file), timeout=60)
        except subprocess.TimeoutExpired:
            self.recorder.add(Call(begun, time.time(), "submit", "unknown"))
            return None
        run_id = said.out.strip() or None
        if run_id is None:
            self.refusals.append(said.err)
        # 2: the daemon, or the client itself, said what is wrong with it. Anything else is open.
        result = "ok" if run_id else "fail" if said.code == 2 else "unknown"
        self.recorder.add(Call(begun, time.time(), "submit", result, run_id))
        return run_id

    def note_submit(self, begun: float, run_id: str) -> None:
        """A client that was killed: what it told counts, and what it did not may have happened."""
        result = "ok" if run_id else "unknown"
        self.recorder.add(Call(begun, time.time(), "submit", result, run_id or None))

    def recover(self) -> None:
        """Have a daemon again, and time how long it takes until it sees every host."""
        begun = time.time()
        wait_until(self._all_up, "a new daemon sees every host", 60)
        self.recorder.add(Call(begun, time.time(), "recover", "ok"))

    def _all_up(self) -> bool:
        try:
            return all(host["condition"] == "up" for host in self.desk.hosts())
        except (HostlerError, AssertionError):  # it died under the question
            return False

    def _sample(self) -> None:
        while not self._over.wait(self._every):
            if not (self.desk.state / "hostler.db").exists():
                continue
            at = time.time()
            with suppress(subprocess.TimeoutExpired, HostlerError, AssertionError):
                hosts = self.desk.gpus()
                self.recorder.add(
                    Sample(
                        at,
                        {h["host"]: h["condition"] for h in hosts},
                        {h["host"]: sum(g["state"] == "free" for g in h["gpus"]) for h in hosts},
                        time.time(),
                    )
                )

    def end(self, timeout: float = 120) -> list[Violation]:
        """Wait until all work has ended, write the end, and check the whole history."""
        for desk in self.desks:
            desk.hostler("ps")  # a daemon, if the last fault left none
        deadline = time.monotonic() + timeout
        while any(self.open_runs(desk) for desk in self.desks) and time.monotonic() < deadline:
            time.sleep(0.2)
        deadline = time.monotonic() + CLEAN_WITHIN_S
        while any(self._left()) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.close()
        for grant in self._grants():
            self.recorder.add(grant)
        exits = tuple(self._add_docker_calls())
        self.recorder.add(self._final(exits))
        return check(read(self.recorder.file))

    def close(self) -> None:
        """Stop sampling, where a test ended before its history did."""
        self._over.set()
        self._sampler.join()

    def open_runs(self, desk: Desk) -> int:
        """How many runs of a desk have no outcome yet, by its database."""
        return len(_rows(desk, "SELECT 1 FROM runs WHERE outcome IS NULL"))

    def faults(self) -> list[Fault]:
        """Those that are over."""
        return read(self.recorder.file).faults

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What the desks' databases answer."""
        return [row for desk in self.desks for row in _rows(desk, query)]

    def _final(self, exits: tuple[TrueExit, ...]) -> Final:
        columns = ", ".join(AttemptEnd.__dataclass_fields__)
        return Final(
            at=time.time(),
            runs={r["run_id"]: r["outcome"] for r in self.rows("SELECT * FROM runs")},
            attempts=tuple(
                AttemptEnd(**row) for row in self.rows(f"SELECT {columns} FROM attempts")
            ),
            containers=tuple(self._left()),
            exits=exits,
            canaries=self.canaries.end(),
            told=tuple(self._told()),
            telling=TELLING,
            services=self.services,
        )

    def _told(self) -> list[Told]:
        return [line for host in self.lab.hosts for line in told(host)]

    def _left(self) -> Iterator[ContainerEnd]:
        """What is on the hosts of Hostler's, containers and processes."""
        yield from self._containers()
        told = {line.attempt_id for line in self._told()}
        for host in self.lab.hosts:
            for attempt_id in living(host, told):
                yield ContainerEnd(host.name, f"(a process of {attempt_id})", attempt_id, True)

    def _containers(self) -> Iterator[ContainerEnd]:
        form = '{{.Names}}\t{{.State}}\t{{.Label "hostler.attempt"}}\t{{.ID}}'
        words = ("ps", "-a", "--filter", "label=hostler.attempt", "--format", form)
        for host in self.lab.hosts:
            for line in host.docker(*words).splitlines():
                name, state, attempt_id, ref = line.split("\t")
                # Docker lists what it removed while a health check failed for want of containerd.
                if not name and host.docker_lacks(ref):
                    continue
                yield ContainerEnd(host.name, name, attempt_id, state == "running")

    def _grants(self) -> list[GrantSeen]:
        """What the referee saw."""
        return [
            GrantSeen(
                grant.at,
                grant.host,
                grant.container,
                grant.labels.get("hostler.attempt", ""),
                grant.gpus,
                tuple(overlap.holder for overlap in grant.overlaps),
            )
            for grant in self.lab.grants()
            if grant.refused is None
        ]

    def _add_docker_calls(self) -> Iterator[TrueExit]:
        """Copies the proxies' record; gives the exits in it."""
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        entries = [json.loads(line) for line in lines]
        out_of_memory = {entry["attempt"] for entry in entries if entry["what"] == "oom"}
        for entry in entries:
            if entry["what"] == "die":
                attempt_id = entry["attempt"]
                if attempt_id not in self.foreign_attempts:
                    killed = attempt_id in out_of_memory
                    yield TrueExit(attempt_id, entry["code"], killed, entry["at"])
            elif "status" in entry and (entry["what"], entry["name"]) != ("create", NAME):
                self.recorder.add(DockerCall(**entry))


def _rows(desk: Desk, query: str) -> list[dict[str, Any]]:
    path = desk.state / "hostler.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query)]
