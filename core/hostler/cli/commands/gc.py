"""`hostler gc`: shows what the daemon and hosts would delete, what stays and why, asks, and
frees the space."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text
from hostler.base.units import counted, format_size
from hostler.cli.shared import DECLINED, add_common, add_yes, confirm, open_client, out, out_json

if TYPE_CHECKING:
    from hostler.model.views.kept import (
        GcView,
        SweptHost,
        UnfetchedView,
        UnsweptHost,
        YoungBlobs,
    )

_MOST_RUNS = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="only show what would be freed"
    )
    add_yes(parser)
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Show what would be removed, ask, and remove it."""
    client = open_client(args)
    found = client.gc(dry_run=True)
    if not args.dry_run:
        effects = [*gc_lines(found, "would be freed"), "caches on the hosts beyond `host_cache`"]
        if has_any(found) and not confirm(args, "Free this?", effects):
            return DECLINED
        found = client.gc()  # where nothing is to be freed here, there may be on the hosts
    if args.json:
        from dataclasses import replace

        out_json("gc", replace(found, dry_run=args.dry_run))
    elif not args.quiet:
        for line in gc_lines(found, "would be freed" if args.dry_run else "freed"):
            out(line)
    return 0


def has_any(answer: GcView) -> bool:
    """Whether the daemon would remove anything."""
    files = answer.content.blobs or answer.partial.files or answer.images.images
    return bool(answer.runs or answer.logs.runs or files)


def gc_lines(answer: GcView, verb: str) -> list[str]:
    """One line per kind of removed thing, and the total."""
    logs, content, partial = answer.logs, answer.content, answer.partial
    kinds = (
        (len(answer.runs), "old run", None),
        (len(logs.runs), "log", logs.bytes),
        (content.blobs, "packed source or output", content.bytes),
        (partial.files, "unfinished transfer", partial.bytes),
        (answer.images.images, "image beyond the limit", answer.images.bytes),
    )
    lines = []
    for number, thing, size in kinds:
        if number:
            lines.append(_many(number, thing) + (f": {format_size(size)}" if size else ""))
    lines += unfetched_lines(answer.unfetched)
    lines += [host_line(name, told) for name, told in answer.hosts.items()]
    lines += [*young_lines(answer.young), *kept_lines(answer)]
    if not has_any(answer):
        return [*lines, "there is nothing to free here"]
    return [*lines, f"{format_size(answer.freed)} {verb} here"]


def young_lines(young: YoungBlobs) -> list[str]:
    """Why files that no run needs, those of a run just removed too, do not go yet, and when."""
    if not young.blobs:
        return []
    what = _many(young.blobs, "packed source or output")
    return [
        f"{what} ({format_size(young.bytes)}) that no run needs arrived within the last hour and "
        f"can be freed after {clock_text(young.until)}: until then a run may be submitted "
        "with them"
    ]


def unfetched_lines(unfetched: UnfetchedView) -> list[str]:
    """Unfetched outputs among the files to be removed."""
    if not unfetched.artifacts:
        return []
    runs = list(unfetched.runs)
    named = ", ".join(runs[:_MOST_RUNS]) + (", ..." if len(runs) > _MOST_RUNS else "")
    what = f"{counted(unfetched.artifacts, 'output')} ({format_size(unfetched.bytes)})"
    return [f"not fetched yet: {what} of {named}; hostler get RUN, or hostler keep RUN"]


def kept_lines(answer: GcView) -> list[str]:
    """What is kept because a user wants it or its time is not over."""
    kept, staying = answer.kept, answer.staying
    lines = []
    for image in answer.images.pinned:
        size = format_size(image.bytes)
        lines.append(f"image {image.name} ({size}) stays: releases {image.releases} need it")
    if kept.runs:
        lines.append(f"{counted(kept.runs, 'run')} kept on request: gc does not remove their files")
    if staying.attempts:
        lines.append(
            f"files of {counted(staying.runs, 'run')} ({format_size(staying.bytes)}) remain "
            f"on {', '.join(staying.hosts)}" + _first_to_go(staying.goes_at)
        )
    return lines


def _first_to_go(at: float | None) -> str:
    return "" if at is None else f"; the first are removed on {clock_text(at)}, after an alert"


def _many(number: int, thing: str) -> str:
    return f"{number} {thing if number == 1 else thing.replace(' or ', 's or ') + 's'}"


def host_line(name: str, told: SweptHost | UnsweptHost) -> str:
    """What was freed on a host, or why nothing was freed."""
    from hostler.model.views.kept import UnsweptHost

    if isinstance(told, UnsweptHost):
        return f"{name}: nothing freed: {told.error}"
    images = f", {counted(told.images, 'image')}" if told.images else ""
    freed = f"{format_size(told.freed)} of caches, {counted(told.checkpoints, 'checkpoint')}"
    return f"{name}: {freed}{images}"
