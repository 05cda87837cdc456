"""A database that is lost, and a host that adds a run of its own making: the real command."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from hostler.daemon.copy_format import Signer, encode_spec
from hostler.model.pipelines import Stage
from tests.support.machines.desk import Desk, stage, wait_until
from tests.support.values import planning

WAITS = (
    'name = "t"\n[stages.a]\ncommand = "while [ ! -e ../go ]; do sleep 0.1; done"\nshell = true\n'
)


def lose_database(desk: Desk) -> str:
    """The daemon's id."""
    desk.kill_daemon()
    for path in desk.state.glob("*.db*"):
        path.unlink()
    return (desk.state / "id").read_text().strip()


def forge(daemon_id: str, marker: Path) -> None:
    """What another login's root may write into the folder of this daemon's copies."""
    made_up = planning.run("rforged", stage_of("touch", str(marker)))
    folder = Path(f"/var/tmp/hostler-{os.getuid()}/runs/{daemon_id}")
    text = encode_spec(made_up, "", Signer(daemon_id, secrets.token_bytes(32)))
    (folder / "rforged.spec").write_text(text)


def stage_of(*command: str) -> Stage:
    return planning.stage("nightly", command=command, env={"TOKEN": "x y"})


def test_a_run_that_a_host_made_up_runs_nothing_unless_a_person_names_it(
    alone: Desk, tmp_path: Path
) -> None:
    marker = tmp_path / "owned"
    run_id = alone.submit(WAITS)
    alone.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    forge(lose_database(alone), marker)
    shown = alone.ok("daemon", "recover")
    rows = {line.split("\t")[0]: line.split("\t")[-1] for line in shown.out.splitlines()}
    assert rows == {run_id: "yes", "rforged": "no"}
    assert f"nightly, as a process: TOKEN='x y' touch {marker}" in shown.err
    taken = alone.hostler("daemon", "recover", "--yes")
    assert taken.code == 1
    assert "recovered 1 run" in taken.err
    assert "hostler daemon recover --unsigned rforged" in taken.err
    assert not alone.hostler("show", "rforged", "--json").out
    assert not marker.exists()
    alone.ok("daemon", "stop")
    unknown = alone.hostler("daemon", "recover", "--unsigned", "rother", "--yes")
    assert (unknown.code, "no host holds a run 'rother'" in unknown.err) == (2, True)
    told = alone.ok("daemon", "recover", "--unsigned", "rforged", "--yes", "--json").json
    assert (told["taken"], told["recovered"]) == (["rforged"], True)
    (found,) = told["runs"]
    assert (found["signed"], len(found["doubts"])) == (False, 1)
    assert found["commands"] == [f"  nightly, as a process: TOKEN='x y' touch {marker}"]
    assert alone.ended("rforged")["outcome"] == "succeeded"
    assert marker.exists()
    alone.ok("cancel", "-y", run_id)
    assert alone.ended(run_id)["outcome"] == "cancelled"


def test_without_the_key_a_run_is_shown_with_its_commands_and_taken_by_name(alone: Desk) -> None:
    run_id = alone.submit(WAITS)
    alone.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    lose_database(alone)
    (alone.state / "copies.key").unlink()
    left = alone.hostler("daemon", "recover", "--yes")
    assert left.code == 1
    assert "while [ ! -e ../go ]" in left.err
    alone.ok("daemon", "stop")
    alone.ok("daemon", "recover", "--yes", "--unsigned", run_id)
    run = alone.show(run_id)
    assert stage(run, "a")["attempt"]["attempt_id"] == f"{run_id}-a-1"
    alone.ok("cancel", "-y", run_id)
    assert alone.ended(run_id)["outcome"] == "cancelled"


def test_ps_and_doctor_name_recover_where_the_database_is_new_and_a_host_knows_more(
    alone: Desk,
) -> None:
    run_id = alone.submit(WAITS)
    alone.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    assert "recover" not in alone.ok("ps").err
    lose_database(alone)
    alone.cold = True
    assert "hostler daemon recover" in alone.ok("ps").err  # at once, before any host has answered
    alone.cold = False

    def hint() -> str:
        return alone.ok("runs").err

    said = "1 run on here is not in the daemon's database"
    wait_until(lambda: said in hint(), "the run is not found on its host")
    assert not alone.ok("ps", "--json").err
    checks = alone.hostler("doctor", "--only", "local.daemon", "--json").json["checks"]
    (check,) = [c for c in checks if c["name"] == "local.daemon"]
    assert (check["state"], "hostler daemon recover" in check["remedy"]) == ("warn", True)
    alone.ok("daemon", "stop")
    alone.ok("daemon", "recover", "--yes")
    wait_until(lambda: not hint(), "what was recovered is still missed")
    alone.ok("cancel", "-y", run_id)
    alone.ended(run_id)


def test_the_runs_of_another_daemon_are_hinted_at_only_where_there_are_none(alone: Desk) -> None:
    run_id = alone.submit(WAITS)
    alone.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    lost = lose_database(alone)
    for name in ("id", "copies.key"):
        (alone.state / name).unlink()
    hint = "other daemons of this login"
    alone.ok("ps")
    wait_until(lambda: hint in alone.ok("ps").err, "it is not said that there are others")
    told = json.loads(alone.ok("daemon", "status", "--json").out)["daemon"]["left_behind"]
    # Other tests leave runs of their daemons with this login: of very many, some are told.
    assert lost in told["daemons"] or len(told["daemons"]) == 20
    alone.ok("run", "-q", "--", "true")
    assert hint not in alone.ok("ps").err, "the database has a run now"
    alone.ok("daemon", "restart")
    assert hint not in alone.ok("ps").err
    alone.ok("daemon", "stop")
    lose_database(alone)
    (alone.state / "id").write_text(lost + "\n")
    alone.ok("daemon", "recover", "--yes", "--unsigned", run_id)
    alone.ok("cancel", "-y", run_id)
    alone.ended(run_id)
