"""The screen on a real lab, in tmux, as a person uses it."""

from __future__ import annotations

import re
import sys

import pytest

from tests.chaos.trouble import sshd_killed
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk
from tests.support.programs.tmux import Tmux

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

SHORT = f"""
name = "short"
[params]
word = "hello"
[defaults]
image = "{BUSYBOX}"
shell = true
[stages.say]
command = "for i in 1 2 3 4 5; do echo {{params.word}} $i; sleep 0.5; done"
resources = {{ gpus = 1 }}
"""

LONG = f"""
name = "long"
[defaults]
image = "{BUSYBOX}"
shell = true
[stages.work]
command = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"
resources = {{ gpus = 2, host = "gpu1" }}
"""


def test_a_day_at_the_screen(clean_lab: Lab, desk: Desk) -> None:
    (desk.work / "short.toml").write_text(SHORT)
    long = desk.submit(LONG)
    env = {**desk.env, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    with Tmux([sys.executable, "-m", "hostler"], cwd=desk.work, env=env) as screen:
        screen.until(lambda shown: all(f"gpu{n}" in shown for n in (1, 2, 3)))
        run_id = _submit(screen, long)
        desk.ended(run_id)
        _follow_log(screen, long)
        _cancel(screen, long, desk)
        _drain(screen, desk)
        _lose(screen, clean_lab.host("gpu2"))
        screen.keys("q")
        screen.until_gone()
    assert desk.show(run_id)["outcome"] == "succeeded"
    assert "goodday 5" in desk.ok("logs", run_id).out


def _submit(screen: Tmux, long: str) -> str:
    """By the file picker, the form and the plan; the run's id."""
    _select(screen, long)
    screen.keys("n")
    screen.until("short, 1 stage")
    screen.keys("j", "Enter")
    screen.until("Submit short.toml")
    screen.keys("End", "C-u")
    screen.until("word= ")  # Textual lets text that comes close behind overtake such a key
    screen.type("goodday")
    screen.until("word=goodday")
    screen.keys("Enter", "Enter", "Enter")  # through the fields, to the answer that only asks
    screen.until("show the plan")
    screen.keys("Enter")
    screen.until("nothing is started yet")
    screen.keys("Right", "Enter")
    shown = screen.until("submitted r")
    found = re.search(r"submitted (r\w+)", shown)
    assert found, shown
    return found[1]


def _follow_log(screen: Tmux, run_id: str) -> None:
    """From its row, live; the run's id is copied through tmux."""
    _select(screen, run_id)
    screen.keys("l")
    screen.until("line 5")
    first = _last_line(screen.screen())
    screen.until(lambda shown: _last_line(shown) > first)


def _cancel(screen: Tmux, run_id: str, desk: Desk) -> None:
    """Enter, Enter, Enter never does it, Escape neither; an arrow and Enter does."""
    _select(screen, run_id)
    screen.keys("Y")
    screen.until("copied")
    assert run_id in screen.buffer()
    screen.keys("X")
    screen.until(f"hostler cancel {run_id}")
    screen.keys("Enter")
    screen.until(lambda shown: f"hostler cancel {run_id}" not in shown)
    screen.keys("X")
    screen.until(f"hostler cancel {run_id}")
    screen.keys("Escape")
    screen.until(lambda shown: f"hostler cancel {run_id}" not in shown)
    assert desk.show(run_id)["outcome"] is None
    screen.keys("X")
    screen.until(f"hostler cancel {run_id}")
    screen.keys("Right", "Enter")
    assert desk.ended(run_id)["outcome"] == "cancelled"


def _drain(screen: Tmux, desk: Desk) -> None:
    """A host without work: a reason, then an arrow and Enter."""
    screen.keys("1")
    screen.until(lambda shown: "FLEET" in shown and "gpu1" in shown)
    screen.keys("End", "Enter")  # the last host, where nothing has run
    screen.until("CONTAINERS AND JOBS")
    screen.keys("D")
    screen.until("Reason for draining gpu3")
    screen.type("new fan")
    screen.until("new fan")
    screen.keys("Enter")
    screen.until("hostler drain gpu3")
    screen.keys("Right", "Enter")
    screen.until("drained: new fan")
    assert "new fan" in desk.ok("hosts").out


def _lose(screen: Tmux, host: Host) -> None:
    """A host whose sshd is killed is marked old and none of it counts as free; it comes back."""
    screen.keys("1")
    screen.until(lambda shown: "FLEET" in shown and _free(shown) > 0)
    before = _free(screen.screen())
    with sshd_killed(host):
        screen.until(lambda shown: "~" in _row(shown, host.name) and _free(shown) < before)
        screen.keys("2")
        screen.until("QUEUE")
        screen.keys("1")
        screen.until("FLEET")
    screen.until(lambda shown: "~" not in _row(shown, host.name) and _free(shown) == before)


def _row(shown: str, host: str) -> str:
    return next((row for row in shown.splitlines() if row[1:].startswith(host)), "")


def _free(shown: str) -> int:
    """How many GPUs are free, as the fleet's first line says."""
    found = re.search(r"(\d+) free", shown)
    return int(found[1]) if found else 0


def _select(screen: Tmux, run_id: str) -> None:
    screen.keys("2")
    screen.until(lambda shown: "QUEUE" in shown and run_id in shown)
    screen.keys("Home")
    screen.until(lambda shown: any(row.startswith(">") and run_id in row
                                   for row in shown.splitlines()))  # fmt: skip


def _last_line(shown: str) -> int:
    return max((int(number) for number in re.findall(r"\bline (\d+)", shown)), default=0)
