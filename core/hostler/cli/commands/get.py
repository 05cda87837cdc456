"""`hostler get RUN`: lists or fetches files of a run: options, progress line, table of results,
`-o -`; client/fetch.py downloads."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from hostler.base.errors import HostlerError, InputError, NotFoundError
from hostler.base.table import Column, cut, is_terminal, terminal_width
from hostler.base.text import clean, first_of
from hostler.base.units import counted, format_size
from hostler.cli.log_output import LogPrinter
from hostler.cli.options import count, run_and_stage
from hostler.cli.shared import add_common, hint, note_for, open_client, out_json, out_table
from hostler.show.files import list_rows

if TYPE_CHECKING:
    from hostler.client.fetch import Fetched, Fetcher
    from hostler.client.fetch_places import Wanted
    from hostler.model.views.files import FileView
    from hostler.model.views.runs import RunView


INTERMIXED = True
_STDOUT = "-"
_MISSING_CODE = 1
_LIST_COLUMNS = (
    Column("STAGE"),
    Column("FILE", flex=True, least=20),
    Column("SIZE", right=True),
    Column("OUTPUT"),
    Column("WHERE", flex=True),
)
_COLUMNS = (Column("FILE", flex=True, least=20), Column("SIZE", right=True), Column("STATE"))
_MOST_ROWS = 40
"""On a terminal."""

EPILOG = """\
examples:
  hostler get last                      fetch all saved files into this folder
  hostler get last model.pt -o results  fetch one file into the folder results
  hostler get last '*.csv' -o -         write one file to stdout
  hostler get last/train ckpt/last.pt   fetch the current file of a running stage
