"""Lists and reads files of a running container by an exec of `stat` and `cat` as its user; refuses
a file that changes while it is read.

Docker's archive call is not used: it reads as root, and the running stage could replace a file by a
link meanwhile.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
import struct
from typing import Dict, Iterator, List, Optional, Tuple

from hostler_agent import inside
from hostler_agent.beneath import shown
from hostler_agent.files import MOST_ENTRIES, MOST_NAMES, Entry, kind_of
from hostler_agent.folders import Refusal
from hostler_agent.http import Connection, HttpError, socket_path
from hostler_agent.json_values import table
from hostler_agent.source import ArchiveSource

_TIMEOUT = 600.0
_NO_FILE, _OTHER, _NO_PROGRAM = 66, 67, 69
_MOST_BEHIND = 64 * 1024 * 1024
_MOST_SAID = 2 * MOST_NAMES
_NEEDS = "command -v stat >/dev/null && command -v cat >/dev/null || exit 69\n"
# A name contains no slash, so two slashes and a line end mark the end of a name.
_LIST = (
    _NEEDS
    + r"""
told() { [ $# -eq 0 ] || stat -c '%f %s %Y %n//' -- "$@" 2>/dev/null; return 0; }
walk() {
  d=$1; set --
  for f in "$d"/* "$d"/.[!.]* "$d"/..?*; do
    [ -e "$f" ] || [ -h "$f" ] || continue
    set -- "$@" "$f"
    if [ $# -ge 200 ]; then told "$@"; set --; fi
  done
  told "$@"
  [ "$deep" = 1 ] || return 0
  for f in "$d"/*/ "$d"/.[!.]*/ "$d"/..?*/; do
    f=${f%/}
    if [ -d "$f" ] && [ ! -h "$f" ]; then walk "$f"; fi
  done
}
deep=$2
if [ -d "$1" ]; then
  cd -- "$1" 2>/dev/null || exit 67
  walk .
  exit 0
fi
[ -e "$1" ] || [ -h "$1" ] || exit 66
cd -- "${1%/*}" && told "./${1##*/}"
"""
)
# If the file changed meanwhile, it is read again, to stderr; added bytes do no harm.
_READ = (
    _NEEDS
    + r"""
[ -f "$1" ] || { [ -e "$1" ] && exit 67; exit 66; }
exec 4<"$1" || exit 67
seen() { stat -L -c '%s %Y %y' /proc/self/fd/4 2>/dev/null; }
before=$(seen) || exit 67
echo "$before"
cat <&4
[ "$(seen)" = "$before" ] || cat /proc/self/fd/4 >&2
"""
)
_RECORD = re.compile(rb"([0-9a-f]{1,8}) (\d{1,20}) (-?\d{1,15}) \./(.+)", re.DOTALL)


def listed(source: ArchiveSource, path: bytes, recursive: bool) -> Tuple[List[Entry], bool]:
    """List the entries at a path. Also return whether the list is incomplete. Raises Refusal,
    HttpError."""
    script = _Exec(source, _LIST, [_place(path), "1" if recursive else "0"], path)
    try:
        found, truncated = _records(script.output())
        if not truncated:
            script.check()
        return sorted(found.values()), truncated
    finally:
        script.close()


def _records(pieces: Iterator[bytes]) -> Tuple[Dict[str, Entry], bool]:
    found: Dict[str, Entry] = {}
    held, came, names = b"", 0, 0
    for piece in pieces:
        came += len(piece)
        *whole, held = (held + piece).split(b"//\n")
        for record in whole:
            entry = _entry(record)
            if entry is not None:
                names += len(entry[0]) if entry[0] not in found else 0
                found.setdefault(entry[0], entry)
        if (
            names > MOST_NAMES // 2
            or came > _MOST_SAID
            or len(held) > 65536
            or len(found) >= MOST_ENTRIES - 200
        ):
            return found, True
    return found, False


def _entry(record: bytes) -> Optional[Entry]:
    match = _RECORD.fullmatch(record)
    if match is None:
        return None
    mode, path = int(match[1], 16), os.path.normpath(match[4])
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        return None
    if len(path) > 4095 or path.startswith((b"/", b"../")) or path in (b".", b".."):
        return None
    if b"\0" in path:
        return None
    size = int(match[2]) if stat.S_ISREG(mode) else 0
    return shown(path), kind_of(mode), min(size, 2**62), float(match[3]), None


def opened(source: ArchiveSource, path: bytes) -> Tuple[int, float, Iterator[bytes]]:
    """Return size in bytes, mtime and content of one plain file. Raises Refusal, HttpError."""
    script = _Exec(source, _READ, [_place(path)], path)
    pieces = script.streams()
    try:
        size, mtime, rest = _head((data for stream, data in pieces if stream == 1), script)
    except BaseException:
        script.close()
        raise
    return size, mtime, _content(script, rest, pieces, size, path)


def _head(pieces: Iterator[bytes], script: "_Exec") -> Tuple[int, float, bytes]:
    held = b""
    for piece in pieces:
        held += piece
        line, end, rest = held.partition(b"\n")
        if end:
            match = re.match(rb"(\d{1,19}) (-?\d{1,15}) ", line)
            if match is None:
                break
            return int(match[1]), float(match[2]), rest
        if len(held) > 100:
            break
    script.check()
    raise Refusal("the output of stat in the container is invalid", "EngineError")


def _content(
    script: "_Exec", rest: bytes, pieces: Iterator[Tuple[int, bytes]], size: int, path: bytes
) -> Iterator[bytes]:
    left, digest, again = size, hashlib.sha256(), _Again(size)
    try:
        for stream, data in itertools.chain([(1, rest)], pieces):
            if stream == 2:
                again.add(data)
                yield b""  # a sign of life
                continue
            piece, over = data[:left], len(data) - left
            digest.update(piece)
            left -= len(piece)
            if piece:
                yield piece
            again.over += max(0, over)
            if again.over > _MOST_BEHIND:
                return  # it grows faster than it can be read
        if left:
            raise Refusal("%s became shorter while it was read" % shown(path), "ConflictError")
        if again.differs(digest.digest()):
            raise Refusal("%s changed while it was read" % shown(path), "ConflictError")
    finally:
        script.close()


class _Again:
    """The second reading of a file that changed during the first reading."""

    def __init__(self, size: int) -> None:
        self._left, self._digest = size, hashlib.sha256()
        self._any = False
        self.over = 0
        """Bytes that were appended to the file since the reading began."""

    def add(self, data: bytes) -> None:
        """Add the next data of the second reading."""
        self._any = True
        self._digest.update(data[: self._left])
        self._left = max(0, self._left - len(data))

    def differs(self, digest: bytes) -> bool:
        """Whether there was a second reading, and it differs from the first."""
        return self._any and self._digest.digest() != digest


def _place(path: bytes) -> str:
    return os.path.join(inside.WORK, os.fsdecode(path)) if path else inside.WORK


class _Exec:
    """A script that runs in a container as the container's user."""

    def __init__(self, source: ArchiveSource, script: str, args: List[str], path: bytes) -> None:
        self._path = path
        self._socket = socket_path()
        self._connection, found = inside.opened(
            self._socket, source.ref, source.attempt_id, _TIMEOUT
        )
        try:
            if not inside.is_alive(found):
                raise Refusal("the container has just ended: try again", "ConflictError")
            wanted = {
                "AttachStdin": False, "AttachStdout": True, "AttachStderr": True, "Tty": False,
                "User": str(table(found.get("Config")).get("User") or ""), "WorkingDir": "/",
                "Privileged": False, "Cmd": ["sh", "-c", script, "hostler", *args],
            }  # fmt: skip
            told = self._connection.post("/containers/%s/exec" % source.ref, wanted)
            self._id = str(told.get("Id"))
            if not self._id.isalnum():
                raise HttpError("Docker names no exec")
            self._raw = self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> Iterator[bytes]:
        """Start the script. Returns its output in Docker's frames."""
        try:
            return self._connection.send_json(
                "/exec/%s/start" % self._id, {"Detach": False, "Tty": False}
            )
        except HttpError as error:
            if "not found" in str(error) or "no such file" in str(error):
                raise self._cannot() from error
            raise

    def close(self) -> None:
        """Close the connection. A script that still writes then ends."""
        self._connection.close()

    def output(self) -> Iterator[bytes]:
        """Yield what the script writes to stdout."""
        return (data for stream, data in self.streams() if stream == 1)

    def streams(self) -> Iterator[Tuple[int, bytes]]:
        """Yield what the script writes, with its stream: 1 for stdout, 2 for stderr."""
        held = b""
        for piece in self._raw:
            held += piece
            while len(held) >= 8:
                stream, size = held[0], struct.unpack(">I", held[4:8])[0]
                if stream > 2 or size > 16 * 1024 * 1024:
                    raise self._cannot()  # not a frame, but an error message about the start
                if len(held) < 8 + size:
                    break
                if size:
                    yield stream, held[8 : 8 + size]
                held = held[8 + size :]

    def check(self) -> None:
        """Raise Refusal if the script failed."""
        connection = Connection(str(self._socket), inside.CHECK_TIMEOUT)
        try:
            code = connection.get("/exec/%s/json" % self._id).get("ExitCode")
        finally:
            connection.close()
        name = shown(self._path) or "the working folder"
        if code == _NO_FILE:
            raise Refusal("there is no %s in the folder" % name, "NotFoundError")
        if code == _OTHER:
            raise Refusal("%s is not a plain file that the stage may read" % name, "InputError")
        if code in (_NO_PROGRAM, 126, 127):
            raise self._cannot()
        if code:
            raise Refusal("%s cannot be read (exit code %s)" % (name, code), "EngineError")

    @staticmethod
    def _cannot() -> Refusal:
        text = (
            "the image has no sh, stat and cat, which are needed to read files of a running "
            "container: fetch them when the stage has ended"
        )
        return Refusal(text, "ConflictError")
