"""docs/changes.md names no file that is not there, and as many places as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/changes.md").read_text()
PATHS = re.findall(r"`([\w.-]+/[^`\s]*)`", PAGE)
SECTIONS = PAGE.split("\n## ")[1:]
MORE = {"A runtime": 5}
"""Kinds of change that still need more; the page says why."""
FILE = re.compile(r"`([\w./-]+)`")


def test_every_path_exists() -> None:
    assert PATHS
    missing = [path for path in PATHS if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.splitlines()[0])
def test_a_section_says_its_number_of_places_and_names_so_many(section: str) -> None:
    said = re.search(r"^Places: (\d)\.$", section, re.MULTILINE)
    assert said is not None, "say it: Places: N."
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == int(said[1])
    for _, place, what, _ in rows:
        assert len(FILE.findall(place)) == 1 or ("where it acts" in place and "`" in what), place


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.splitlines()[0])
def test_no_kind_of_change_needs_more_than_four_places(section: str) -> None:
    most = MORE.get(section.splitlines()[0], 4)
    assert int(re.findall(r"Places: (\d)", section)[0]) <= most
