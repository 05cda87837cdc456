"""The lab's own tests."""

from __future__ import annotations

from tests.support.machines.labfixture import clean_lab, lab

__all__ = ["clean_lab", "lab"]
