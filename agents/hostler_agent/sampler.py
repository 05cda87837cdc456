"""Reads all GPUs without waiting for one that hangs: how long a GPU may take to answer, and how
often slow values are read.

Usually one thread reads the GPUs one after the other. If a GPU does not answer in time, that thread
stays with it, and other threads read the other GPUs, one thread each.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Callable, Dict, List, Optional, Sequence

from hostler_agent.machine import gpus_without_driver
from hostler_agent.nvml import Device, Failed, Nvml, Reading

DEADLINE = 1.0
"""Seconds for reading all GPUs once."""
FIRST_DEADLINE = 2.0
"""The same while NVML or a GPU has not answered yet: without persistence mode this takes long."""
SLOW_EVERY = 10.0
"""Seconds between readings of slow values, and between checks for new or missing GPUs."""


class _Reader(threading.Thread):
    """A thread that reads GPUs until it is retired."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__(daemon=True, name="nvml")
        self.jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.busy = False
        self.opening = False
        self.at: Optional[Device] = None
        self.since = 0.0
        self.left: List[Device] = []
        self.retired = False
        self._sampler = sampler

    def run(self) -> None:
        while not self.retired:
            self.jobs.get()()

    def give(self, devices: Optional[Sequence[Device]], slow: bool) -> None:
        """Give the thread these devices to read. None: find the devices first, then read all."""
        self.busy, self.since = True, time.monotonic()
        self.opening = devices is None
        self.left = list(devices or ())
        self.jobs.put(lambda: self._work(slow))

    def _work(self, slow: bool) -> None:
        sampler = self._sampler
        if self.opening:
            sampler.open()
            with sampler.lock:
                self.left = sampler.healthy()
                self.opening = False
        while True:
            with sampler.lock:
                self.at = None
                if self.retired or not self.left:
                    self.busy = False
                    break
                device = self.left.pop(0)
                self.at, self.since = device, time.monotonic()
            device.read()
            if slow:
                device.read_slow()
            device.stuck_since = None
        sampler.wake()


class Sampler:
    """The GPUs of this machine. Only the main loop calls `start`, `poll`, `timeout` and `devices`;
    other threads call `read_now`. The readers call `wake` when `poll` may have a result."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.nvml = Nvml()
        self.lock = threading.Lock()
        self.wake = wake
        self._problem: Optional[str] = None
        self._opened = False
        self._readers: List[_Reader] = []
        self._deadline = 0.0
        self._alone = False
        self._next_slow = 0.0
        self._idle: Optional[_Reader] = None

    @property
    def devices(self) -> List[Device]:
        """The GPUs, by index; empty while NVML cannot be used."""
        return self.nvml.devices if self._opened else []

    @property
    def problem(self) -> Optional[str]:
        """Why no GPUs are known; None: no problem, so without devices the machine has no GPU."""
        idle = self._idle
        if idle is not None and idle.opening:
            return "NVML does not answer for %d s" % (time.monotonic() - idle.since)
        return self._problem

    def healthy(self) -> List[Device]:
        """The devices that are not known to hang."""
        return [d for d in self.devices if d.stuck_since is None]

    def open(self) -> None:
        """Find the devices, or their new state. Runs in a reader's thread."""
        try:
            if not self._opened or self.nvml.changed():
                self.nvml.open()
            self._problem, self._opened = None, True
        except Failed as error:
            self._opened = False
            plain = "not installed" in str(error) and not gpus_without_driver()
            self._problem = None if plain else str(error)

    def start(self) -> None:
        """Begin a reading of all GPUs. No effect while one is running."""
        now = time.monotonic()
        idle = self._idle
        if self._readers or (idle is not None and idle.busy and not idle.retired):
            return
        slow = now >= self._next_slow
        if slow:
            self._next_slow = now + SLOW_EVERY
        elif not self.devices:
            return
        reader = self._idle
        if reader is None or reader.retired:
            reader = self._idle = self._new()
        fresh = not self._opened or any(not d.answered for d in self.devices)
        self._alone = False
        self._deadline = now + (FIRST_DEADLINE if fresh else DEADLINE)
        self._readers = [reader]
        reader.give(None if slow else self.healthy(), slow)

    def _new(self) -> _Reader:
        reader = _Reader(self)
        reader.start()
        return reader

    @property
    def under_way(self) -> bool:
        """Whether readers are at work, or `poll` has not collected their results yet."""
        return bool(self._readers)

    def timeout(self, now: float) -> Optional[float]:
        """Seconds until `poll` must be called again; None: no reading is running."""
        return max(0.0, self._deadline - now) if self._readers else None

    def poll(self, now: float) -> bool:
        """True if no reading is running, or this call has ended it."""
        self._readers = [r for r in self._readers if r.busy]
        if self._readers and now >= self._deadline:
            self._give_up(now)
        return not self._readers

    def _give_up(self, now: float) -> None:
        """Leave devices that hang to their threads. Other threads read the devices that were queued
        behind them."""
        unread: List[Device] = []
        with self.lock:
            for reader in self._readers:
                if not reader.busy or reader.opening:
                    continue
                if reader.at is not None:
                    reader.at.stuck_since = reader.since
                    reader.retired = True
                unread += reader.left
                reader.left = []
        self._readers = []
        if self._alone or not unread:
            return
        self._alone = True
        self._deadline = now + DEADLINE
        for device in unread:
            reader = self._new()
            reader.give([device], slow=False)
            reader.jobs.put(_ender(reader))
            self._readers.append(reader)

    def read_now(self, devices: Sequence[Device]) -> Dict[str, Optional[Reading]]:
        """New readings by UUID, within `DEADLINE` seconds; None for devices that hang."""
        results: Dict[str, Optional[Reading]] = {d.uuid: None for d in devices}
        threads = []
        for device in devices:
            if device.stuck_since is None:
                thread = threading.Thread(target=_read_into, args=(results, device), daemon=True)
                thread.start()
                threads.append(thread)
        until = time.monotonic() + DEADLINE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return dict(results)


def _ender(reader: _Reader) -> Callable[[], None]:
    def end() -> None:
        reader.retired = True

    return end


def _read_into(results: Dict[str, Optional[Reading]], device: Device) -> None:
    results[device.uuid] = device.read()
