from __future__ import annotations

from tests.support.daemons.memory import tmp_path

__all__ = ["tmp_path"]
