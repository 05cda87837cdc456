"""A host that reaches no package index: its packages are fetched by the daemon and sent to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machines.desk import Desk, wait_until
from tests.support.programs.package_index import Index, index_of, make_wheel

NOWHERE = "http://127.0.0.1:9/simple"
"""No index is there."""
PIPELINE = """
name = "with-packages"
[stages.train]
venv = "requirements.txt"
command = ["python", "-c", "import apple, sys; print(apple.VERSION, sys.prefix)"]
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """With an apple that needs a pear."""
    folder = tmp_path / "index"
    make_wheel(folder, "apple", "1.0", needs=["pear>=2", "plum; python_version < '3'"])
    make_wheel(folder, "pear", "2.1")
    with index_of(folder) as found:
        yield found


def configure(desk: Desk, packages: str) -> None:
    env = f'env = {{ PIP_INDEX_URL = "{NOWHERE}", PIP_RETRIES = "0" }}\n'
    text = f'[hosts.here]\ntransport = "local"\n{env}[packages]\n{packages}\n'
    desk.config.write_text(text)


def test_a_host_without_an_index_builds_its_environment_from_wheels(
    alone: Desk, tmp_path: Path, index: Index
) -> None:
    desk = alone.at_work(tmp_path / "work")
    configure(desk, f'index = "{index.address}"')
    (desk.work / "requirements.txt").write_text("apple==1.0  # red\n")
    held, go = threading.Event(), threading.Event()

    def hold(path: str) -> None:
        if path.endswith(".whl"):
            held.set()
            go.wait(60)

    index.before = hold
    run_id = desk.submit(PIPELINE)
    assert held.wait(60), desk.log()
    desk.kill_daemon()
    index.before = lambda path: None
    go.set()
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", (run["stages"], desk.output(run_id, "train"))
    lines = desk.output(run_id, "train").splitlines()
    assert lines[-1].startswith("1.0 ")
    assert "/venvs/" in lines[-1]
    assert list((desk.state / "wheels" / "work").iterdir()) == []
    asked = len(index.asked)
    again = desk.ended(desk.submit(PIPELINE))
    assert again["outcome"] == "succeeded"
    assert desk.output(again["run_id"], "train").splitlines() == [lines[-1]]
    assert len(index.asked) == asked, "what was fetched is kept"
    (desk.work / "requirements.txt").write_text("pear==2.1")
    held.clear()
    go.clear()
    index.before = hold
    run_id = desk.submit(PIPELINE)
    assert held.wait(60), desk.log()
    desk.ok("cancel", run_id)
    assert desk.ended(run_id)["outcome"] == "cancelled"
    wait_until(lambda: not list((desk.state / "wheels" / "work").iterdir()), "the download ends")
    go.set()
    for line, said in (
        ("apple", "requirements.txt: line 1: 'apple' names no version. The"),
        ("apple==3", f"{index.address} has no apple==3; there is 1.0. name"),
    ):
        (desk.work / "requirements.txt").write_text(line)
        failed = desk.ended(desk.submit(PIPELINE))
        (attempt,) = failed["stages"][0]["attempts"]
        assert attempt["cause"] == "start failed"
        assert said in attempt["detail"]
