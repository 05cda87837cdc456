"""Starts, watches and ends setups of process jobs, before GPUs are claimed: longest text, the log's
size, how a time limit is applied; `setupenv` does the work.

A setup runs under a shim, like a job. Its journal lies in a separate folder inside the attempt's
folder, so that no look shows it. Its output is in the attempt's log. If a daemon is killed and
repeats its request, it gets the setup that runs or has ended.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, List, Optional, Sequence

from hostler_agent import journal
from hostler_agent.fields import seconds, text
from hostler_agent.folders import Folders, Refusal, check_relative, write_file
from hostler_agent.journal import Job
from hostler_agent.json_values import Message, Outgoing, strings
from hostler_agent.processes import Proc
from hostler_agent.shim import Spec

if TYPE_CHECKING:
    from hostler_agent.setupenv import Wanted

FOLDER = "setup"
_WANTED = "wanted.json"
_RESULT = "environment"
_LIMIT = 1800.0
_MOST_TEXT = 64 * 1024
LOG_CAP = 1024**3
_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def load(job: Job) -> Optional[Job]:
    """Load the setup of an attempt; None if it was not started."""
    return journal.load(os.path.join(job.folder, FOLDER), job.folder)


def state(job: Job, proc: Proc, boot_id: str) -> Optional[Outgoing]:
    """The state of an attempt's setup; None: it was not started."""
    found = load(job)
    if found is None or found.started is None:
        return None
    running = found.running(proc, boot_id)
    if not running and found.ended is None:
        # The end may have been written after the journal was read and before the process was
        # checked.
        found = load(job) or found
    if found.ended is not None:
        return _ended(found, found.ended)
    if running:
        return {"state": "running"}
    if environment(job.folder):
        return {"state": "ready"}  # this file is written last
    if found.started is not None and found.started.boot_id != boot_id:
        raise Refusal("the host was rebooted since job %s was made" % job.attempt_id)
    gone = "the setup and its supervisor are gone: how it ended is unknown"
    return {"state": "failed", "error": gone}


def _ended(found: Job, end: journal.Ended) -> Outgoing:
    if end.exit_code == 0 and not end.late and environment(found.home):
        return {"state": "ready"}
    return {
        "state": "failed", "exit_code": end.exit_code, "signal": end.signal, "late": end.late,
        "error": end.error,
    }  # fmt: skip


def environment(home: str) -> str:
    """The path of the environment that an attempt's setup has made; "" if there is none."""
    try:
        with open(os.path.join(home, FOLDER, _RESULT), encoding="utf-8",
                  errors="surrogateescape") as file:  # fmt: skip
            return file.read()
    except OSError:
        return ""


def spec(job: Job, asked: Message, folders: Folders, boot_id: str, secrets: Sequence[str]) -> Spec:
    """Write all files that the setup needs. Returns the job for the shim, without its variables.
    Raises Refusal, OSError."""
    wanted = _wanted(job, asked, folders, secrets)
    folder = os.path.join(job.folder, FOLDER)
    os.makedirs(folder, 0o700, exist_ok=True)
    path = os.path.join(folder, _WANTED)
    write_file(path, json.dumps(wanted._asdict()).encode("ascii"))
    if journal.load(folder, job.folder) is None:
        made = {"event": "created", "attempt_id": job.attempt_id, "at": time.time()}
        journal.append(folder, made)
    return Spec(
        job.attempt_id, folder, boot_id, _script("build", path), {}, "",
        job.created.log_cap or LOG_CAP, job.created.grace, home=job.folder,
        limit=seconds(asked, "timeout", _LIMIT),
    )  # fmt: skip


def _wanted(job: Job, asked: Message, folders: Folders, secrets: Sequence[str]) -> Wanted:
    line = text(asked, "text")
    if len(line) > _MOST_TEXT:
        raise Refusal("setup is longer than %d characters" % _MOST_TEXT, "InputError")
    from hostler_agent.setupenv import Wanted  # few jobs need it

    files = asked.get("files")
    named = None if files is None else [check_relative(name) for name in strings(files)]
    return Wanted(
        line, named, "%s of %s" % (job.created.owner or "", job.created.daemon_id),
        job.created.here or os.path.join(job.folder, "work"), folders.venvs,
        os.path.join(job.folder, "venv"), os.path.join(job.folder, FOLDER, _RESULT),
        list(secrets), asked.get("over") is True,
        check_relative(asked.get("conda") or ""),
    )  # fmt: skip


def entered(job: Job, argv: Sequence[str]) -> List[str]:
    """The command that executes `argv` in the environment of the attempt's setup. Raises
    Refusal."""
    found = environment(job.folder)
    if not found:
        raise Refusal("the setup of %s has not ended" % job.attempt_id, "ConflictError")
    return [*_script("run", found), "--", *argv]


def _script(mode: str, path: str) -> List[str]:
    script = os.path.join(_PACKAGE, "setupenv.py")
    return [sys.executable, "-I", "-S", script, mode, path]
