"""GPU faults (XIDs), told the moment the driver reports them."""

from __future__ import annotations

import ctypes
import threading
from typing import Any, Callable, Dict, List

import pynvml

from hostler_agent.sampler import Sampler

_WAIT_MS = 5000
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
    """A thread that waits for XIDs; it ends by itself where the driver has no events."""

    def __init__(self, sampler: Sampler, push: Callable[[Dict[str, Any]], None]) -> None:
        self._sampler = sampler
        self._push = push
        self._started = False

    def start(self) -> None:
        """Begin to wait, once there are GPUs; to be called again until then."""
        if not self._started and self._sampler.devices:
            self._started = True
            threading.Thread(target=self._run, daemon=True, name="xid").start()

    def _run(self) -> None:
        try:
            events = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError:
            return
        devices = [d for d in self._sampler.devices if d.handle is not None]
        registered = []
        for device in devices:
            try:
                pynvml.nvmlDeviceRegisterEvents(
                    device.handle, pynvml.nvmlEventTypeXidCriticalError, events
                )
                registered.append(device)
            except pynvml.NVMLError:
                continue  # not supported by this GPU, or it is lost
        while registered:
            try:
                event = pynvml.nvmlEventSetWait_v2(events, _WAIT_MS)
            except pynvml.NVMLError as error:
                if error.value == _TIMEOUT:
                    continue
                return
            self._tell(event, registered)

    def _tell(self, event: Any, devices: List[Any]) -> None:
        address = _address(event.device)
        for device in devices:
            if _address(device.handle) == address:
                xid = int(event.eventData)
                message = "XID %d: %s" % (xid, _MEANINGS.get(xid, "see NVIDIA's list of XIDs"))
                self._push({"xid": {"gpu": device.uuid, "xid": xid, "message": message}})


def _address(handle: Any) -> Any:
    return ctypes.cast(handle, ctypes.c_void_p).value
