"""Follows a release for `hostler deploy` and `rollback`: --detach, --timeout, exit codes, and
how many log lines of a failed build, test or replica are shown."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from hostler.base.errors import HostlerError, NotFoundError
from hostler.base.table import is_terminal
from hostler.base.units import format_duration
from hostler.cli.options import duration
from hostler.cli.shared import (
    add_common,
    add_yes,
    confirm,
    hint,
    note,
    note_for,
    out,
    out_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hostler.client import Client
    from hostler.model.views.runs import StageView
    from hostler.model.views.services import ReleaseView

FAILED = 6
"""Exit code: the release did not take over, and the earlier release serves again."""
STILL_OPEN = 8
_POLL = 0.5
_LINES = 20


def add_following(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that makes a release."""
    parser.add_argument("-d", "--detach", action="store_true", help="do not wait until it is live")
    parser.add_argument(
        "--timeout", type=duration, metavar="TIME",
        help="wait at most this long, then exit with 8",
    )  # fmt: skip
    add_yes(parser)
    add_common(parser, json_output=True, timeout=False)


def is_declined(
    args: argparse.Namespace, question: str, effects: Callable[[], Iterable[str]] = tuple
) -> bool:
    """Show the effect, then ask on a terminal; True if the user says no."""
    return not args.yes and is_terminal() and not confirm(args, question, effects())


def end(
    args: argparse.Namespace, client: Client, release: ReleaseView, *, undoes: bool = False
) -> int:
    """How a command that made a release ends: at once with --detach, else when the release is over.
    `undoes`: it is to fail. The exit code."""
    if not args.detach:
        return _followed(args, client, release, undoes=undoes)
    if args.json:
        out_json("release", release)
        return 0
    out(str(release.number))
    hint(args, f"see it: hostler releases {release.service}")
    return 0


def _followed(
    args: argparse.Namespace, client: Client, release: ReleaseView, *, undoes: bool
) -> int:
    try:
        release = follow(args, client, release)
    except KeyboardInterrupt:
        name = release.service
        note_for(args)(f"release {release.number} continues; undo it: hostler rollback {name}")
        raise
    if args.json:
        out_json("release", release)
    if release.is_open:
        return STILL_OPEN
    if undoes and release.state == "restored":
        return 0
    if release.state in ("live", "retired"):
        _ended_well(args, release)
        return 0
    if not args.json:
        for line in _last_words(client, release):
            note(line)
    return FAILED


def follow(args: argparse.Namespace, client: Client, release: ReleaseView) -> ReleaseView:
    """Show progress until the release is over, or until `--timeout`."""
    ends = None if args.timeout is None else time.monotonic() + args.timeout
    said = ""
    while release.is_open and (ends is None or time.monotonic() < ends):
        said = _say(args, release, said)
        time.sleep(_POLL)
        release = newest(client, release)
    _say(args, release, said)
    return release


def newest(client: Client, release: ReleaseView) -> ReleaseView:
    """The present state of the release."""
    found = client.releases(release.service)
    now = next((each for each in found if each.number == release.number), None)
    if now is None:
        raise NotFoundError(f"{release.service} has no release {release.number} any more")
    return now


def _say(args: argparse.Namespace, release: ReleaseView, said: str) -> str:
    """One line per change of its state, or of the reason why it waits."""
    reason = f": {release.reason}" if release.reason else ""
    text = f"release {release.number} of {release.service} is {release.state}{reason}"
    if text != said and not args.json:
        note_for(args)(text)
    return text


def _ended_well(args: argparse.Namespace, release: ReleaseView) -> None:
    if not args.json:
        took = format_duration(max(0.0, release.changed_at - release.at))
        at = f", at {release.url}" if release.url is not None else ""
        out(f"{release.service} serves release {release.number} after {took}{at}")
        hint(args, f"where: hostler services   undo it: hostler rollback {release.service}")


def _last_words(client: Client, release: ReleaseView) -> list[str]:
    """Why the build, test or replica failed, and its last lines: usually the error itself."""
    try:
        stage = _failed(client.show(release.run_id).stages)
        if stage is None or stage.attempt is None:
            return []
        log = b"".join(client.logs(release.run_id, stage.name, tail=_LINES))
    except HostlerError:
        return []
    why = ": ".join(filter(None, (stage.attempt.cause, stage.attempt.detail)))
    lines = log.decode(errors="replace").splitlines()
    told = [f"the last of {stage.name}:", *(f"  {line}" for line in lines)] if lines else []
    return [*([f"{stage.name}: {why}"] if why else []), *told]


def _failed(stages: Sequence[StageView]) -> StageView | None:
    """What was to be done before a replica may start, if that failed; else a replica that was
    tried, rather one that ended by itself."""
    tried = [stage for stage in stages if stage.attempt is not None and not stage.kept]
    before = [s for s in tried if s.kind != "service" and s.status == "failed"]
    replicas = [s for s in tried if s.kind == "service"]
    return next(iter((*before, *sorted(replicas, key=lambda s: s.status != "failed"))), None)
