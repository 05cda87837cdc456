"""Files of 100 MB, by the command line that people give them to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hostler.base.errors import ConfigError, InputError, PipelineError
from hostler.spec.config import read_config
from hostler.spec.pipeline import read_pipeline
from hostler.spec.toml import MAX_TEXT

_MEASURED = """
import json, sys, time
from hostler.cli import main
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
sys.stdout.flush()
print(json.dumps([code, time.process_time(), int(peak.split()[1]) / 1024]))
"""


@pytest.mark.parametrize("kind", ["pipeline", "config", "no end"])
def test_a_huge_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "huge.toml"
    if kind == "no end":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"a = [1]\n" * (100 * 1000**2 // 8))
    words = ["run", "-d", str(path)]
    env = {"HOME": str(tmp_path), "HOSTLER_STATE": str(tmp_path / "s"), "PATH": "/usr/bin:/bin"}
    if kind == "config":
        words, env["HOSTLER_CONFIG"] = ["config", "show"], str(path)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *words],
        capture_output=True, text=True, cwd=tmp_path, env=env, timeout=60,
    )  # fmt: skip
    code, seconds, mebibytes = json.loads(done.stdout.splitlines()[-1])
    assert code == 2, done
    assert "larger than" in done.stderr
    assert "Traceback" not in done.stderr
    assert seconds < 3
    assert mebibytes < 200


@pytest.mark.parametrize("read", [read_pipeline, read_config])
def test_the_api_refuses_a_long_text_unread(read: object) -> None:
    with pytest.raises((PipelineError, ConfigError), match="larger than 1024 KiB") as caught:
        read("[" * (MAX_TEXT + 1), file="f")  # type: ignore[operator]
    assert isinstance(caught.value, InputError)
