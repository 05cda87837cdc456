"""GPU faults (XIDs), sent as soon as the driver reports them, and the words for what each XID
number means."""

from __future__ import annotations

import ctypes
import threading
import time
from typing import TYPE_CHECKING, Callable, Dict, Iterable, Optional

from hostler_agent.gpu_readings import Handle
from hostler_agent.json_values import Outgoing
from hostler_agent.nvml import Device
from hostler_agent.sampler import Sampler

if TYPE_CHECKING:
    import pynvml
else:
    from hostler_agent.nvml_binding import pynvml

_WAIT_MS = 5000
_AGAIN_S = 1.0
_TIMEOUT = 10
_MEANINGS = {
    13: "graphics engine exception: mostly a fault of the program",
    31: "memory page fault: mostly a fault of the program",
    43: "the GPU stopped processing",
    45: "the program was removed from the GPU",
    48: "double-bit ECC error",
    61: "internal micro-controller breakpoint",
    62: "internal micro-controller halt",
    63: "a memory row is being remapped",
    64: "a memory row could not be remapped",
    69: "graphics engine class error",
    74: "NVLink error",
    79: "the GPU has fallen off the bus",
    92: "many single-bit ECC errors",
    94: "contained ECC error",
    95: "uncontained ECC error",
    119: "the GPU's system processor does not answer",
    120: "the GPU's system processor failed",
}


class Faults:
    """A thread that waits for XIDs; it ends if the driver has no events at all.

    The daemon knows what each XID means for placement (`hostler.model.xids`).
    """

    def __init__(self, sampler: Sampler, push: Callable[[Outgoing], None]) -> None:
        self._sampler = sampler
        self._push = push
        self._started = False

    def start(self) -> None:
        """Start the thread if there are GPUs. If there are none yet, call this again later."""
        if not self._started and self._sampler.devices:
            self._started = True
            threading.Thread(target=self._run, daemon=True, name="xid").start()

    def _run(self) -> None:
        while True:
            begun = time.monotonic()
            try:
                events = pynvml.nvmlEventSetCreate()
            except pynvml.NVMLError:
                return  # this driver has no events: only looks show lost GPUs
            try:
                self._follow(events)
            finally:
                try:
                    pynvml.nvmlEventSetFree(events)
                except pynvml.NVMLError:
                    pass  # the library was unloaded meanwhile
            # If it had worked so far, it registers again at once: later faults, often with the same
            # cause, would otherwise not be reported.
            if time.monotonic() - begun < _AGAIN_S:
                time.sleep(_AGAIN_S)

    def _follow(self, events: pynvml.c_nvmlEventSet_t) -> None:
        """Wait for events and report them until the event set fails: one lost GPU breaks it for
        all."""
        registered: Dict[Optional[int], Device] = {}
        while True:
            self._register(events, registered)
            if not registered:
                time.sleep(_WAIT_MS / 1000.0)
                continue
            try:
                event = pynvml.nvmlEventSetWait_v2(events, _WAIT_MS)
            except pynvml.NVMLError as error:
                if error.value == _TIMEOUT:
                    continue
                return
            self._tell(event, registered.values())

    def _register(
        self, events: pynvml.c_nvmlEventSet_t, registered: Dict[Optional[int], Device]
    ) -> None:
        """Register GPUs that are new, or that are back after they were lost."""
        for device in self._sampler.devices:
            handle = device.handle
            if handle is None or _address(handle) in registered or device.stuck_since is not None:
                continue
            try:
                pynvml.nvmlDeviceRegisterEvents(
                    handle, pynvml.nvmlEventTypeXidCriticalError, events
                )
            except pynvml.NVMLError:
                continue  # this GPU does not support it, or is lost
            registered[_address(handle)] = device

    def _tell(self, event: pynvml.c_nvmlEventData_t, devices: Iterable[Device]) -> None:
        address = _address(event.device)
        for device in devices:
            if _address(device.handle) == address:
                xid = int(event.eventData)
                message = "XID %d: %s" % (xid, _MEANINGS.get(xid, "see NVIDIA's list of XIDs"))
                self._push({"xid": {"gpu": device.uuid, "xid": xid, "message": message}})


def _address(handle: Handle) -> Optional[int]:
    return None if handle is None else ctypes.cast(handle, ctypes.c_void_p).value
