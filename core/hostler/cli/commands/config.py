"""`hostler config show`: the effective configuration with defaults, and where configuration,
state and daemon are found."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import tomli_w

from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import as_table, write_table
from hostler.base.paths import config_files, state_folder
from hostler.cli.shared import add_common, hint, out_json
from hostler.daemon.config_file import load_config
from hostler.model.codec import to_json
from hostler.model.config import Config
from hostler.quick.socket import find_socket

_IN_ONE = ("shared", "docker")
"""Tables whose keys are at the top level of the JSON, as `docker_network`."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", choices=("show",), help="what to do")
    parser.add_argument(
        "--origin", action="store_true", help="only show which files and folders are used"
    )
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Check the configuration and show it, defaults included."""
    origin = origins(args.socket)
    if args.origin and not args.json:
        for name, value in origin.items():
            sys.stdout.write(f"{name}: {value}\n")
        return 0
    config = load_config()
    if args.json:
        out_json("config", {"origin": origin, "config": as_json(config)})
        return 0
    sys.stdout.write(tomli_w.dumps(write_table(config)))
    hint(args, f"read from {origin['config']}")
    return 0


def origins(named: str | None) -> dict[str, str]:
    """Where configuration, state and daemon are, and why there."""
    existing = [name for name in config_files() if Path(name).exists()]
    found = find_socket(named)
    return {
        "config": " and ".join(existing) if existing else "no file (defaults)",
        "state": state_folder(),
        "socket": f"{found.path} ({found.origin})",
    }


def as_json(config: Config) -> JsonTable:
    """The configuration as JSON, hosts and mounts by name; sizes in bytes, times in seconds."""
    found: JsonTable = {}
    for name, value in as_table(to_json(config)).items():
        if isinstance(value, list):
            found[name] = {str(table.pop("name")): table for table in map(as_table, value)}
        elif name in _IN_ONE:
            found |= {f"{name}_{key}": item for key, item in as_table(value).items()}
        else:
            found[name] = value
    return as_table(_without_none(found))


def _without_none(value: Json) -> Json:
    """The same without None values."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
