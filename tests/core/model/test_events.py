"""Kinds of events: one enumeration, which everything names and the page describes."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

import hostler
from hostler.insight.alerts import RESOLVES, RULES
from hostler.model.events import FAILED, EventKind
from hostler.model.hosts import HostCondition
from hostler.model.plans import Action
from hostler.model.runs import Outcome, Phase

CORE = Path(hostler.__file__).parent
PAGE = (Path(__file__).parents[3] / "docs/events.md").read_text()
ROWS = re.findall(r"^\| (`.*?) \| (.*) \|$", PAGE, re.MULTILINE)


def listed(text: str) -> list[str]:
    return re.findall(r"`([a-z_]+\.[a-z_]+)`", text)


def test_the_page_lists_every_kind_once() -> None:
    found = [kind for kinds, _ in ROWS for kind in listed(kinds)]
    assert sorted(found) == sorted(EventKind)


def test_the_page_says_which_open_and_which_close_an_alert() -> None:
    for kinds, when in ROWS:
        for kind in listed(kinds):
            assert ("**alert**" in when) is (kind in RULES or kind.endswith(FAILED)), kind
            assert ("**ends**" in when) is (kind in RESOLVES), kind


def test_alerts_name_kinds_that_there_are() -> None:
    assert {*RULES, *RESOLVES} <= {*EventKind}


@pytest.mark.parametrize("outcome", Outcome)
def test_each_end_of_a_run_has_a_kind(outcome: Outcome) -> None:
    assert EventKind(f"run.{outcome}")


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.is_final])
def test_each_end_of_an_attempt_has_a_kind(phase: Phase) -> None:
    assert EventKind(f"attempt.{phase}")


@pytest.mark.parametrize("condition", [HostCondition.UNREACHABLE, HostCondition.REFUSED])
def test_each_loss_of_a_host_has_a_kind(condition: HostCondition) -> None:
    assert EventKind(f"host.{condition}")


def test_each_action_that_fails_has_a_kind() -> None:
    words = {_word(action) for action in get_args(Action)}
    assert len(words) > 5
    assert {f"{word}{FAILED}" for word in words} <= {*EventKind}


def _word(action: type) -> str:
    """With which its key begins."""
    tree = ast.parse((CORE / "model/plans.py").read_text())
    (found,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == action.__name__)
    key = next(n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "key")
    (text,) = (n for n in ast.walk(key) if isinstance(n, ast.JoinedStr))
    return ast.unparse(text.values[0]).strip("'").partition(":")[0]


def test_nobody_writes_a_kind_out() -> None:
    kinds = {kind.value for kind in EventKind}
    for file in sorted(CORE.rglob("*.py")):
        if file.name == "events.py" and file.parent.name == "model":
            continue
        text = file.read_text()
        if not any(kind in text for kind in kinds):
            continue  # to parse it would take most of the time
        for node in ast.walk(ast.parse(text)):
            written = isinstance(node, ast.Constant) and node.value in kinds
            assert not written, f"{file.relative_to(CORE)}:{getattr(node, 'lineno', 0)}"
