"""`hostler version`: versions of client and daemon."""

from __future__ import annotations

import argparse
import platform

from hostler.base.errors import NoDaemonError
from hostler.base.version import __version__
from hostler.cli.shared import add_common, out, out_json
from hostler.client.daemon_start import running
from hostler.quick.socket import find_socket


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Print both versions; starts nothing."""
    found = find_socket(args.socket)
    try:
        about, trouble = running(found), "not running"
    except NoDaemonError as error:
        about, trouble = None, error.message
    if args.json:
        python = platform.python_version()
        out_json("version", {"client": __version__, "python": python, "daemon": about})
        return 0
    out(f"hostler {__version__} (Python {platform.python_version()})")
    if about is None:
        out(f"daemon: {trouble}")
    else:
        mark = "SIM: " if about.get("simulated") else ""
        out(f"{mark}daemon: {about.get('version')} at {found.path} (pid {about.get('pid')})")
    return 0
