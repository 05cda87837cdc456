"""Rows of `hostler get --list`: file, size, output, where it lies and until when. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hostler.base.dates import clock_text
from hostler.base.units import format_size

if TYPE_CHECKING:
    from hostler.model.views.files import FileView


def list_rows(files: Sequence[FileView]) -> list[tuple[str, ...]]:
    """Rows of `get --list`."""
    return [
        (
            file.stage + (f" ({file.attempt})" if file.attempt > 1 else ""),
            file.path + (f" -> {file.link}" if file.link is not None else ""),
            "-" if file.link is not None else format_size(file.size),
            str(file.artifact) if file.kind == "output" else "-",
            where_text(file),
        )
        for file in files
    ]  # fmt: skip


def where_text(file: FileView) -> str:
    """The place of a file, and until when it stays there."""
    if file.where == "saved":
        return "saved, partial" if file.partial else "saved"
    if file.where == "running":
        return f"{file.host}, running"
    folder = f":{file.folder}" if file.folder else ""
    until = f" until {clock_text(file.until)}" if file.until else ""
    return f"{file.host}{folder}{until}"
