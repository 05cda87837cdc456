"""Decides which processes of a stage get the warning signal before its time limit: only those that
handle it; of a shell that does not, its children.

Only a process that catches the signal gets it (SigCgt of /proc/PID/status), because by default USR1
ends a program. If a shell does not catch it, its child processes are examined instead:
`sh -c "python train.py"` warns Python. The result is stored before it is reported. So a repeated
request gets the same answer, and the stage gets one signal.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
from typing import Callable, Dict, List, NamedTuple, Optional

from hostler_agent.folders import Refusal
from hostler_agent.json_values import Json, Message, Outgoing, integer, string, tables
from hostler_agent.processes import Proc
from hostler_agent.strays import Process, descendants
from hostler_agent.wire import decode_line

MARK = "warned"
"""Name of the file in a job's folder that records the warning."""
SHELLS = ("sh", "dash", "bash", "ash", "ksh", "mksh", "zsh", "busybox")
_INITS = ("docker-init", "tini", "catatonit", "dumb-init")
"""First processes of a container that are not its command: they pass all signals on."""
_MOST_NAMED = 20
_MOST_LOOKED = 5000
"""Limit of examined processes of one job."""
_MOST_NAME = 32
_MOST = 16 * 1024
_CUT_SHORT = "the agent was ended while it sent the signal"


class Wanted(NamedTuple):
    """Which signal to send, and to which processes."""

    name: str
    number: int
    children: bool = False
    """Whether to signal not the command, but the nearest processes below it that catch the
    signal."""


def wanted(payload: Message) -> Wanted:
    """Parse a request. Raises Refusal."""
    name, to = payload.get("signal"), payload.get("to")
    number = getattr(signal, "SIG%s" % name, None) if isinstance(name, str) else None
    if not isinstance(number, signal.Signals) or to not in ("command", "children"):
        raise Refusal("a warning needs a signal, and to whom", "InputError")
    if number in (signal.SIGKILL, signal.SIGSTOP):
        raise Refusal("SIG%s cannot be caught" % name, "InputError")
    return Wanted(str(name), int(number), to == "children")


class Aim(NamedTuple):
    """The processes that get the signal, and those that do not get it because they do not catch
    it."""

    catching: List[Process]
    deaf: List[Process]


def aim(proc: Proc, root: Process, ask: Wanted) -> Aim:
    """Find the processes to signal, from the command at `root` downwards."""
    below: Dict[int, List[Process]] = {}
    for process in descendants(proc, root.pid):
        below.setdefault(process.parent, []).append(process)
    found = Aim([], [])
    queue = list(below.get(root.pid, ())) if ask.children else [root]
    for process in queue:  # the list grows in the loop
        if len(found.catching) + len(found.deaf) >= _MOST_LOOKED:
            break
        if catches(proc, process.pid, ask.number):
            found.catching.append(process)
            continue
        found.deaf.append(process)
        if ask.children or is_shell(proc, process.pid):
            queue += below.get(process.pid, ())
    return found


