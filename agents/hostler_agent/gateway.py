"""The parts of a gateway on its host: its private folder and allowed files, where the HAProxy
program is searched, its log and ports."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import threading
from typing import Dict, List, Optional

from hostler_agent import forwards, listening
from hostler_agent.fields import optional_text, text, texts
from hostler_agent.folders import Folders, Refusal, check_attempt, write_file
from hostler_agent.gatewaylog import LogReader
from hostler_agent.json_values import Message, Outgoing, table

_FILES = ("haproxy.cfg", "tokens.map", "grants.map", "states", forwards.WANTED)
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/bin")
_ANSWER_S = 5.0
_LOGIN_S = 20.0
_VERSION_BYTES = 200


class Gateways:
    """The gateways of this login. Methods raise Refusal or OSError, and may be called from any
    thread."""

    def __init__(self, folders: Folders) -> None:
        self._base = os.path.join(folders.base, "gateway")
        self._readers: Dict[str, LogReader] = {}
        self._lock = threading.Lock()

    def put(self, payload: Message) -> Outgoing:
        """Write files of a gateway, each as one step. Without files only its folder is made."""
        folder = self._folder(payload)
        files = payload.get("files") or {}
        if not isinstance(files, dict):
            raise Refusal("files should be an object", "InputError")
        os.makedirs(folder, 0o700, exist_ok=True)
        for name, data in files.items():
            if name not in _FILES or not isinstance(data, str):
                raise Refusal("%r is no file of a gateway" % (name,), "InputError")
            write_file(os.path.join(folder, name), data.encode("utf-8"))
        return {"folder": folder}

    def remove(self, payload: Message) -> Outgoing:
        """Remove all files of a gateway that has ended; no error when they are gone."""
        folder = self._folder(payload)
        with self._lock:
            reader = self._readers.pop(folder, None)
        if reader is not None:
            reader.close()
        if os.path.isdir(folder):
            import shutil

            shutil.rmtree(folder)
        return {}

    def find(self, payload: Message) -> Outgoing:
        """Find HAProxy on this host: its path, its version text and its libraries; path None if
        there is none."""
        named = optional_text(payload, "program")
        for path in [os.path.expanduser(named)] if named else _candidates():
            libraries = _libraries(path)
            said = _version(path, libraries)
            if said is not None:
                return {"program": path, "version": said, "libraries": libraries}
        return {"program": None, "version": "", "libraries": []}

    def log(self, payload: Message) -> Outgoing:
        """The counts of the log since this agent began to listen, which is at the first request."""
        folder = self._folder(payload)
        with self._lock:
            reader = self._readers.get(folder)
            if reader is None or not reader.is_bound():
                if reader is not None:
                    reader.close()
                reader = self._readers[folder] = LogReader(os.path.join(folder, "log.sock"))
        return reader.counts()

    def forwards(self, payload: Message) -> Outgoing:
        """The command of the forwarder, the wanted connections, and the state of each that it has
        reported."""
        folder = self._folder(payload)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "forwarder.py")
        return {
            "argv": [sys.executable, "-I", "-S", program, folder],
            "wanted": _read(os.path.join(folder, forwards.WANTED)),
            "hosts": _hosts(os.path.join(folder, forwards.STATE)),
        }

    def reach(self, payload: Message) -> Outgoing:
        """Why this login cannot forward to another host; "": it can forward."""
        words = texts(payload, "ssh")
        if not words:
            raise Refusal("ssh should name a host", "InputError")
        try:
            done = subprocess.run(
                forwards.check_command(words, os.environ), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_LOGIN_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"why_not": "no answer within %g s" % _LOGIN_S}
        except OSError as error:
            return {"why_not": "ssh cannot be started: %s" % (error.strerror or error)}
        return {"why_not": forwards.why_not(done.stderr.decode("utf-8", "replace"))}

    def ports(self, payload: Message) -> Outgoing:
        """Which ports a gateway of this login cannot use."""
        return listening.taken(payload)

    def _folder(self, payload: Message) -> str:
        return os.path.join(self._base, check_attempt(text(payload, "gateway")))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _hosts(path: str) -> List[Outgoing]:
    """The forwarder's last report."""
    try:
        found = table(json.loads(_read(path) or "{}"))
    except ValueError:
        return []
    return [{**table(way), "host": host} for host, way in found.items()]


def _candidates() -> List[str]:
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *_PLACES]
    return [os.path.join(folder, "haproxy") for folder in folders if os.path.isabs(folder)]


def _libraries(path: str) -> List[str]:
    """Libraries of unpacked packages: beside `usr/sbin` of the same tree."""
    root, found, _ = path.rpartition("/usr/sbin/")
    return sorted(glob.glob(glob.escape(root) + "/usr/lib/*-linux-gnu*")) if found and root else []


def _version(path: str, libraries: List[str]) -> Optional[str]:
    """The first line of `haproxy -v`; None if it does not run."""
    if not os.access(path, os.X_OK):
        return None
    env = dict(os.environ)
    if libraries:
        env["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
    try:
        done = subprocess.run(
            [path, "-v"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, timeout=_ANSWER_S, env=env,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout[:_VERSION_BYTES].decode("utf-8", "replace").splitlines()
    return lines[0] if lines and done.returncode == 0 else None
