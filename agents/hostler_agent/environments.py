"""Checks names of modules and conda environments that jobs ask for, makes the command that loads
them, and asks whether the host has them.

`activate`, a separate program, loads them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from typing import Dict, List, Mapping, Optional, Sequence, TypedDict

from hostler_agent.fields import optional_text, texts
from hostler_agent.folders import Refusal
from hostler_agent.json_values import Message

_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from hostler_agent.activate import main; main(sys.argv[1:])"
)
_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+:@/=,~-]{0,199}")
_CONDA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,199}|~?/[^\x00-\x1f\x7f]{1,1000}")
_MOST_MODULES = 50
_BACKUP = 35.0
"""Seconds after which a running check is killed."""
_MOST_PROBLEM = 1000
_MOST_STUCK = 4
"""Checks that may hang at the same time; while so many hang, no further check starts."""
_stuck: List["subprocess.Popen[bytes]"] = []
_LOGIN = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")


class Answer(TypedDict):
    """`problem`: the missing part, as words after "this host"; "" if nothing is missing; None:
    unknown."""

    problem: Optional[str]


def _options(payload: Message, keep: Sequence[str]) -> List[str]:
    """The requested environment as arguments of `activate`; [] if none is requested. Raises
    Refusal."""
    modules = texts(payload, "modules") if payload.get("modules") is not None else []
    conda = optional_text(payload, "conda")
    if len(modules) > _MOST_MODULES or not all(map(_MODULE.fullmatch, modules)):
        raise Refusal("modules should be a list of at most %d names" % _MOST_MODULES, "InputError")
    if conda is not None and not _CONDA.fullmatch(conda):
        raise Refusal("%r is not a conda environment" % conda, "InputError")
    found = [word for name in modules for word in ("--module", name)]
    if conda is not None:
        found += ["--conda", conda]
    return found + [word for name in keep for word in ("--keep", name)] if found else []


def command(argv: Sequence[str], payload: Message, keep: Sequence[str]) -> List[str]:
    """The command that loads the requested environment and then executes `argv`. `keep`: names of
    variables that must not change. Raises Refusal."""
    options = _options(payload, keep)
    return [*_start(), *options, "--", *argv] if options else list(argv)


def _start() -> List[str]:
    above = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [sys.executable, "-I", "-S", "-c", _START, above]


def check(payload: Message, login: Mapping[str, str]) -> Answer:
    """Which part of the requested environment this host lacks. `env`: variables for the search.
    Raises Refusal."""
    options = _options(payload, ())
    if not options:
        return {"problem": ""}
    _stuck[:] = [process for process in _stuck if process.poll() is None]
    if len(_stuck) >= _MOST_STUCK:
        return {"problem": None}
    given = payload.get("env")
    env = {name: login[name] for name in _LOGIN if name in login}
    folders = env.get("PATH", "").split(os.pathsep)
    env["PATH"] = os.pathsep.join(filter(os.path.isabs, folders)) or os.defpath
    if isinstance(given, dict):
        env.update({str(name): str(value) for name, value in given.items()})
    said = _said([*_start(), "--check", *options], env)
    try:
        problem = json.loads(said)["problem"]
    except (ValueError, KeyError, TypeError):
        return {"problem": None}
    return {"problem": problem[:_MOST_PROBLEM] if isinstance(problem, str) else None}


def _said(argv: Sequence[str], env: Dict[str, str]) -> bytes:
    home = env.get("HOME", "/")
    process = subprocess.Popen(
        argv, env=env, cwd=home if os.path.isdir(home) else "/", stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        return process.communicate(timeout=_BACKUP)[0]
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()
        _stuck.append(process)  # a process that waits for a file server cannot be ended
        return b""
