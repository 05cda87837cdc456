"""`hostler serve`: run the daemon in the foreground; its options, and garbage collection
switched off while it loads."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hostler.base.programs import safe_environ
from hostler.cli.shared import add_common


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--config", metavar="FILE", help="the configuration to use")
    parser.add_argument(
        "--personal",
        action="store_true",
        help="run as the personal daemon, with state and socket in your own folder",
    )
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until stopped; work on the hosts continues without it."""
    config = os.path.abspath(args.config) if args.config else None  # noqa: PTH100
    # What a daemon starts must not depend on the folder in which somebody started it.
    safe = safe_environ()
    os.environ.clear()
    os.environ.update(safe)
    os.chdir("/")
    with no_garbage():
        from hostler.api.serve import main

    main(config, personal=args.personal, verbose=args.debug)
    return 0


@contextmanager
def no_garbage() -> Iterator[None]:
    """For imports: what they make stays. Looking through it for garbage again and again while it
    comes is a sixth of a daemon's start; afterwards every look would go through it once more."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
