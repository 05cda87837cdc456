"""`setup` as people use it, with a real virtual environment on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.machines.desk import Desk, files_below, wait_until

PIPELINE = """
name = "with-setup"
[stages.train]
setup = '''
echo setting up $HOSTLER_STAGE
echo marker > "$VIRTUAL_ENV/marker"
{more}
'''
shell = true
command = 'cat "$VIRTUAL_ENV/marker"; python -c "import sys; print(sys.prefix)"'
"""
PYTHON = """#!/bin/sh
case "$*" in
    "-I -m venv "*) echo "$*" >> {asked}; shift 3; exec {python} -I -m venv --without-pip "$@" ;;
    *) exec {python} "$@" ;;
esac
"""
"""A Python whose environments have no pip: to install one takes 4 s of processor time."""


def test_a_setup_survives_its_daemon_and_is_done_once(alone: Desk, tmp_path: Path) -> None:
    desk = alone.at_work(tmp_path / "work")
    asked = tmp_path / "asked"
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(PYTHON.format(asked=asked, python=os.path.realpath(sys.executable)))
    python.chmod(0o755)
    desk.more_env = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    go = tmp_path / "go"
    text = PIPELINE.format(more=f"while ! test -e {go}; do sleep 0.05; done")
    run_id = desk.submit(text)
    wait_until(lambda: "setting up" in desk.hostler("logs", run_id).out, "no setup", timeout=90)
    desk.kill_daemon()
    go.touch()
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", desk.output(run_id, "train")
    lines = desk.output(run_id, "train").splitlines()
    assert lines.count("setting up train") == 1
    assert lines[-2] == "marker"
    assert "/venvs/" in lines[-1]
    assert asked.read_text() == f"-I -m venv {lines[-1]}\n", "with pip, were it not for this test"
    again = desk.ended(desk.submit(text))
    said = desk.output(again["run_id"], "train").splitlines()
    assert said == ["hostler: the environment of setup is here already", "marker", lines[-1]]
    token = "sesame-open-now"
    desk.more_env["MY_TOKEN"] = token
    words = ("--secret", "MY_TOKEN", "--setup", "echo no $MY_TOKEN; exit 4", "--", "true")
    run = desk.ended(desk.ok("run", "-d", "-q", *words).out.strip())
    attempt = run["stages"][0]["attempts"][-1]
    assert attempt["cause"] == "setup failed"
    shown = f"no {'*' * len(token)}"
    assert attempt["detail"] == f"setup ended with exit code 4; its last lines: {shown}"
    assert shown in desk.output(run["run_id"], "run")
    assert not [path for path, data in files_below(desk.state) if token.encode() in data]
