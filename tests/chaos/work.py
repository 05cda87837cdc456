"""What the desks submit while faults happen: short stages, all of whose ends are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.chaos.history import Told
from tests.lab.host import Host
from tests.lab.layout import BUSYBOX

_HEAD = f'name = "chaos"\n[defaults]\nimage = "{BUSYBOX}"\nshell = true\n'
_RETRIES = (
    'retries = { max = 3, on = ["host rebooted", "ended by docker restart"], backoff = "1s" }'
)
_TOLD = "told"
"""A file in the home of whoever runs a process, a line for its begin and one for its end."""
TELLING = ("plain",)
"""The stages that write there."""

STREAM = f'''{_HEAD}
[stages.first]
command = "mkdir out && echo $HOSTLER_GPUS > out/gpu && sleep 0.3"
outputs = {{ made = "out" }}
resources = {{ gpus = 1 }}
{_RETRIES}
[stages.second]
command = "cat inputs/from/gpu"
inputs = {{ from = "first.made" }}
resources = {{ gpus = 1 }}
{_RETRIES}
[stages.failing]
command = "sleep 0.5; exit 7"
resources = {{ gpus = 1 }}
[stages.plain]
runtime = "process"
command = """
tell() {{ echo $HOSTLER_ATTEMPT $(date +%s.%N) $1 >> ~/{_TOLD}; }}
tell
sleep 0.3
[ $HOSTLER_ATTEMPT_NUMBER = 1 ] && code=5 || code=0
tell $code
exit $code
"""
resources = {{ gpus = 1 }}
retries = {{ max = 3, on = ["user error", "host rebooted", "vanished"], backoff = "1ms" }}
'''
ONE = f'{_HEAD}[stages.only]\ncommand = "true"\nresources = {{ gpus = 1 }}\n'
LONG = f"""{_HEAD}
[stages.only]
command = "sleep 4; exit 5"
timeout = "60s"
resources = {{ gpus = 1 }}
"""


def write(folder: Path, name: str, text: str) -> Path:
    """A pipeline file in a folder of its own, so that little is packed with it."""
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    file = own / "pipeline.toml"
    file.write_text(text)
    return file


def told(host: Host) -> Iterator[Told]:
    """What processes on the host wrote down."""
    for file in host.root.glob(f"home/*/{_TOLD}"):
        for line in file.read_text().splitlines():
            attempt_id, at, *code = line.split()
            yield Told(float(at), host.name, attempt_id, int(code[0]) if code else None)


def forget_told(host: Host) -> None:
    """Remove what processes of an earlier history wrote down."""
    for file in host.root.glob(f"home/*/{_TOLD}"):
        file.unlink()


def living(host: Host, attempts: set[str]) -> list[str]:
    """Those of the attempts of which a process lives on the host."""
    mark = "HOSTLER_ATTEMPT="
    script = f"grep -zsh ^{mark} /proc/[0-9]*/environ"
    said = str(host.exec(["sh", "-c", script], check=False).stdout)
    return sorted({word.removeprefix(mark) for word in said.split("\0")} & attempts)
