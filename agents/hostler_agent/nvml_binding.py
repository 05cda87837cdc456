"""Loads pynvml at its first use, because that takes as long as the start of Python."""

from __future__ import annotations

import importlib


class _Pynvml:
    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module("pynvml"), name)


pynvml = _Pynvml()
