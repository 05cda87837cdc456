"""Pictures of screens as text files: what a reviewer reads in a diff.

HOSTLER_NEW_PICTURES=1 writes them anew; look at them before they are committed.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "tui" / "snapshots"


def check_picture(name: str, shown: str) -> None:
    """Compare with the stored one."""
    file = FOLDER / f"{name}.txt"
    if os.environ.get("HOSTLER_NEW_PICTURES"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(shown + "\n")
    assert file.exists(), f"no picture {file.name}: HOSTLER_NEW_PICTURES=1 makes it"
    assert shown + "\n" == file.read_text(), f"the screen differs from {file}"
