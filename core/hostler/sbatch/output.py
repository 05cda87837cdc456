"""`--output` of a batch script: the path pattern of the second log copy, as a key of the stage (the
agent's logcopy fills it in)."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from hostler.sbatch.job import BatchJob


def with_log_file(job: BatchJob, start: str) -> BatchJob:
    """The job with the file that `--output` names, from the folder that it starts in; without one
    where that lies elsewhere, as only files of the work folder are its own on every host.
    `start`: "" if unknown."""
    path = job.output
    if path.startswith("/"):
        path = posixpath.relpath(path, start) if start else ""
    path = posixpath.normpath(path) if path and path.isprintable() else ""
    if path in ("", ".") or path.split("/")[0] == ".." or job.output.endswith("/"):
        return job
    return replace(job, log_file=path)
