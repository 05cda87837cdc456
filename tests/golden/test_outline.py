"""Contracts that are read off: API, files that people write, names in events, labels, codes."""

from __future__ import annotations

import argparse
import importlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from hostler.api.app import make_app
from hostler.base import errors
from hostler.cli.parser import COMMANDS
from hostler.daemon.service import Service
from hostler.spec.schema import config_schema, schema
from hostler.store.database import Store
from tests.golden import outline
from tests.golden.stored import check_golden


def test_the_calls_of_the_api() -> None:
    made = make_app(cast("Service", None)).openapi()
    check_golden("openapi", outline.openapi(made))


def test_the_objects_in_answers() -> None:
    views = outline.views(make_app(cast("Service", None)).openapi())
    check_golden("views", {"views": views}, grows=("views",))


@pytest.mark.parametrize("name", ["pipeline", "config"])
def test_the_keys_of_files_that_people_write(name: str) -> None:
    made = schema() if name == "pipeline" else config_schema()
    check_golden(f"schema-{name}", outline.schema_outline(made))


@pytest.mark.parametrize("name", ["event_kinds", "agent_verbs", "labels", "variables"])
def test_names_that_others_look_for(name: str) -> None:
    check_golden(name.replace("_", "-"), getattr(outline, name)())


def test_exit_codes_and_kinds_of_errors() -> None:
    found = {kind.__name__: kind.exit_code for kind in _below(errors.HostlerError)}
    check_golden("errors", found)


def _below(kind: type[errors.HostlerError]) -> Iterator[type[errors.HostlerError]]:
    if kind.__module__ == errors.__name__:
        yield kind
    for sub in kind.__subclasses__():
        yield from _below(sub)


def test_commands_and_their_options() -> None:
    found = {
        name: _options(f"hostler.cli.commands.{module}")
        for group in COMMANDS.values()
        for name, (module, _) in group.items()
    }
    check_golden("commands", found)


def _options(module: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    importlib.import_module(module).configure(parser)
    return {
        "/".join(action.option_strings) or f"({action.dest})": _told(action)
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    }


def _told(action: argparse.Action) -> dict[str, Any]:
    """What is special about an option; most have none of it."""
    told = {
        "takes": action.nargs,
        "choices": action.choices and [str(choice) for choice in action.choices],
        "required": bool(action.option_strings) and action.required,
        "default": action.default,
        "repeats": isinstance(action, argparse._AppendAction),
    }
    return {key: value for key, value in told.items() if value not in (None, False, (), [])}


async def test_tables_of_the_database(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.close()
    found = {file.name: _tables(file) for file in sorted(tmp_path.glob("*.db"))}
    check_golden("database", found)


def _tables(file: Path) -> dict[str, Any]:
    connection = sqlite3.connect(file)
    try:
        asked = "select name from sqlite_master where type = 'table' order by name"
        names = [name for (name,) in connection.execute(asked)]
        return {name: _columns(connection, name) for name in names}
    finally:
        connection.close()


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [f"{row[1]} {row[2]}" for row in connection.execute(f"pragma table_info([{table}])")]
