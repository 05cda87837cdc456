"""Files of a run, as rows of a table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hostler.base.units import format_size
from hostler.show.runs import clock_text


def list_rows(files: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of `get --list`."""
    return [
        (
            str(file["stage"]) + (f" ({file['attempt']})" if file["attempt"] > 1 else ""),
            str(file["path"]) + (f" -> {file['link']}" if file.get("link") is not None else ""),
            "-" if file.get("link") is not None else format_size(file["size"]),
            str(file["artifact"]) if file["kind"] == "output" else "-",
            where_text(file),
        )
        for file in files
    ]  # fmt: skip


def where_text(file: Mapping[str, Any]) -> str:
    """Where a file lies, and until when."""
    where = str(file["where"])
    if where == "saved":
        return "saved, partial" if file.get("partial") else "saved"
    if where == "running":
        return f"{file['host']}, running"
    folder = f":{file['folder']}" if file.get("folder") else ""
    until = f" until {clock_text(file['until'])}" if file.get("until") else ""
    return f"{file['host']}{folder}{until}"
