"""What a daemon and its agent leave on a host while a stage runs and after it: names and keys."""

from __future__ import annotations

import base64
import json
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.machines.desk import Desk, desk_folder
from tests.support.programs.fake_nvml import FakeNvml, build

VALUE = "<value>"
PIPELINE = """
name = "held"
[stages.a]
command = '''
env | cut -d= -f1 | grep ^HOSTLER_ | sort
echo '{"step": 1, "loss": 0.5}' >> "$HOSTLER_METRICS"
echo x > ckpt/x
echo y > out
while [ -e out ] && [ ! -e ../go ]; do sleep 0.05; done
'''
shell = true
checkpoint = "ckpt"
outputs = { o = "out" }
resources = { gpus = 1 }
"""


class OnHost:
    """A person whose only host is this machine, with two simulated GPUs and folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder)
        self.desk.config.write_text('[hosts.here]\ntransport = "local"\n')
        self.base, self.leases = folder / "host", folder / "shared" / "leases"
        self.desk.more_env = {
            **FakeNvml(folder / "gpus", count=2).env(build()),
            "HOSTLER_FOLDER": str(self.base),
            "HOSTLER_LEASES": str(self.leases),
            "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
        }

    def release(self, run_id: str) -> None:
        """Let the stage end."""
        (self.base / "jobs" / f"{run_id}-a-1" / "go").touch()


@contextmanager
def on_host() -> Iterator[OnHost]:
    """Until the block ends."""
    with desk_folder() as folder:
        made = OnHost(folder)
        try:
            yield made
        finally:
            made.desk.close()


def tree(folder: Path, naming: Callable[[str], str]) -> dict[str, Any]:
    """Path -> what it is, for everything below a folder but the agent's own code."""
    paths = sorted(folder.rglob("*"))
    named = {naming(str(path.relative_to(folder))): path for path in paths}
    kept = {name: _held(path) for name, path in named.items() if not name.startswith("agent/")}
    return {name: held for name, held in kept.items() if held is not None}


def _held(path: Path) -> Any:
    """None: a file that was written half when it was listed, and has its name by now."""
    try:
        return None if path.suffix == ".new" else _described(path)
    except FileNotFoundError:
        return None


def _described(path: Path) -> Any:
    mode = stat.S_IMODE(path.lstat().st_mode)
    # What others may read depends on the umask of who runs the tests.
    told = f"{mode:o}" if mode & 0o1077 in (0, 0o1077) else "open"
    if path.is_symlink():
        return "link"
    if not path.is_file():
        return f"{'folder' if path.is_dir() else 'socket'} {told}"
    return {"mode": told, "holds": _content(path)}


def _content(path: Path) -> Any:
    """Keys of the JSON in it; nothing of other files. Lines with the same keys count once."""
    data = path.read_bytes()
    if path.suffix == ".spec":
        data = zlib.decompressobj().decompress(base64.b64decode(data))
    found = []
    for line in data.decode("utf-8", "replace").splitlines():
        value = _keys(_json(line))
        if value not in found:
            found.append(value)
    return [value for value in found if value != VALUE]


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _keys(value: Any, key: str = "") -> Any:
    """Only the keys, and the kinds of events. What is in variables of the shell and in measured
    values depends on the moment and on who runs this."""
    if isinstance(value, dict) and key not in ("env", "metrics", "usage"):
        return {name: _keys(item, name) for name, item in value.items()}
    if isinstance(value, list):
        objects = [_keys(item) for item in value if isinstance(item, dict)]
        return [{name: item for found in objects for name, item in found.items()}]
    return value if key == "event" else VALUE


def namer(run_id: str, daemon_id: str) -> Callable[[str], str]:
    """Replaces ids and numbers in names of files."""

    def naming(name: str) -> str:
        name = name.replace(run_id, "RUN").replace(daemon_id, "DAEMON")
        name = re.sub(r"\b[0-9a-f]{12,64}\b", "HASH", name.replace(daemon_id[:8], "DAEMON8"))
        name = re.sub(r"^content/../", "content/XX/", name)
        return re.sub(r"(?<=[./])\d+(?=\.)", "N", re.sub(r"^content/..$", "content/XX", name))

    return naming