"""

_EVERY_S = 0.1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "run",
        type=run_and_stage,
        metavar="RUN[/STAGE]",
        help="a run's id, or its beginning; `last`",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only these outputs, files or folders; globs too"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default=".",
        help="the folder to write to (default: this one); `-`: one file to stdout",
    )
    parser.add_argument(
        "--attempt",
        type=count,
        metavar="N",
        help="files of this attempt (default: the newest that has such files)",
    )
    parser.add_argument("--list", action="store_true", help="only list the files")
    parser.add_argument("--force", action="store_true", help="replace files that differ")
    add_common(parser, json_output=True)


def run(args: argparse.Namespace) -> int:
    """Fetch, or list."""
    client = open_client(args)
    run = client.show(args.run[0])
    run_id, stage = run.run_id, args.run[1]
    found = client.files(run_id, stage=stage)
    if found.truncated:
        note_for(args)("the host has more files than it can list: name the ones you want")
    _refuse_nothing(run, stage, found.files)
    files = _of_attempt(found.files, args.attempt)
    if args.list:
        return _list(args, run_id, files, found.truncated)
    from hostler.client.fetch import Fetcher

    fetcher = Fetcher(client, run_id, revive=client.revive)
    if args.output == _STDOUT:
        return _to_stdout(args, fetcher, files)
    code = _to_folder(args, run, fetcher, files)
    for stage_name, number in _earlier(files):
        at = f"{run_id}/{stage_name} --attempt {number}"
        note_for(args)(f"an earlier attempt of {stage_name} left files, too: hostler get {at}")
    return code


def _of_attempt(files: Sequence[FileView], number: int | None) -> list[FileView]:
    """Files of one attempt, or all. Raises NotFoundError if that attempt has none."""
    if number is None:
        return list(files)
    found = [file for file in files if file.attempt == number]
    if not found:
        known = ", ".join(str(n) for n in sorted({file.attempt for file in files}))
        raise NotFoundError(
            f"attempt {number} has no files", remedy=f"Attempts with files: {known}"
        )
    return found


def _earlier(files: Sequence[FileView]) -> list[tuple[str, int]]:
    """Stages of which more than one attempt has files, each with the latest but one."""
    numbers: dict[str, set[int]] = {}
    for file in files:
        numbers.setdefault(file.stage, set()).add(file.attempt)
    return [(stage, sorted(found)[-2]) for stage, found in numbers.items() if len(found) > 1]


def _list(args: argparse.Namespace, run_id: str, files: Sequence[FileView], truncated: bool) -> int:
    from hostler.client.fetch_places import choose

    if args.names:
        chosen = {(f.attempt_id, f.path) for f in choose(run_id, files, args.names)}
        files = [file for file in files if (file.attempt_id, file.path) in chosen]
    if args.json:
        out_json("files", {"files": files, "truncated": truncated})
        return 0
    out_table(args, _LIST_COLUMNS, list_rows(files))
    return 0


def _to_stdout(args: argparse.Namespace, fetcher: Fetcher, files: Sequence[FileView]) -> int:
    from hostler.client.fetch_places import choose

    if args.json:
        raise InputError("--json cannot be combined with -o -, which writes the bytes of a file")
    chosen = [file for file in choose(fetcher.run_id, files, args.names) if not file.is_link]
    if len(chosen) != 1:
        raise InputError(
            f"-o - writes one file, and these are {len(chosen)}: {_few(chosen)}",
            remedy=f"Name one: {_to_get(fetcher.run_id, chosen[0])}" if chosen else "Name one",
        )
    sink = Stdout(color=args.color)
    fetcher.copy(chosen[0], sink)
    sink.finish()
    return 0


def _to_folder(
    args: argparse.Namespace,
    run: RunView,
    fetcher: Fetcher,
    files: Sequence[FileView],
) -> int:
    from hostler.client.fetch_writer import Target

    shown = is_terminal(sys.stderr) and not args.quiet and not args.json
    line = ProgressLine(sys.stderr if shown else None)
    fetcher.progress = line
    try:
        done = fetcher.fetch(files, args.names, Target(args.output), force=args.force)
    except KeyboardInterrupt:
        line.clear()
        note_for(args)("stopped; run the same command to continue")
        raise
    finally:
        line.clear()
    _tell(args, run, done)
    return _MISSING_CODE if any(file.state == "missing" for file in done) else 0


def _tell(args: argparse.Namespace, run: RunView, done: Sequence[Fetched]) -> None:
    if args.json:
        out_json("get", {"run_id": run.run_id, "files": result_rows_json(done)})
        return
    terminal = is_terminal()
    shown = done[:_MOST_ROWS] if terminal else done
    out_table(args, _COLUMNS, result_rows(args.output, shown))
    note_for(args)(_summary(args.output, done))
    running = [s.name for s in run.stages if s.status == "running"]
    if running and args.run[1] is None:
        at = f"{run.run_id}/{running[0]}"
        hint(args, f"stage {running[0]} still runs: hostler get {at} fetches its files as they are")


def result_rows_json(done: Sequence[Fetched]) -> list[dict[str, str | int | None]]:
    """The result for each file, for --json."""
    return [
        {
            "stage": file.stage, "path": file.path, "to": file.to, "size": file.size,
            "sha256": file.sha256, "state": file.state, "why": file.why,
        }
        for file in done
    ]  # fmt: skip


def _summary(folder: str, done: Sequence[Fetched]) -> str:
    new = [file for file in done if file.state in ("fetched", "link")]
    there = sum(file.state == "there" for file in done)
    missing = [file for file in done if file.state == "missing"]
    text = f"fetched {counted(len(new), 'file')} ({format_size(sum(f.size for f in new))})"
    text += f" into {folder}" if folder != "." else ""
    text += f"; {there} there already" if there else ""
    if missing:
        text += f"; {counted(len(missing), 'file')} could not be fetched: "
        text += "; ".join(f"{file.path}: {file.why}" for file in missing[:5])
        text += f"; and {len(missing) - 5} more" if len(missing) > 5 else ""
    return text


def _refuse_nothing(run: RunView, name: str | None, files: Sequence[FileView]) -> None:
    """Raise NotFoundError if there are no files, with the remedy."""
    if files:
        return
    run_id = run.run_id
    stages = [s for s in run.stages if name in (None, s.name, s.base)]
    running = [s.name for s in stages if s.status == "running"]
    if running and name is None:
        remedy = (
            f"Stage {running[0]} still runs: `hostler get {run_id}/{running[0]}` fetches its files "
        )
        raise NotFoundError(f"run {run_id} has saved no files yet", remedy=f"{remedy}as they are")
    at = f"{run_id}/{name}" if name else run_id
    if any(s.status in ("waiting", "starting", "collecting") for s in stages):
        remedy = f"see how far it is: hostler why {at}, or wait for its end: hostler wait {run_id}"
        raise NotFoundError(f"{at} has no files yet", remedy=remedy)
    raise NotFoundError(f"{at} has no files", remedy=f"see how it ended: hostler why {at}")


def _to_get(run_id: str, file: Wanted) -> str:
    """A command that the user can copy, with any file name."""
    path = file.path if not file.path.startswith("-") else f"./{file.path}"
    return f"hostler get {run_id}/{file.stage} {shlex.quote(path)} -o -"


def _few(files: Sequence[Wanted]) -> str:
    return first_of([file.to for file in files], 5) or "none"


class ProgressLine:
    """One line on a terminal that shows the progress of a file; without a stream, no output."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._drawn_at = 0.0
        self._file: str | None = None
        self._since, self._from = 0.0, 0

    def __call__(self, to: str, done: int, size: int) -> None:
        """As `fetch.Progress`."""
        if self._stream is None:
            return
        now = time.monotonic()
        if to != self._file:
            self._file, self._since, self._from = to, now, done
        if now - self._drawn_at < _EVERY_S:
            return
        self._drawn_at = now
        text = progress_text(to, done, size, (done - self._from) / max(0.001, now - self._since))
        self._stream.write(f"\r{cut(clean(text), max(10, terminal_width() - 1))}\x1b[K")
        self._stream.flush()

    def clear(self) -> None:
        """Remove it from the terminal."""
        if self._stream is not None and self._drawn_at:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn_at = 0.0


def progress_text(to: str, done: int, size: int, speed: float) -> str:
    """ "50 % of 1 GiB, 110 MiB/s: model.pt"."""
    percent = 100 * done // size if size else 100
    rate = f", {format_size(speed)}/s" if speed else ""  # none is known when it begins
    return f"{percent:3d} % of {format_size(size)}{rate}: {to}"


def result_rows(folder: str, done: Sequence[Fetched]) -> list[tuple[str, ...]]:
    """Rows of what was fetched: the file as it is found from here."""
    from pathlib import PurePath

    return [(str(PurePath(folder) / file.to), format_size(file.size), file.state) for file in done]


class Stdout:
    """One file written to stdout: its bytes into a pipe, harmless text on a terminal."""

    def __init__(self, *, color: str = "auto") -> None:
        import hashlib  # takes time to load

        self._printer = LogPrinter(color=color)
        self._sha256 = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes written."""
        return self._sha256.hexdigest()

    def expect(self, size: int) -> None:
        """Checks nothing: stdout needs no space on a disk."""

    def write(self, data: bytes) -> None:
        """The next bytes."""
        self._printer.write(data)
        self._sha256.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Written bytes cannot be taken back. Raises HostlerError if there are any."""
        if self.size:
            raise HostlerError(
                "the file changed while it was read, and part of it is already written",
                remedy="Fetch it into a folder: -o DIR",
            )

    def finish(self) -> None:
        """The end."""
        self._printer.finish()
        sys.stdout.flush()
