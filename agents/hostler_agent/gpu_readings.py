"""Which values of a GPU are read at each look (load, temperature, power, ...): NVML's function and
buffer for each."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Callable, Dict, Optional, Tuple, Union

if TYPE_CHECKING:
    import pynvml
else:
    from hostler_agent.nvml_binding import pynvml

Handle = Optional["pynvml.c_nvmlDevice_t"]
Function = Callable[..., int]
Number = Union[ctypes.c_uint, ctypes.c_ulonglong]
Holder = Union[ctypes.Structure, Number]
Gauge = Callable[[Handle], Tuple[int, Optional[float]]]
"""Reads one value: returns NVML's code and, if the code is 0, the value."""


def absent(*_args: object) -> int:
    """Stands for a function that this driver does not have."""
    return 13


def get(lib: ctypes.CDLL, *names: str) -> Function:
    """The first of these functions that the driver has; `absent` if it has none."""
    for name in names:
        if hasattr(lib, name):
            function: Function = getattr(lib, name)
            return function
    return absent


def gauges(lib: ctypes.CDLL) -> Dict[str, Gauge]:
    """How each value of `GpuValues` except the memory is read, in this order."""
    percent, power, clock = pynvml.c_nvmlUtilization_t(), ctypes.c_uint(), ctypes.c_uint()
    clocks = get(lib, "nvmlDeviceGetClockInfo")
    return {
        "utilization": _gauge(
            get(lib, "nvmlDeviceGetUtilizationRates"), percent, lambda: percent.gpu
        ),
        "temperature": _temperature(lib),
        "power": _gauge(
            get(lib, "nvmlDeviceGetPowerUsage"), power, lambda: round(power.value / 1000.0, 1)
        ),
        "clock_sm": _gauge(clocks, clock, lambda: clock.value, 1),
        "clock_memory": _gauge(clocks, clock, lambda: clock.value, 2),
    }


def _gauge(
    function: Function, holder: Holder, value: Callable[[], Optional[float]], *kind: int
) -> Gauge:
    arguments = (*kind, ctypes.byref(holder))

    def read(handle: Handle) -> Tuple[int, Optional[float]]:
        code = function(handle, *arguments)
        return code, None if code else value()

    return read


class _Temperature(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint), ("sensor", ctypes.c_int), ("value", ctypes.c_int))


def _temperature(lib: ctypes.CDLL) -> Gauge:
    # Old drivers have only the first function, future drivers only the second.
    old, new = get(lib, "nvmlDeviceGetTemperature"), get(lib, "nvmlDeviceGetTemperatureV")
    if old is not absent:
        plain = ctypes.c_uint()
        return _gauge(old, plain, lambda: plain.value, 0)
    holder = _Temperature(ctypes.sizeof(_Temperature) | 1 << 24, 0, 0)
    return _gauge(new, holder, lambda: int(holder.value))
