"""docs/track-record.md names no test that is not there, and leaves no fault out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/track-record.md").read_text()
FAULTS = PAGE.partition("## Which test shows which fault")[2].partition("\n## ")[0]


@cache
def functions(path: Path) -> frozenset[str]:
    """Names of the functions at the top of a file of Python."""
    body = ast.parse(path.read_text()).body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in body if isinstance(node, kinds))


def test_every_fault_has_its_row_with_a_test_or_says_that_there_is_none() -> None:
    rows = [line for line in FAULTS.splitlines() if re.match(r"\| \d", line)]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 57))
    for row in rows:
        shown = row.split("|")[3]
        assert "::test_" in shown or re.search(r"\b(yet|not)\b", shown), row


def test_every_named_test_is_there() -> None:
    named = re.findall(r"`(tests/[^`]+)::(\w+)`", PAGE)
    assert len(named) > 60
    for path, function in named:
        assert (ROOT / path).is_file(), path
        assert function in functions(ROOT / path), f"{path}::{function}"


def test_the_test_of_every_bug_is_there() -> None:
    files = [*(ROOT / "tests").rglob("test_*.py")]
    bugs = re.findall(r"`(test_\w+)`", PAGE.partition("## Bugs found")[2])
    assert len(bugs) > 5
    for name in bugs:
        assert any(name in file.read_text() and name in functions(file) for file in files), name
