"""Packs a folder into one tar file that is named by its content. Standard library only.

The same files give the same bytes: entries are sorted and carry neither time nor owner.
"""

from __future__ import annotations

from hostler.packing.source import PackedSource, pack_source, source_names
from hostler.packing.tar import TarWriter
from hostler.packing.tree import Skipped

__all__ = [
    "PackedSource",
    "Skipped",
    "TarWriter",
    "pack_source",
    "source_names",
]
