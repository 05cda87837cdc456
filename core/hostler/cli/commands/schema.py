"""`hostler schema`: print the JSON Schema of pipeline or configuration files for editors."""

from __future__ import annotations

import argparse
import json
import sys

from hostler.cli.shared import add_common


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", choices=("pipeline", "config"), help="which kind of file")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Print the schema."""
    from hostler.spec.schema import config_schema, schema

    found = config_schema() if args.file == "config" else schema()
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0
