"""Reads GPUs through NVML: which errors mean a lost GPU, throttle reasons, MIG and prohibited mode,
wording where NVML fails; `gpu_readings` lists the values.

The functions are called through the library that pynvml has loaded, with pynvml's structures.
Prepared buffers replace its wrappers, which halves the cost of a look. Every field may be None. The
calls of one GPU may block for ever (a GPU that fell off the bus), so `sampler` makes them.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Set, Tuple, Union

from hostler_agent.deadline_thread import DeadlineThread
from hostler_agent.gpu_readings import Function, Handle, Number, absent, gauges, get
from hostler_agent.look_sections import GpuSlow, GpuValues
from hostler_agent.process_load import ProcessLoad
from hostler_agent.processes import Process

if TYPE_CHECKING:
    import pynvml
else:
    from hostler_agent.nvml_binding import pynvml

OPEN_DEADLINE = 4.0
"""Seconds in which a GPU must be opened: without persistence mode this takes two."""
_NOT_SUPPORTED = {3, 13, 25}  # also: the function or its version is missing
_LOST = {15: "lost", 16: "needs a reset"}
_NOT_INSTALLED = "the NVIDIA driver's library libnvidia-ml.so.1 is not installed"
_UNINITIALIZED = 1
_TOO_SMALL = 7
_NOT_AVAILABLE = 2**64 - 1
_THROTTLES = (
    (0x04, "power cap"), (0x08, "hardware slowdown"), (0x20, "thermal"), (0x40, "thermal"),
    (0x80, "power brake"),
)  # fmt: skip
_MEMORY = "memory_used"
_PROHIBITED = 2  # exclusive modes (1, 3) are fine: a stage has its GPU for itself
_FRAMES = "/proc/driver/nvidia/gpus"


class Slow(NamedTuple):
    """Values that are read only every few seconds."""

    values: GpuSlow = GpuSlow()
    """`problem`: a fault that prevents use of the GPU, and that no other value shows."""
    power_limit: Optional[float] = None
    graphics: Tuple[Process, ...] = ()


class Reading(NamedTuple):
    """The values of one GPU at one moment."""

    values: GpuValues
    compute: Optional[Tuple[Process, ...]]
    """None: NVML did not list the processes."""
    problem: Optional[str]
    memory_supported: bool
    load: Optional[Dict[int, int]] = None
    """PID -> percent of the GPU's time, of processes that computed; None: NVML does not report it,
    or it was not read."""


class Failed(Exception):
    """NVML cannot be used; the message gives the reason, for people."""


class Device:
    """One GPU. A reading holds `lock`, and may block for ever."""

    def __init__(self, index: int, handle: Handle, uuid: str, name: Optional[str]) -> None:
        self.index = index
        self.uuid = uuid
        self.name = name
        self.memory_total: Optional[int] = None
        self.slow = Slow()
        self.last: Optional[Reading] = None
        self.stuck_since: Optional[float] = None
        """Monotonic time when a call began that has not returned; None: no call hangs."""
        self.answered = False
        """Whether it has answered at least once; the first time may take seconds."""
        self.is_watched = False
        """Whether to read how much of the GPU's time each process uses."""
        self.lock = threading.Lock()
        self.handle = handle
        self.gone = "lost"
        """The problem of the GPU if there is no handle."""
        self._problem: Optional[str] = None
        self._unsupported: Set[str] = set()
        if handle is None:
            return
        lib = pynvml.nvmlLib
        self._memory = _memory_call(lib)
        self._gauges = {_MEMORY: self._memory_used, **gauges(lib)}
        self._compute = _Lister(lib, "nvmlDeviceGetComputeRunningProcesses")
        self._graphics = _Lister(lib, "nvmlDeviceGetGraphicsRunningProcesses")
        self._load = ProcessLoad(lib)
        self._lib = lib

    def read(self) -> Reading:
        """Read the present values. Never raises; may block."""
        with self.lock:
            if self.handle is None:
                self.last = Reading(GpuValues(), None, self.gone, True)
                self.answered = True
                return self.last
            self._problem = None
            values = self._values()
            compute = None if self._problem else self._list(self._compute, "compute")
            load = self._load.read(self.handle) if self.is_watched and compute else None
            has_memory = _MEMORY not in self._unsupported
            reading = Reading(values, compute, self._problem, has_memory, load)
            self.last, self.answered = reading, True
            return reading

    def read_slow(self) -> None:
        """Read `slow` again. Never raises; may block."""
        with self.lock:
            if self.handle is None or (self.last is not None and self.last.problem):
                return
            self._unsupported.clear()
            handle, lib = self.handle, self._lib
            number = ctypes.c_ulonglong()
            ecc = self._number(get(lib, "nvmlDeviceGetTotalEccErrors"), "ecc", number, 1, 0)
            reasons = get(
                lib, "nvmlDeviceGetCurrentClocksEventReasons",
                "nvmlDeviceGetCurrentClocksThrottleReasons",
            )  # fmt: skip
            mask = self._number(reasons, "throttle", number) or 0
            throttle = tuple(dict.fromkeys(word for bit, word in _THROTTLES if mask & bit))
            energy = self._number(get(lib, "nvmlDeviceGetTotalEnergyConsumption"), "energy", number)
            limit_of = get(lib, "nvmlDeviceGetEnforcedPowerLimit")
            limit = self._number(limit_of, "power_limit", ctypes.c_uint())
            current, pending = ctypes.c_uint(), ctypes.c_uint()
            code = get(lib, "nvmlDeviceGetMigMode")(
                handle, ctypes.byref(current), ctypes.byref(pending)
            )
            graphics = self._list(self._graphics, "graphics") or ()
            values = GpuSlow(
                ecc,
                throttle,
                None if code else bool(current.value),
                None if energy is None else energy / 1000.0,
                self._hidden_fault(ecc),
            )
            self.slow = Slow(values, None if limit is None else limit / 1000.0, graphics)

    def _hidden_fault(self, ecc: Optional[int]) -> Optional[str]:
        mode_of = get(self._lib, "nvmlDeviceGetComputeMode")
        if self._number(mode_of, "compute_mode", ctypes.c_uint()) == _PROHIBITED:
            return "compute mode Prohibited: nvidia-smi -c 0"
        if ecc:
            return "needs a reset: %d uncorrectable memory error%s" % (ecc, "s" * (ecc > 1))
        # Corrected and uncorrected rows, whether a row waits for a reset, whether a remapping
        # failed.
        rows = [ctypes.c_uint() for _ in range(4)]
        code = get(self._lib, "nvmlDeviceGetRemappedRows")(self.handle, *map(ctypes.byref, rows))
        if code == 0 and rows[3].value:
            return "a memory row could not be remapped"
        return "needs a reset: a memory row is to be remapped" if rows[2].value else None

    def _values(self) -> GpuValues:
        found: Dict[str, Optional[float]] = {}
        for field, gauge in self._gauges.items():
            code, found[field] = gauge(self.handle)
            if code and self._failed(code, field, field == _MEMORY):
                break
        return GpuValues(**found)

    def _memory_used(self, handle: Handle) -> Tuple[int, Optional[float]]:
        function, holder, reference = self._memory
        code = function(handle, reference)
        if code in _NOT_SUPPORTED and not isinstance(holder, pynvml.c_nvmlMemory_t):
            holder = pynvml.c_nvmlMemory_t()
            function, reference = get(self._lib, "nvmlDeviceGetMemoryInfo"), ctypes.byref(holder)
            self._memory = function, holder, reference
            code = function(handle, reference)
        if code:
            return code, None
        self.memory_total = holder.total
        return 0, holder.used >> 20

    def _failed(self, code: int, field: str, serious: bool = False) -> bool:
        """Note a failed call. Returns True if the GPU as a whole has failed."""
        if code in _NOT_SUPPORTED:
            self._unsupported.add(field)
            return False
        if code in _LOST:
            self._problem = _LOST[code]
        elif code == _UNINITIALIZED or serious:
            self._problem = "NVML says: %s" % _error_text(code)
        return self._problem is not None

    def _number(self, function: Function, field: str, holder: Number, *args: int) -> Optional[int]:
        code = function(self.handle, *args, ctypes.byref(holder))
        if code == 0:
            return holder.value
        self._failed(code, field)
        return None

    def _list(self, lister: _Lister, kind: str) -> Optional[Tuple[Process, ...]]:
        code, found = lister.read(self.handle, kind)
        if code == 0:
            return found
        self._failed(code, "processes")
        return None


