"""Hostler's version. It stands here so that every layer can read it without loading the SDK."""

from __future__ import annotations

__version__ = "0.1.0"
