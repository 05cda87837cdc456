"""What `config show` prints: a config.toml that reads back to the same configuration."""

from __future__ import annotations

from dataclasses import fields

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.keys import write_table
from hostler.base.units import parse_duration, parse_size
from hostler.base.value_kinds import size_text, time_text
from hostler.model.config import DaemonConfig, LimitsConfig
from hostler.model.plans import Policy
from hostler.spec.config import read_config

FULL = """
[hosts."gpu[01-02].b12"]
address = "{name}.lab"
port = 2222
user = "lab"
key = "~/.ssh/lab"
jump = "me@gate:22"
python = "/opt/python3"
labels = { room = "b12" }
cpus = 32
ram = "1.5GiB"
runtimes = "process"
docker_socket = "/run/d.sock"
env = { HF_HOME = "/scratch", QUOTED = 'a "b" \\ c' }
[hosts.me]
transport = "local"
[daemon]
state = "/var/lib/hostler"
socket = "/run/h.sock"
group = "lab"
allow = ["bo", "ana"]
operators = ["cleo"]
look_interval = "250ms"
look_timeout = "1m1s"
connect_timeout = "2m"
[policy]
fresh_for = "12.5s"
memory_floor = "1000B"
ignore = []
release_patience = "1h30m"
[limits]
source_size = "1MiB"
source_file = "3KiB"
output_size = "2TiB"
log_size = "1537B"
keep_logs = "1d"
keep_outputs = "36h"
keep_sources = "0.1s"
keep_history = "400d"
host_cache = "7GiB"
kept_files = "3MiB"
keep_jobs = "2d"
kept_on_host = "9GiB"
kept_in_store = "1TiB"
[mounts.data]
path = "/data"
mode = "rw"
default = true
[mounts.ro]
path = "/ro"
[shared]
paths = ["/nfs/lab"]
[docker]
network = "host"
[env]
HTTPS_PROXY = "http://proxy:3128"
"""


@pytest.mark.parametrize("text", ["", FULL])
def test_what_is_shown_reads_back_to_the_same(text: str) -> None:
    config = read_config(text, file="c")
    shown = tomli_w.dumps(write_table(config))
    assert read_config(shown, file="shown") == config


def test_every_default_is_shown() -> None:
    for default in (DaemonConfig(), Policy(), LimitsConfig()):
        wanted = {f.name for f in fields(default) if getattr(default, f.name) is not None}
        assert wanted <= write_table(default).keys()
    assert write_table(LimitsConfig())["keep_history"] == "forever"
    assert write_table(LimitsConfig())["kept_in_store"] == "none"
    assert write_table(LimitsConfig())["keep_logs"] == "90d"
    assert write_table(Policy())["memory_floor"] == "1GiB"
    assert write_table(DaemonConfig())["look_interval"] == "2s"


@given(st.integers(1, 2**53))
def test_sizes_are_exact(size: int) -> None:
    assert parse_size(size_text(size)) == size


@given(st.floats(0.001, 3e8))
def test_times_are_exact(seconds: float) -> None:
    assert parse_duration(time_text(seconds)) == seconds
