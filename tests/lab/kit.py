"""What a host is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kit:
    """All that a host is made from; its parts are in the cache."""

    base: Path
    """The read-only root tree."""
    programs: Path
    library: Path
    """The fake libnvidia-ml.so.1."""
    template: Path | None = None
    """A disk with Docker's data in which both images are loaded; None while that is made."""

    def program(self, name: str) -> Path:
        """ "boot", "enter" or "hook"."""
        return self.programs / name
