"""`--output` and `--error` of a batch script: path patterns of further log copies, as keys of
the stage (the agent's logcopy fills them in)."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from hostler.sbatch.job import BatchJob


def with_log_files(job: BatchJob, start: str) -> BatchJob:
    """The job with the files that `--output` and `--error` name, from the folder that it starts in.
    `start`: "" if unknown."""
    return replace(job, log_file=_below(job.output, start), error_file=_below(job.error, start))


def _below(asked: str, start: str) -> str:
    """A file of the folder; "" for one elsewhere, as only those of the work folder are its own on
    every host."""
    path = asked
    if path.startswith("/"):
        path = posixpath.relpath(path, start) if start else ""
    path = posixpath.normpath(path) if path and path.isprintable() else ""
    is_elsewhere = path in ("", ".") or path.split("/")[0] == ".." or asked.endswith("/")
    return "" if is_elsewhere else path