class _Lister:
    """Lists processes by the newest version of the call that this driver has."""

    def __init__(self, lib: ctypes.CDLL, name: str) -> None:
        self._function, self._kind = absent, pynvml.c_nvmlProcessInfo_v2_t
        for suffix in ("_v3", "_v2"):
            if hasattr(lib, name + suffix):
                self._function = getattr(lib, name + suffix)
                break
        self._room = 32
        self._grow()

    def _grow(self) -> None:
        self._array = (self._kind * self._room)()
        self._count = ctypes.c_uint()
        self._reference = ctypes.byref(self._count)

    def read(self, handle: Handle, kind: str) -> Tuple[int, Tuple[Process, ...]]:
        """Return NVML's code and the processes."""
        while True:
            self._count.value = self._room
            code = self._function(handle, self._reference, self._array)
            if code != _TOO_SMALL or self._room > 8192:
                break
            self._room *= 4
            self._grow()
        if code or not self._count.value:
            return code, ()
        found = []
        for i in range(min(self._count.value, self._room)):
            item = self._array[i]
            memory = item.usedGpuMemory
            found.append((item.pid, None if memory == _NOT_AVAILABLE else memory, kind))
        return 0, tuple(found)


def _memory_call(lib: ctypes.CDLL) -> Tuple[Function, pynvml.c_nvmlMemory_v2_t, object]:
    holder = pynvml.c_nvmlMemory_v2_t()
    holder.version = pynvml.nvmlMemory_v2
    return get(lib, "nvmlDeviceGetMemoryInfo_v2"), holder, ctypes.byref(holder)


