"""docs/security.md claims nothing without a test that is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/security.md").read_text()


def rows() -> list[str]:
    """The rows of the table of claims."""
    return [line for line in PAGE.splitlines() if line.startswith("| ")][2:]


def test_every_claim_names_a_test() -> None:
    assert len(rows()) > 15
    for row in rows():
        assert re.search(r"`tests/[^`]+`", row), row


@cache
def names_in(path: str) -> set[str]:
    """What a file defines."""
    return {getattr(node, "name", "") for node in ast.parse((ROOT / path).read_text()).body}


def test_every_named_test_is_there() -> None:
    for named in re.findall(r"`(tests/[^`]+)`", PAGE):
        path, _, function = named.partition("::")
        assert (ROOT / path).is_file(), named
        if function:
            assert function in names_in(path), named


def test_no_claim_stands_twice() -> None:
    shown = [set(re.findall(r"`(tests/[^`]+)`", row)) for row in rows()]
    for number, tests in enumerate(shown):
        others = shown[:number] + shown[number + 1 :]
        assert not any(tests <= other for other in others), rows()[number]