def catches(proc: Proc, pid: int, number: int) -> bool:
    """Whether a process has a handler for the signal."""
    for line in (proc.text(pid, "status") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "SigCgt":
            with contextlib.suppress(ValueError):
                return bool(int(value.strip(), 16) >> (number - 1) & 1)
    return False


def is_shell(proc: Proc, pid: int) -> bool:
    """Whether a process is a shell, or a script that a shell interprets: the kernel then puts the
    shell before the script's arguments."""
    first = (proc.text(pid, "cmdline", 4096) or "").split("\0")[0]
    return os.path.basename(first).lstrip("-") in SHELLS


def command_of_container(proc: Proc, first: Process) -> Process:
    """The command of a container: its first process, or the child of an init. Below Docker's own
    init there may be a second one, from the image."""
    below = descendants(proc, first.pid)
    while (proc.text(first.pid, "comm") or "").strip() in _INITS:
        own = [each for each in below if each.parent == first.pid]
        if not own:
            break
        first = min(own, key=lambda each: each.ticks)  # others are orphans that it adopted
    return first


class Sender:
    """Signals processes that are still the same. `instead` signals the command in another way, if
    the login may not signal it."""

    def __init__(
        self,
        proc: Proc,
        root: Process,
        ask: Wanted,
        instead: Optional[Callable[[], bool]] = None,
    ) -> None:
        self._proc, self._root, self._ask, self._instead = proc, root, ask, instead

    def send(self) -> Outgoing:
        """Signal all processes that catch it. Returns the answer to the request."""
        found = aim(self._proc, self._root, self._ask)
        sent: List[Process] = []
        denied: List[Process] = []
        for process in found.catching:
            done = self._send(process)
            if done is not None:
                (sent if done else denied).append(process)
        return {
            "sent": self._named(sent), "deaf": self._named(found.deaf),
            "denied": self._named(denied), "problem": "",
        }  # fmt: skip

    def _send(self, process: Process) -> Optional[bool]:
        """Signal a process. True: sent; False: not permitted; None: it has just ended, or no longer
        catches the signal."""
        if self._proc.start_ticks(process.pid) != process.ticks:
            return None
        if not catches(self._proc, process.pid, self._ask.number):
            return None
        try:
            os.kill(process.pid, self._ask.number)
        except ProcessLookupError:
            return None
        except PermissionError:
            return process.pid == self._root.pid and bool(self._instead and self._instead())
        return True

    def _named(self, processes: List[Process]) -> List[Outgoing]:
        return [self._one(process) for process in processes[:_MOST_NAMED]]

    def _one(self, process: Process) -> Outgoing:
        name = (self._proc.text(process.pid, "comm") or "?").strip()[:_MOST_NAME]
        return {"pid": process.pid, "name": name}


def root_of(proc: Proc, pid: int) -> Optional[Process]:
    """A process as it is now; None if it is gone, or cannot be seen."""
    state, parent, ticks = proc.origin(pid)
    if state in ("Z", "X", None) or ticks is None:
        return None
    return Process(pid, parent or 0, ticks)


def unknown(problem: str) -> Outgoing:
    """The answer if no signal can be sent."""
    return {"sent": [], "deaf": [], "denied": [], "problem": problem}


def once(path: str, send: Callable[[], Outgoing]) -> Outgoing:
    """Send the signal and record the answer in a file at `path`. If the file exists, return its
    answer instead. If a full disk prevents the file, the signal is still sent: the daemon records
    the answer, too."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        mark = os.open(path, flags, 0o600)
    except FileExistsError:
        return _read(path)
    except OSError:
        return send()
    try:
        answer = send()
        with contextlib.suppress(OSError):
            os.write(mark, json.dumps(answer).encode("ascii"))
        return answer
    finally:
        os.close(mark)


def _read(path: str) -> Outgoing:
    """Read a recorded answer. The stage can put anything in its place, and reading a FIFO would
    wait for ever."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError, ValueError):
        with open(os.open(path, flags), "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return _answer(decode_line(file.read(_MOST)))
    return unknown(_CUT_SHORT)


def _answer(told: Message) -> Outgoing:
    """The file's content in the form of an answer; otherwise the daemon would repeat the request
    for ever."""
    return {
        "sent": _reached(told.get("sent")), "deaf": _reached(told.get("deaf")),
        "denied": _reached(told.get("denied")), "problem": string(told.get("problem")) or "",
    }  # fmt: skip


def _reached(value: Json) -> List[Outgoing]:
    found = [(integer(each.get("pid")), string(each.get("name"))) for each in tables(value)]
    return [
        {"pid": pid, "name": name[:_MOST_NAME]}
        for pid, name in found[:_MOST_NAMED]
        if pid is not None and pid > 0 and name is not None
    ]
