"""Loads pynvml at its first use, because that takes as long as the start of Python, and without
modules that pynvml would load but never use."""

from __future__ import annotations

import importlib
import sys
import threading
import types
from typing import Optional

_UTIL = "ctypes.util"


class _Util(types.ModuleType):
    """Replaces `ctypes.util` while pynvml is loaded, because `ctypes.util` loads shutil, tempfile
    and 20 more modules. pynvml imports one function from it, and does not call it on Linux, where
    it finds NVML by name."""

    @staticmethod
    def find_library(name: str) -> Optional[str]:
        """Like the function of the real module."""
        from ctypes import util

        return util.find_library(name)


class _Pynvml:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._module: Optional[types.ModuleType] = None

    def __getattr__(self, name: str) -> object:
        with self._lock:
            self._module = self._module or _load()
        return getattr(self._module, name)


def _load() -> types.ModuleType:
    instead = sys.modules.setdefault(_UTIL, _Util(_UTIL))
    try:
        return importlib.import_module("pynvml")
    finally:
        if isinstance(instead, _Util):
            del sys.modules[_UTIL]


pynvml = _Pynvml()
