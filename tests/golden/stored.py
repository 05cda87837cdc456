"""The stored answers in tests/golden/files; HOSTLER_GOLDEN=write (`make golden`) rewrites them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.golden.differences import differences

FOLDER = Path(__file__).parent / "files"
MOST_SHOWN = 25
REMEDY = (
    "Scripts and other daemons rely on this (docs/compatibility.md). If you moved or renamed code,"
    " give the old key or value back. If the contract was meant to grow, run `make golden`, read"
    " the diff, and commit it with the changelog."
)


def check_golden(name: str, now: Any, *, grows: tuple[str, ...] = ()) -> None:
    """Compare a JSON value with the stored one; see `differences` for `grows`."""
    file = FOLDER / f"{name}.json"
    if os.environ.get("HOSTLER_GOLDEN") == "write":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(now, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    assert file.exists(), f"nothing is stored for {name}: `make golden` writes it"
    found = differences(json.loads(file.read_text()), json.loads(json.dumps(now)), "$", grows)
    listed = "\n".join(f"  {line}" for line in sorted(found)[:MOST_SHOWN])
    assert not found, f"{name} differs from {file.name} in {len(found)} places:\n{listed}\n{REMEDY}"
