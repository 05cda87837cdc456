"""The command line: parse, dispatch, turn errors into exit codes."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    raise NotImplementedError
