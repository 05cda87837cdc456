"""A service of two processes behind a gateway on one host of the lab, with a request a second and
now and then a release: part of what `nemesis` breaks. `Serving.end` says what became of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from hostler.base.errors import HostlerError
from tests.chaos.history import Call, GrantSeen, ServiceEnd, SlotGivenBack
from tests.chaos.served import Asked, left_to_nobody
from tests.chaos.watch import Watch
from tests.chaos.work import living
from tests.e2e.test_lab_reach import put_haproxy
from tests.lab.host import Host
from tests.lab.layout import LabError
from tests.support.machines.desk import Desk, wait_until
from tests.support.programs import load

NAME, PORT = "web", 18480
ASK_EVERY_S = 1.0
REST_S = 180.0
"""Within which, once all is healed, as many replicas answer as are wanted."""
CONFIG = f"""
[gateway]
host = "HOST"
port = {PORT}
haproxy = "/home/ana/haproxy/usr/sbin/haproxy"
"""
FILE = f"""
name = "{NAME}"
[stages.serve]
kind = "service"
command = "exec python3 -S replica.py"
shell = true
health = {{ path = "/health", every = "1s" }}
startup = "60s"
drain = "2s"
replicas = 2
resources = {{ gpus = 1, cpus = 0.1, host = "HOST" }}
"""
_ASK = f"""
import http.client
gate = http.client.HTTPConnection("127.0.0.1", {PORT}, timeout=3)
gate.request("GET", "/{NAME}/")
print(gate.getresponse().status)
"""


def put_gateway(desk: Desk, host: Host) -> None:
    """Before its daemon begins: the host has HAProxy, and the config names it."""
    put_haproxy(host)
    with desk.config.open("a") as config:
        config.write(CONFIG.replace("HOST", host.name))


class Serving:
    """Begins with the first release."""

    def __init__(self, watch: Watch, host: Host) -> None:
        self._watch, self._desk, self._host = watch, watch.desk, host
        self._folder = self._desk.work / NAME
        self._folder.mkdir()
        shutil.copy(Path(load.__file__).with_name("replica.py"), self._folder)
        (self._folder / "pipeline.toml").write_text(FILE.replace("HOST", host.name))
        self._asked: list[Asked] = []
        self._over = threading.Event()
        self._version = 0
        self.deploy()
        self._asker = threading.Thread(target=self._ask_on, name="asker", daemon=True)
        self._asker.start()

    def deploy(self) -> None:
        """Another release, unless one is open."""
        self._version += 1
        begun, result, run_id = time.time(), "unknown", None
        words = ("--env", f"VERSION={self._version}", "-y", "-d", "--json", str(self._folder))
        with suppress(subprocess.TimeoutExpired):
            said = self._desk.hostler("deploy", *words, timeout=60)
            if said.code == 0:
                result, run_id = "ok", said.json["run_id"]
            elif said.code == 2:
                result = "fail"
        self._watch.recorder.add(Call(begun, time.time(), "submit", result, run_id))

    def _ask_on(self) -> None:
        while not self._over.wait(ASK_EVERY_S):
            at = time.time()
            self._asked.append(Asked(at, time.time(), self._answers()))

    def _answers(self) -> bool:
        """On the host itself: what is cut off is not the service."""
        try:
            said = self._host.exec(["python3", "-S", "-c", _ASK], check=False, timeout=30)
        except (LabError, subprocess.TimeoutExpired, OSError):  # as it reboots, or stands still
            return False
        return said.stdout.strip() == "200"

    def end(self) -> ServiceEnd:
        """Once all is healed: wait until it rests, note what was seen, and stop it."""
        problem = self._rest()
        self.close()
        runs = [row["run_id"] for row in self._watch.rows("SELECT run_id FROM releases")]
        attempts = {
            row["attempt_id"]
            for row in self._watch.rows("SELECT attempt_id, run_id FROM attempts")
            if row["run_id"] in runs
        }
        running, wanted = living(self._host, attempts), self._wanted()
        self._desk.hostler("stop", "-y", NAME)
        for missed in left_to_nobody(NAME, self._asked, self._watch.faults(), self._host.name):
            self._watch.recorder.add(missed)
        for grant in self._grants():
            self._watch.recorder.add(grant)
        return ServiceEnd(NAME, wanted, tuple(running), problem, tuple(runs), self._given_back())

    def close(self) -> None:
        """Ask no more; may be called twice."""
        self._over.set()
        self._asker.join()

    def _rest(self) -> str:
        try:
            wait_until(self._rests, f"{NAME} rests", REST_S)
        except AssertionError:
            said = (self._desk.hostler(*words).out for words in (("services",), ("releases", NAME)))
            return "\n".join(said)
        return ""

    def _rests(self) -> bool:
        try:
            releases = self._desk.ok("releases", NAME, "--json").json["releases"]
            found = self._desk.ok("services", "--json").json["services"]
        except (HostlerError, AssertionError):  # the daemon begins
            return False
        ready = [one["ready"] == one["wanted"] and one["state"] == "ready" for one in found]
        return not releases[0]["is_open"] and ready == [True] and self._answers()

    def _wanted(self) -> int:
        (row,) = self._watch.rows("SELECT replicas FROM services")
        return int(row["replicas"])

    def _grants(self) -> list[GrantSeen]:
        """Processes pass no referee: what the daemon has written down of them."""
        text = (
            "SELECT attempt_id, host, gpus, launched_at FROM attempts"
            " WHERE runtime = 'process' AND launched_at IS NOT NULL"
        )
        return [
            GrantSeen(r["launched_at"], r["host"], "process", r["attempt_id"],
                      tuple(json.loads(r["gpus"])), ())
            for r in self._watch.rows(text)
        ]  # fmt: skip

    def _given_back(self) -> tuple[SlotGivenBack, ...]:
        text = (
            "SELECT r.run_id, s.slot_index, s.at FROM release_steps s JOIN releases r"
            " ON r.service = s.service AND r.number = s.slot_release"
            " WHERE s.kind = 'drain' AND s.next_release IS NULL"
        )
        return tuple(
            SlotGivenBack(row["run_id"], f"serve.{row['slot_index']}", row["at"])
            for row in self._watch.rows(text)
        )
