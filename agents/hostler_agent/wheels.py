"""Environments from wheels that the daemon has fetched, for hosts without a package index: what is
asked about the host's Python, and linking of wheels.

The daemon asks for the content of a job's requirements file, and for the Python that would install
it. It puts the wheels into the cache of blobs, and has them linked into the job's folder. `venv.py`
installs them from there, even if they are removed from the cache meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import struct
import sys
from typing import Dict, List, Tuple

from hostler_agent import journal
from hostler_agent.fields import optional_text, text
from hostler_agent.folders import Folders, Refusal, check_attempt, check_digest, write_file
from hostler_agent.jobenv import WHEELS
from hostler_agent.json_values import Message, Outgoing, items, table
from hostler_agent.venv import WHEELS_LIST, CannotBuild, environment_of, text_of, use

_NAME = re.compile(r"[A-Za-z0-9_.+!-]{1,200}\.whl")
_MOST = 5000
_MOST_TEXT = 256 * 1024
_32_BIT = {"x86_64": "i686", "aarch64": "armv7l", "armv8l": "armv7l"}


def wanted(folders: Folders, payload: Message) -> Outgoing:
    """The content of a job's requirements file, and its Python. If the job has started, the answer
    says only that. Raises Refusal, OSError."""
    job = journal.load(folders.job(check_attempt(payload.get("attempt_id"))))
    if job is None:
        raise Refusal("there is no such job here", "NotFoundError")
    if job.started is not None or job.ended is not None:
        return {"started": True}
    cwd, venv = optional_text(payload, "cwd") or "", text(payload, "venv")
    path = os.path.join(job.folder, "work", os.path.normpath(os.path.join(cwd, venv)))
    try:
        data = text_of(path)
    except CannotBuild as error:
        raise Refusal(str(error), "InputError") from error
    if len(data) > _MOST_TEXT:
        raise Refusal("%s is longer than %d bytes" % (venv, _MOST_TEXT), "InputError")
    return {"started": False, "text": data.decode("utf-8", "replace"), "python": about_python()}


def about_python() -> Outgoing:
    """All properties of this Python that decide which wheels it can install."""
    from importlib.machinery import EXTENSION_SUFFIXES

    machine = os.uname().machine
    if struct.calcsize("P") == 4:
        machine = _32_BIT.get(machine, machine)
    return {
        "implementation": sys.implementation.name, "python": "%d.%d.%d" % sys.version_info[:3],
        "soabi": EXTENSION_SUFFIXES[0].strip("."), "machine": machine, "glibc": _glibc(),
        "pip": _pip(), "markers": _markers(machine),
    }  # fmt: skip


def _glibc() -> str:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return ""
    return ".".join(version.split(".")[:2]) if name == "glibc" else ""


def _pip() -> str:
    """The version of pip in new environments; "" if there is none, as on Debian without the package
    python3-venv."""
    try:
        import ensurepip

        return ensurepip.version()
    except (ImportError, OSError, AttributeError):
        return ""


def _markers(machine: str) -> Dict[str, str]:
    """The environment markers, as defined on packaging.python.org, "Dependency specifiers"."""
    full, uname = "%d.%d.%d" % sys.version_info[:3], os.uname()
    return {
        "os_name": os.name, "sys_platform": sys.platform, "platform_system": uname.sysname,
        "platform_machine": machine, "platform_release": uname.release,
        "platform_version": uname.version, "python_version": "%d.%d" % sys.version_info[:2],
        "python_full_version": full, "implementation_name": sys.implementation.name,
        "implementation_version": full,
        "platform_python_implementation": platform.python_implementation(),
    }  # fmt: skip


def place(folders: Folders, payload: Message) -> Outgoing:
    """Put cached wheels into the folder of a job that has not started. The answer says whether the
    job has all packages. With "only_if_ready" no wheels are placed, and the answer says whether its
    environment is complete. Raises Refusal, OSError."""
    attempt = check_attempt(payload.get("attempt_id"))
    job = journal.load(folders.job(attempt))
    if job is None:
        raise Refusal("there is no job %s here" % attempt, "NotFoundError")
    if job.started is not None or job.ended is not None:
        return {"ready": True}
    wheels = _read(payload)
    is_there = use(environment_of(folders.venvs, wheels))
    if payload.get("only_if_ready") is True and not is_there:
        return {"ready": False}
    folder = os.path.join(job.folder, WHEELS)
    os.makedirs(folder, 0o700, exist_ok=True)
    for name, digest in () if is_there else wheels:
        _link(folders.blob(digest), os.path.join(folder, name))
    listed = json.dumps(wheels).encode("ascii")
    write_file(os.path.join(folder, WHEELS_LIST), listed)
    return {"ready": True}


def _read(payload: Message) -> List[Tuple[str, str]]:
    given = items(payload.get("wheels"))
    if len(given) > _MOST:
        raise Refusal("more than %d wheels" % _MOST, "InputError")
    found = []
    for each in map(table, given):
        name = text(each, "name")
        if not _NAME.fullmatch(name):
            raise Refusal("%r is not the name of a wheel" % name, "InputError")
        found.append((name, check_digest(each.get("digest"))))
    return sorted(found)


def _link(blob: str, path: str) -> None:
    if not os.path.exists(blob):
        raise Refusal("%s is not cached here" % os.path.basename(path), "NotFoundError")
    os.utime(blob)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    try:
        os.link(blob, path)
    except OSError:  # the cache may be on another disk
        os.symlink(blob, path)