def _error_text(code: int) -> str:
    try:
        raw = pynvml.nvmlErrorString(code)
    except Exception:
        return "error %d" % code
    return raw.decode("ascii", "replace") if isinstance(raw, bytes) else str(raw)


class Nvml:
    """The library and its devices. `open` may block; call it in a thread that may block."""

    def __init__(self) -> None:
        self.devices: List[Device] = []
        self.driver: Optional[str] = None
        self.cuda: Optional[str] = None
        self._deadline_thread: DeadlineThread[Device] = DeadlineThread(OPEN_DEADLINE)

    def open(self) -> None:
        """Load the library if needed and list the devices again.

        Known devices that still answer are kept. Raises Failed.
        """
        try:
            ctypes.CDLL("libnvidia-ml.so.1")  # without this library, pynvml is not loaded
        except OSError as error:
            self.devices = []
            raise Failed(_NOT_INSTALLED) from error
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self.driver = _text(pynvml.nvmlSystemGetDriverVersion())
            self.cuda = _cuda()
        except pynvml.NVMLError as error:
            self.devices = []
            raise Failed(_init_problem(error)) from error
        known: Dict[str, Device] = {d.uuid: d for d in self.devices if d.handle is not None}
        found = self._deadline_thread.each(range(count), lambda index: _device(index, known))
        self.devices = [found.get(i) or _unheard(i, known) for i in range(count)]

    def changed(self) -> bool:
        """Whether the number of GPUs has changed, or a missing GPU may be back."""
        try:
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError:
            self.devices = []  # the driver was reloaded: old handles are invalid
            return True
        return count != len(self.devices) or any(d.handle is None for d in self.devices)


def _device(index: int, known: Dict[str, Device]) -> Device:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
        name = _text(pynvml.nvmlDeviceGetName(handle))
    except pynvml.NVMLError as error:
        why = _LOST.get(error.value, "NVML says: %s" % _error_text(error.value))
        return _unheard(index, known, why)
    if uuid in known and known[uuid].index == index:
        return known[uuid]
    return Device(index, handle, uuid, name)


def _unheard(index: int, known: Dict[str, Device], why: str = "does not answer") -> Device:
    """A GPU that cannot be opened: the known device if there is one, else a device with only an
    index."""
    for device in known.values():
        if device.index == index:
            return device
    gone = Device(index, None, _uuid_from_kernel(index) or "lost-%d" % index, None)
    gone.gone = why
    return gone


def _uuid_from_kernel(index: int) -> Optional[str]:
    """The UUID that the driver remembers for a GPU that NVML can no longer open; None: unknown."""
    try:
        buses = sorted(os.listdir(_FRAMES))
        with open(os.path.join(_FRAMES, buses[index], "information")) as file:
            for line in file:
                if line.startswith("GPU UUID:"):
                    uuid = line.split(":", 1)[1].strip()
                    return uuid if uuid.startswith("GPU-") and "?" not in uuid else None
    except (OSError, IndexError):
        pass
    return None


def _init_problem(error: pynvml.NVMLError) -> str:
    code = error.value
    if code == 12:
        return _NOT_INSTALLED
    if code == 9:
        return "the NVIDIA driver is not loaded"
    if code == 18:
        return "the NVIDIA driver and its library differ in version: reboot after the update"
    return "NVML cannot be used: %s" % _error_text(code)


def _cuda() -> Optional[str]:
    try:
        number = pynvml.nvmlSystemGetCudaDriverVersion()
    except pynvml.NVMLError:
        return None
    return "%d.%d" % (number // 1000, number % 1000 // 10)


def _text(value: Union[bytes, str]) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
