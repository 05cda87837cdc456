"""The database is lost entirely while a run is under way; the hosts give it back."""

from __future__ import annotations

import pytest

from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, stage, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]

PIPELINE = f"""
name = "t"
[defaults]
image = "{BUSYBOX}"
shell = true
[stages.first]
command = "echo first begins; mkdir out; echo made-by-first > out/x"
outputs = {{ o = "out" }}
[stages.second]
command = '''
echo second begins; cat inputs/i/x
while [ ! -e go ]; do sleep 0.2; done
echo second ends; mkdir out; echo 2 > out/x
'''
inputs = {{ i = "first.o" }}
outputs = {{ o = "out" }}
resources = {{ gpus = 1 }}
[stages.third]
command = "echo third reads $(cat inputs/i/x)"
inputs = {{ i = "second.o" }}
resources = {{ gpus = 1 }}
"""


def lose_database(desk: Desk) -> None:
    for path in desk.state.glob("*.db*"):
        path.unlink()


def let_go(lab: Lab, attempt_id: str) -> None:
    """Let the container of an attempt end, wherever it runs."""
    words = ("ps", "-q", "--filter", f"label=hostler.attempt={attempt_id}")
    ((host, container),) = [(h, c) for h in lab.hosts for c in h.docker(*words).split()]
    host.docker("exec", container, "touch", "go")


@pytest.mark.hosts("gpu1", "gpu2")
def test_a_run_of_three_stages_outlives_its_database(clean_lab: Lab, desk: Desk) -> None:
    run_id = desk.submit(PIPELINE)
    before = desk.until(run_id, lambda r: stage(r, "second")["status"] == "running")
    busy = desk.hostler("daemon", "recover")
    assert busy.code == 1
    assert "daemon stop" in busy.err
    desk.kill_daemon()
    lose_database(desk)
    shown = desk.ok("daemon", "recover")
    assert run_id in shown.out
    assert "1 done, 1 running, 1 to go" in shown.out, shown
    assert "--yes" in shown.err
    assert not (desk.state / "hostler.db").exists()
    (told,) = desk.ok("daemon", "recover", "--json").json["runs"]
    assert told["run_id"] == run_id
    assert told["owner"] == before["owner"]
    assert desk.ok("daemon", "recover", "--json", "--yes").json["recovered"] is True
    let_go(clean_lab, f"{run_id}-second-1")
    run = desk.ended(run_id)
    assert run["outcome"] == "succeeded", desk.log()
    assert [len(stage(run, name)["attempts"]) for name in ("first", "second", "third")] == [1] * 3
    assert stage(run, "second")["attempt"]["gpus"] == stage(before, "second")["attempt"]["gpus"]
    logs = {name: desk.output(run_id, name) for name in
            ("first", "second", "third")}  # fmt: skip
    assert logs == {
        "first": "first begins\n",
        "second": "second begins\nmade-by-first\nsecond ends\n",
        "third": "third reads 2\n",
    }
    assert len([g for g in clean_lab.grants() if g.gpus]) == 2
    assert clean_lab.referee_overlaps() == []

    ours = (desk.state / "id").read_text().strip()  # other tests' daemons may have left their own

    script = (
        f"docker ps -a --filter label=hostler.daemon={ours} --format {{{{.Names}}}}; "
        f"find /var/tmp -path '*/runs/{ours}/*' -type f"
    )

    def left() -> list[str]:
        return [said for h in clean_lab.hosts if (said := h.exec(["sh", "-c", script]).stdout)]

    wait_until(lambda: not left(), "no container and no copy of the run is left")


@pytest.mark.hosts("gpu1", "gpu3")
def test_a_silent_host_keeps_a_database_from_being_made_without_it(
    clean_lab: Lab, desk: Desk
) -> None:
    loop = "while [ ! -e go ]; do sleep 0.2; done"
    where = f'[stages.a]\ncommand = "{loop}"\nresources = {{ host = "gpu1" }}\n'
    run_id = desk.submit(f'name = "t"\n[defaults]\nimage = "{BUSYBOX}"\nshell = true\n{where}')
    desk.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    desk.kill_daemon()
    lose_database(desk)
    clean_lab.host("gpu3").cut()
    refused = desk.hostler("daemon", "recover", "--yes", timeout=90)
    assert refused.code != 0
    assert "gpu3" in refused.err
    assert "--without gpu3" in refused.err
    assert not (desk.state / "hostler.db").exists()
    desk.ok("daemon", "recover", "--yes", "--without", "gpu3", timeout=90)
    let_go(clean_lab, f"{run_id}-a-1")
    assert desk.ended(run_id)["outcome"] == "succeeded"
