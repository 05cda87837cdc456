"""Checkpoint folders of process jobs: they outlive their jobs, and go when nobody needs them."""

from __future__ import annotations

import os
import shutil
from typing import Dict, Iterable

from hostler_agent import mounts
from hostler_agent.folders import Folders


def sweep(
    folders: Folders, prefix: str, keep: Iterable[str], dry_run: bool = False
) -> Dict[str, int]:
    """Remove the folders of one daemon (they begin with its prefix) that are not in `keep`; with
    `dry_run` only count them."""
    kept, removed = set(keep), 0
    try:
        names = os.listdir(folders.checkpoints)
    except OSError:
        return {"removed": 0}
    for name in names:
        if name.startswith(prefix) and name not in kept:
            path = os.path.join(folders.checkpoints, name)
            if mounts.any_in(path):
                continue  # a stage has mounted something there, whose files would go, too
            if not dry_run:
                shutil.rmtree(path, ignore_errors=True)
            removed += dry_run or not os.path.lexists(path)
    return {"removed": removed}
