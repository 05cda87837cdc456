"""pynvml, loaded at its first use: that takes as long as the start of Python, and a host without
NVIDIA's library never uses it."""

from __future__ import annotations

import importlib


class _Pynvml:
    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module("pynvml"), name)


pynvml = _Pynvml()
