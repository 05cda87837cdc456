"""`hostler config show`: the configuration as Hostler reads it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import tomli_w

from hostler.base.paths import config_files, state_folder
from hostler.cli.options import add_common
from hostler.cli.shared import hint, out_json
from hostler.daemon.config_file import load_config
from hostler.model.codec import to_json
from hostler.quick.socket import find_socket
from hostler.spec.config_form import to_tables


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", choices=("show",), help="what to do")
    parser.add_argument(
        "--origin", action="store_true", help="only where everything comes from: files and folders"
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
        out_json("config", {"origin": origin, "config": named_tables(to_json(config))})
        return 0
    sys.stdout.write(tomli_w.dumps(to_tables(config)))
    hint(args, f"read from {origin['config']}")
    return 0


def origins(named: str | None) -> dict[str, str]:
    """Where configuration, state and daemon are found, and why there."""
    existing = [name for name in config_files() if Path(name).exists()]
    found = find_socket(named)
    return {
        "config": " and ".join(existing) if existing else "no file (defaults)",
        "state": state_folder(),
        "socket": f"{found.path} ({found.origin})",
    }


def named_tables(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as JSON, hosts and mounts by name; sizes in bytes, times in seconds."""
    tables = {
        kind: {str(item["name"]): {k: v for k, v in item.items() if k != "name"} for item in items}
        for kind, items in config.items()
        if kind in ("hosts", "mounts")
    }
    plain: dict[str, Any] = without_none({**config, **tables})
    return plain


def without_none(value: Any) -> Any:
    """The same without what is None, which says nothing."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_none(item) for item in value]
    return value
