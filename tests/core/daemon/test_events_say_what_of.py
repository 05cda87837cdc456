"""Every event of an attempt says which run, stage and host it is about."""

from __future__ import annotations

import ast
from pathlib import Path

import hostler

DAEMON = Path(hostler.__file__).parent / "daemon"


def calls() -> list[tuple[str, ast.Call]]:
    """Every call of `event` whose kind is one of an attempt, by where it stands."""
    found = []
    for file in sorted(DAEMON.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and _name(node.func) == "event" and _is_of_attempt(node):
                found.append((f"{file.name}:{node.lineno}", node))
    return found


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_of_attempt(node: ast.Call) -> bool:
    kind = ast.unparse(node.args[0]) if node.args else ""
    return kind.startswith(("EventKind.ATTEMPT_", "EventKind(f'attempt."))


def test_each_is_given_its_attempt_or_all_of_it() -> None:
    found = calls()
    assert len(found) > 5
    for where, call in found:
        given = {keyword.arg for keyword in call.keywords}
        assert len(call.args) >= 3 or {"run_id", "attempt_id", "host"} <= given, where
