"""The long-lived agent of one daemon: one loop that answers looks, pushes ends of jobs, ends after
silence, and never waits for a GPU, Docker or a job.

The loop itself answers looks. Requests that may take time run in threads of their own.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
import threading
import time
from typing import Dict, List, Optional

from hostler_agent import keeping, wire
from hostler_agent.claims import Claims
from hostler_agent.containers import Containers
from hostler_agent.failpoints import failpoint
from hostler_agent.faults import Faults
from hostler_agent.folders import Folders, Refusal
from hostler_agent.generations import Generations
from hostler_agent.jobs import Jobs
from hostler_agent.json_values import Json, Message, Outgoing
from hostler_agent.leases import TOUCH_EVERY, Leases
from hostler_agent.look_sections import Workload
from hostler_agent.looks import Looks
from hostler_agent.machine import Machine, boot_id, docker_gpu, facts
from hostler_agent.pool import Pool
from hostler_agent.processes import Processes
from hostler_agent.sampler import Sampler
from hostler_agent.spawner import Spawner
from hostler_agent.verbs import Verbs

HELLO_PATIENCE = 1.5
"""Seconds that the hello waits for the versions of NVML and Docker."""


class Agent:
    """The main loop and its parts."""

    def __init__(
        self,
        version: str,
        folders: Folders,
        spawner: Optional[Spawner],
        daemon_id: str,
        generations: Optional[Generations] = None,
    ) -> None:
        self._version = version
        self._folders = folders
        self._daemon_id = daemon_id
        self._boot = boot_id()
        self._state = threading.RLock()
        """Held by the thread that assembles looks: the loop, or the thread that read the last
        part."""
        self._news = threading.Event()
        self._output = threading.Lock()
        self._early: Optional[List[Outgoing]] = []
        """Messages that threads sent before the hello. They follow the hello, which is the first
        line. None after the hello."""
        self._sampler = Sampler(self._wake)
        notes = keeping.Notes(keeping.notes_folder(folders))
        self._containers = Containers(self._wake, self._push_exit, notes.by_ref)
        self._jobs = Jobs(folders, self._boot, spawner, self._indices)
        self._leases = Leases(folders.leases)
        self._looks = Looks(
            self._boot, self._sampler, self._containers, self._jobs, self._leases,
            Machine(lambda: runtime_folders(folders, self._containers.info)), Processes(),
            daemon_id, notes,
        )  # fmt: skip
        claims = Claims(self._leases, self._looks.sight())
        self._verbs = Verbs(
            folders, version, self._jobs, claims, self._containers, self._sampler, generations
        )
        self._faults = Faults(self._sampler, self._push)
        self._encoder = wire.LookEncoder()
        self._waiting: List[Json] = []
        self._next: List[Json] = []
        """Requests for a look that came during another look. The data of that look may be older
        than these requests."""
        self._pool = Pool()
        self._told: Dict[str, Workload] = {}
        self._socket: Optional[socket.socket] = None

    def once(self) -> None:
        """Send the hello and one look."""
        self._containers.start(events=False)
        self._greet()
        self._look(0)
        while self._waiting:
            self._news.wait(self._timeout(None))
            self._news.clear()
            self._answer_looks()

    def serve(self) -> None:
        """Answer requests until EOF on stdin, or until the daemon is silent for too long."""
        self._containers.start()
        listening = self._listen()
        self._jobs.table.list()  # ends from now on are reported
        try:
            self._greet()
            gc.freeze()  # `main` has disabled the collection
            gc.enable()
            self._socket = listening
            self._faults.start()
            self._loop(listening)
        finally:
            listening.close()
            os.unlink(self._socket_path())

    def _greet(self) -> None:
        self._sampler.start()
        self._containers.refresh()
        until = time.monotonic() + HELLO_PATIENCE
        while time.monotonic() < until:
            now = time.monotonic()
            if self._sampler.poll(now) and self._containers.ready(now):
                break
            self._news.wait(until - now)
            self._news.clear()
        found = facts()
        nvml, docker = self._sampler.nvml, self._containers
        found["driver"], found["cuda"] = nvml.driver, nvml.cuda
        found["runtimes"] = ["process"]
        if docker.version:
            found["docker"], found["docker_gpu"] = docker.version, docker_gpu(docker.info)
            if docker.raises_limits is False:
                found["docker_limits"] = False
        if docker.version or docker.usable():  # may hold GPUs even without an answer now
            found["runtimes"] = ["docker", "process"]
        hello = {
            "protocol": wire.PROTOCOL, "agent": self._version, "boot_id": self._boot,
            "facts": found, "docker_socket": docker.path,
        }  # fmt: skip
        with self._output:
            early, self._early = self._early or [], None
            self._write_held(b"".join(map(wire.encode, [{"hello": hello}, *early])))

    def _loop(self, notices: socket.socket) -> None:
        reader = wire.LineReader()
        heard = time.monotonic()
        touched = -TOUCH_EVERY
        poller = select.poll()
        for descriptor in (0, notices.fileno()):
            poller.register(descriptor, select.POLLIN)
        while True:
            now = time.monotonic()
            if now - heard > wire.SILENCE:
                return
            if now - touched > TOUCH_EVERY:
                touched = now
                threading.Thread(target=self._touch, daemon=True, name="touch").start()
            left = self._timeout(heard + wire.SILENCE - now)
            ready = {d for d, _ in poller.poll(None if left is None else left * 1000 + 1)}
            if notices.fileno() in ready:
                self._jobs.table.touch(notices.recv(4096).decode("ascii", "replace"))
                with self._state:
                    self._push_ended(self._jobs.table.list()[1])
            if 0 in ready:
                data = os.read(0, 65536)
                if not data:
                    return
                heard = time.monotonic()
                for line in reader.feed(data):
                    self._request(line)
            elif self._waiting:
                self._answer_looks()  # a part hangs: its time limit has passed

    def _touch(self) -> None:
        """Touch this daemon's leases. Runs in a separate thread, because another process may hold
        the lock of all leases."""
        try:
            self._leases.touch(self._daemon_id)
        except (Refusal, OSError) as error:  # it is repeated later
            sys.stderr.write("hostler agent: leases are not touched: %s\n" % error)

    def _timeout(self, most: Optional[float]) -> Optional[float]:
        if not self._waiting and most is not None:
            return max(0.0, most)
        now = time.monotonic()
        times = (self._sampler.timeout(now), self._containers.timeout(now), most)
        known = [t for t in times if t is not None]
        return max(0.0, min(known)) if known else None

    def _wake(self) -> None:
        """Answer pending looks. The thread that has just finished its part of a look calls this."""
        if self._socket is None:
            self._news.set()
        if self._waiting:
            try:
                self._answer_looks()
            except BrokenPipeError:
                pass  # the loop ends at EOF
            except Exception:
                # Without this thread, every later look would wait forever. So this agent ends, and
                # a new one starts; jobs continue.
                import traceback

                sys.stderr.write("hostler agent: %s" % traceback.format_exc())
                os._exit(1)

    def _look(self, number: Json) -> None:
        """Begin a look; it is answered when all its parts are complete."""
        with self._state:
            if self._waiting:
                self._next.append(number)
                return
            self._waiting.append(number)
            self._sampler.start()
            self._containers.refresh()
        # A running reader answers by itself; a call now would only slow it down.
        if not self._sampler.under_way:
            self._answer_looks()

    def _request(self, line: bytes) -> None:
        try:
            request = wire.decode_line(line)
        except ValueError as error:
            sys.stderr.write("hostler agent: a line was dropped: %s\n" % error)
            return
        number = request.get("id")
        if "look" in request:
            self._look(number)
            return
        if "ping" in request:
            self._send({"id": number, "ok": {}})
            return
        self._pool.run(lambda: self._serve_one(number, request))

    def _serve_one(self, number: Json, request: Message) -> None:
        try:
            self._send({"id": number, "ok": self._verbs.run(request)})
        except Refusal as refusal:
            self._refuse(number, refusal)
        except BrokenPipeError:
            pass  # the loop notices it too
        except Exception as error:
            self._refuse(number, Refusal("%s: %s" % (type(error).__name__, error)))

    def _refuse(self, number: Json, refusal: Refusal) -> None:
        self._push({"id": number, "error": refusal.to_wire()})

    def _answer_looks(self) -> None:
        """Answer the pending looks if all their parts are complete."""
        with self._state:
            now = time.monotonic()
            if not self._waiting or not self._sampler.poll(now) or not self._containers.ready(now):
                return
            sections, ended = self._looks.sections()
            for number in self._waiting:
                self._write(self._answer(number, sections))
            self._waiting, self._next = self._next, []
            if self._waiting:
                self._sampler.start()
                self._containers.refresh()
            more = bool(self._waiting)
        if self._socket is not None:
            self._faults.start()
        self._push_ended(ended)
        if more:
            self._answer_looks()  # no part wakes it if there is nothing to wait for

    def _answer(self, number: Json, sections: Outgoing) -> bytes:
        """Return a look as a line, or an error if the look is too long for a line: the daemon must
        not wait for an answer that never comes."""
        try:
            return self._encoder.line(number, sections)
        except ValueError as error:
            self._encoder = wire.LookEncoder()  # the daemon did not get this look
            problem = {"kind": "AgentError", "message": "a look cannot be sent: %s" % error}
            return wire.encode({"id": number, "error": problem})

    def _push_ended(self, ended: List[Workload]) -> None:
        for workload in ended:
            self._push_exit(workload)

    def _push_exit(self, workload: Workload) -> None:
        if self._told.get(workload["ref"]) != workload:
            failpoint("after_exit_seen")
            self._told[workload["ref"]] = workload
            while len(self._told) > 1000:
                del self._told[next(iter(self._told))]
            if workload["runtime"] == "process":
                self._push({"exit": workload, "left": self._jobs.left(workload["attempt_id"])})
            else:
                self._push({"exit": workload})

    def _push(self, message: Outgoing) -> None:
        with self._output:
            if self._early is not None:
                self._early.append(message)
                return
        try:
            self._send(message)
        except BrokenPipeError:
            pass  # called by a helper thread: the loop ends at EOF

    def _send(self, message: Outgoing) -> None:
        self._write(wire.encode(message))

    def _write(self, data: bytes) -> None:
        with self._output:
            self._write_held(data)

    def _write_held(self, data: bytes) -> None:
        """Write to stdout. The caller holds the lock of the output."""
        done = os.write(1, data)
        while done < len(data):
            done += os.write(1, data[done:])

    def _indices(self) -> Dict[str, int]:
        return {device.uuid: device.index for device in self._sampler.devices}

    def _socket_path(self) -> str:
        return os.path.join(self._folders.notify, "%d.sock" % os.getpid())

    def _listen(self) -> socket.socket:
        path = self._socket_path()
        if os.path.lexists(path):
            os.unlink(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listening.bind(path)
        return listening


def runtime_folders(folders: Folders, docker: Message) -> Dict[str, str]:
    """The folders that the workloads of each runtime write to. `docker`: what the Docker engine
    reports."""
    root = docker.get("DockerRootDir")
    known = isinstance(root, str) and root.startswith("/")
    return {"process": folders.base, "docker": str(root) if known else "/var/lib/docker"}
