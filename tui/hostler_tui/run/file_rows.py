"""Columns and rows of a run's files, and the start of one file as text: how much is read, what
counts as binary. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hostler.base.errors import HostlerError
from hostler.base.text import clean
from hostler.base.units import format_size
from hostler.client.fetch_places import Wanted, choose, wanted_of
from hostler.model.views.files import FileView
from hostler.show.files import where_text
from hostler_tui.lines import Line, line
from hostler_tui.table_rows import Head, Row

HEADS = (
    Head("FILE", 30, flex=True),
    Head("SIZE", 9, right=True),
    Head("OUTPUT", 12, drop=2),
    Head("WHERE", 20, drop=1),
)
MOST_READ = 256 * 1024
"""The most bytes of a file that are shown."""


def files_of(run_id: str, told: Sequence[FileView]) -> tuple[Wanted, ...]:
    """The files that can be fetched, by their target path: for each stage those of the newest
    attempt with files. Raises InputError for names that lead out of the folder."""
    return choose(run_id, told, ())


def file_rows(files: Sequence[Wanted], told: Sequence[FileView]) -> list[Row]:
    """One row per file."""
    by_place = {_place(wanted_of(each)): each for each in told}
    return [Row(file.to, _cells(file, by_place.get(_place(file)))) for file in files]


def _place(file: Wanted) -> tuple[str, str]:
    return file.attempt_id, file.path


def _cells(file: Wanted, told: FileView | None) -> tuple[str, str, str, str]:
    name = f"{file.to} -> {file.link}" if file.link is not None else file.to
    output = str(file.artifact or "-") if told and told.kind == "output" else "-"
    return (
        clean(name), "-" if file.is_link else format_size(file.size), clean(output),
        clean(where_text(told)) if told else file.where,
    )  # fmt: skip


def by_stage(files: Sequence[Wanted]) -> dict[str, list[Wanted]]:
    """Files by their stage: a running stage has to be named."""
    found: dict[str, list[Wanted]] = {}
    for file in files:
        found.setdefault(file.stage, []).append(file)
    return found


def said_of(files: Sequence[Wanted]) -> str:
    """ "3 files, 12 MiB"."""
    size = format_size(sum(file.size for file in files))
    return f"{len(files)} file{'s' if len(files) != 1 else ''}, {size}"


def text_lines(data: bytes, size: int) -> list[Line]:
    """The beginning of a file, if it is text. Its characters cannot control the terminal."""
    if b"\0" in data[:8192]:
        return [line((" not a text file: fetch it, then open it with another program", "dim"))]
    lines = [line(f" {clean(text)}") for text in data.decode("utf-8", "replace").splitlines()]
    if size > len(data):
        lines.append(
            line((f" ... the first {format_size(len(data))} of {format_size(size)}", "dim"))
        )
    return lines or [line((" it is empty", "dim"))]


def problem_lines(error: HostlerError) -> list[str]:
    """The obstacles to a fetch, one per line."""
    problems = getattr(error, "problems", ())
    return [clean(str(problem)) for problem in problems]
