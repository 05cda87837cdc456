"""An agent that does as a script says, for tests of the side that talks to it.

As a module: `script(folder, ...)` writes the script and gives the program that runs it. As a
program: `python scripted_agent.py FOLDER` is that agent. It reads `FOLDER/script.json` anew at each
start and counts its starts in `FOLDER/starts`. It imports little: tests start it hundreds of times.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

HASH = "ab" * 32
BOOT = "boot-1"
GPU = ["GPU-1", 0, "Model A100", 1000, 400.0]
LOOK: dict[str, Any] = {
    "boot": BOOT, "names": [GPU], "g": [[10, 0.0, 30.0, 50.0, 100, 200]],
    "slow": [[0, [], False, 5.0, None]], "procs": {}, "work": [], "foreign": [], "leases": [],
    "machine": [0.5, 1000, 500, [["/", 100, 50, []]]], "trouble": {"gpu": None, "docker": None},
}  # fmt: skip

_USUAL = {"look": LOOK, "blob.has": {"size": 0, "complete": False}}
"""What is answered where the script does not say; {} for all else."""


def script(folder: Path, **what: Any) -> None:
    """Say what the agent does from its next start on. Keys, all optional:

    noise: text before the first word; word: the bootstrap's first word, or None to end at once;
    hello: instead of the proper first line; answers: verb -> answer, a list of answers one after
    another, "die", "hang" or {"raw": text}, with "dies" to end after it; pushes: lines said after
    the hello; bulk: the bytes, as hex, that a bulk agent says; bulk_ends: it ends after them;
    bulk_after: what it says when it was sent the end of a stream; stderr, status: how it ends.
    """
    folder.mkdir(exist_ok=True)
    new = folder / "script.new"
    new.write_text(json.dumps(what))
    new.replace(folder / "script.json")


def starts(folder: Path) -> int:
    """How often it was started."""
    file = folder / "starts"
    return len(file.read_text()) if file.exists() else 0


def heard(folder: Path) -> list[dict[str, Any]]:
    """All lines it was told, of all its starts."""
    file = folder / "heard"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def running(folder: Path) -> list[int]:
    """Process ids of those that run now."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue  # it has ended
        if str(folder).encode() in words and b"-I" in words:
            found.append(int(name))
    return found


def command(folder: Path) -> str:
    """What runs it."""
    return f"exec {sys.executable} -I -S {os.path.realpath(__file__)} {folder}"


def hello() -> dict[str, Any]:
    """A proper first line."""
    facts = {"hostname": "scripted", "uid": os.getuid(), "runtimes": ["process"]}
    return {"hello": {"protocol": 1, "agent": HASH, "boot_id": BOOT, "facts": facts}}


class _Agent:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        with open(f"{folder}/script.json") as file:
            self.script: dict[str, Any] = json.load(file)
        self.asked: dict[str, int] = {}

    def run(self) -> None:
        self.note("starts", b"x")
        sys.stdout.write(self.script.get("noise", ""))
        word = self.script.get("word", {"agent": "ready"})
        if word is None:
            self.end()
        self.say(word)
        if word == {"agent": "need"}:
            size = int(sys.stdin.buffer.readline())
            self.note("uploaded", sys.stdin.buffer.read(size), "wb")
            self.say({"agent": "ready"})
        mode = self.hear()
        if mode["mode"] == "bulk":
            self.bulk()
        else:
            self.serve(once=mode["mode"] == "once")

    def serve(self, once: bool) -> None:
        self.say(self.script.get("hello", hello()))
        for push in self.script.get("pushes", []):
            self.say(push)
        if once:
            self.say(self.script.get("once", {"ok": LOOK}))
            return
        while True:
            request = self.hear()
            verb = next(key for key in request if key != "id")
            self.answer(verb, request["id"])

    def answer(self, verb: str, number: int) -> None:
        wanted = self.script.get("answers", {}).get(verb, {"ok": _USUAL.get(verb, {})})
        if isinstance(wanted, list):
            count = self.asked.get(verb, 0)
            self.asked[verb] = count + 1
            wanted = wanted[min(count, len(wanted) - 1)]
        if wanted == "die":
            self.end()
        if wanted == "hang":
            time.sleep(3600)
        if wanted == "ignore":
            return
        if "raw" in wanted:
            self.write(wanted["raw"].encode() * wanted.get("times", 1))
            if wanted.get("dies"):
                self.end()
        else:
            self.say({"id": number, **wanted})

    def bulk(self) -> None:
        self.write(bytes.fromhex(self.script.get("bulk", "")))
        if self.script.get("bulk_ends"):
            self.end()
        received = b""
        while head := sys.stdin.buffer.read(4):
            # The top bit says that it is an object.
            size = int.from_bytes(head, "big") & 0x7FFFFFFF
            received += head + sys.stdin.buffer.read(size)
            if head == bytes(4):
                break
        self.note("received", received, "wb")
        self.write(bytes.fromhex(self.script.get("bulk_after", "")))

    def hear(self) -> dict[str, Any]:
        line = sys.stdin.buffer.readline()
        if not line:
            self.end()
        self.note("heard", line)
        heard: dict[str, Any] = json.loads(line)
        return heard

    def note(self, name: str, data: bytes, mode: str = "ab") -> None:
        with open(f"{self.folder}/{name}", mode) as file:
            file.write(data)

    def say(self, message: dict[str, Any]) -> None:
        self.write(json.dumps(message).encode() + b"\n")

    def write(self, data: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def end(self) -> None:
        sys.stdout.flush()
        sys.stderr.write(self.script.get("stderr", ""))
        sys.stderr.flush()
        os._exit(self.script.get("status", 0))


if __name__ == "__main__":
    agent = _Agent(sys.argv[1])
    agent.run()
    sys.stdout.flush()
    os._exit(0)
