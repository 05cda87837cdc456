"""How much of a GPU's time each process has used since the last request, in percent, by NVML."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Dict, Optional, Sequence, Tuple

from hostler_agent.gpu_readings import Handle, get

if TYPE_CHECKING:
    import pynvml
else:
    from hostler_agent.nvml_binding import pynvml

_NOTHING_NEW = 6
"""NVML's code if no process has computed since then."""
_TOO_SMALL = 7
_MOST = 4096


class ProcessLoad:
    """Reads one GPU. NVML keeps samples of the last seconds, but none of idle processes."""

    def __init__(self, lib: ctypes.CDLL) -> None:
        self._function = get(lib, "nvmlDeviceGetProcessUtilization")
        self._seen = 0
        """Time of the newest sample so far, by NVML's clock."""
        self._room = 128

    def read(self, handle: Handle) -> Optional[Dict[int, int]]:
        """Return PID -> percent of the GPU's time, for processes that computed; None: NVML does not
        report it."""
        code, samples = self._samples(handle)
        if code == _NOTHING_NEW:
            return {}
        if code:
            return None
        found: Dict[int, int] = {}
        newest = self._seen
        for sample in samples:
            if sample.timeStamp > self._seen:
                found[sample.pid] = max(sample.smUtil, found.get(sample.pid, 0))
                newest = max(newest, sample.timeStamp)
        self._seen = newest
        return found

    def _samples(
        self, handle: Handle
    ) -> Tuple[int, Sequence[pynvml.c_nvmlProcessUtilizationSample_t]]:
        """Return NVML's code and its samples."""
        while True:
            array = (pynvml.c_nvmlProcessUtilizationSample_t * self._room)()
            count, since = ctypes.c_uint(self._room), ctypes.c_ulonglong(self._seen)
            code = self._function(handle, array, ctypes.byref(count), since)
            if code != _TOO_SMALL or self._room >= _MOST:
                return code, array[: min(count.value, self._room)]
            self._room *= 4
