"""docs/changes.md names no file that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/changes.md").read_text()
PATHS = re.findall(r"`([\w.-]+/[^`\s]*)`", PAGE)


def test_every_path_exists() -> None:
    assert PATHS
    missing = [path for path in PATHS if not (ROOT / path).exists()]
    assert missing == []


def test_no_kind_of_change_needs_more_than_four_places() -> None:
    for section in PAGE.split("\n## ")[1:]:
        table = [line for line in section.splitlines() if line.startswith("| ")][2:]
        assert len(table) <= 4, section.splitlines()[0]
