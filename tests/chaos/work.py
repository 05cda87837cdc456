"""What the desks submit while faults happen: short stages, all of whose ends are known."""

from __future__ import annotations

from pathlib import Path

from tests.lab.layout import BUSYBOX

_HEAD = f'name = "chaos"\n[defaults]\nimage = "{BUSYBOX}"\nshell = true\n'
_RETRIES = (
    'retries = { max = 3, on = ["host rebooted", "ended by docker restart"], backoff = "1s" }'
)

STREAM = f"""{_HEAD}
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
"""
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
