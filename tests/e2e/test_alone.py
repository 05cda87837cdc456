"""One machine, no SSH: what a newcomer meets first. The real command line and a real daemon."""

from __future__ import annotations

import contextlib
import json
import os
import stat as stat_module
from pathlib import Path

import pytest

from tests.support.machines.desk import Desk, stage, wait_until


@pytest.fixture
def near(shared_alone: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """With the daemon of all tests here, in a work folder of its own."""
    return shared_alone.at_work(tmp_path_factory.mktemp("work"))


def job_folder(run_id: str) -> Path:
    """Where the first attempt of stage `a` lives; its working folder is one below."""
    return Path(f"/var/tmp/hostler-{os.getuid()}/jobs/{run_id}-a-1")


def test_a_command_gives_its_own_exit_code_and_output(near: Desk) -> None:
    said = near.hostler("run", "--wait", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert said.code == 7
    assert said.out.splitlines()[-2:] == ["out", "err"]


def test_a_pipeline_with_inputs_metrics_and_a_gate(near: Desk) -> None:
    run = near.run(
        """
name = "local"
[stages.make]
matrix = { n = [1, 2] }
command = "mkdir out; echo {matrix.n} > out/n"
shell = true
outputs = { o = "out" }
[stages.sum]
command = '''cat inputs/all/*/n | sort > sums; echo '{"total": 3}' > "$HOSTLER_METRICS"; cat sums'''
shell = true
inputs = { all = "make.*.o" }
[stages.gate]
kind = "gate"
needs = ["sum"]
command = '''echo '{"ok": 1}' > "$HOSTLER_METRICS"'''
shell = true
pass = ["ok == 1"]
"""
    )
    assert run["outcome"] == "succeeded", near.ok("events").out
    assert stage(run, "sum")["attempt"]["metrics"] == {"total": 3.0}
    assert near.output(run["run_id"], "sum") == "1\n2\n"


def test_metrics_are_seen_while_the_stage_runs(near: Desk) -> None:
    run_id = near.submit(
        """
name = "m"
[stages.a]
command = '''
echo '{"step": 1, "loss": 0.5}' > "$HOSTLER_METRICS"
while [ ! -e ../go ]; do sleep 0.1; done
echo '{"step": 2, "loss": 0.25}' >> "$HOSTLER_METRICS"
'''
shell = true
"""
    )
    seen = near.until(run_id, lambda r: bool((stage(r, "a")["attempt"] or {}).get("metrics")))
    assert stage(seen, "a")["status"] == "running"
    assert stage(seen, "a")["attempt"]["metrics"] == {"loss": 0.5}
    job_folder(run_id).joinpath("go").write_text("")
    run = near.ended(run_id)
    assert stage(run, "a")["attempt"]["metrics"] == {"loss": 0.25}


def test_a_running_stage_is_followed_again_after_a_kill_and_a_stop_of_the_daemon(
    alone: Desk,
) -> None:
    run_id = alone.submit(
        'name = "k"\n[stages.a]\nshell = true\n'
        'command = "i=0; while [ ! -e ../go ]; do echo $i; i=$((i+1)); sleep 0.05; done; exit 5"\n'
    )
    alone.until(run_id, lambda r: stage(r, "a")["status"] == "running")
    alone.kill_daemon()
    alone.start_daemon()
    first = len(alone.output(run_id, "a").splitlines())
    wait_until(
        lambda: len(alone.output(run_id, "a").splitlines()) > first,
        "new lines come in while it runs",
    )
    alone.ok("daemon", "stop")
    job_folder(run_id).joinpath("go").write_text("")
    run = alone.ended(run_id)
    assert stage(run, "a")["attempt"]["exit_code"] == 5
    assert len(stage(run, "a")["attempts"]) == 1
    out = alone.ok("logs", run_id, "--stage", "a", "--raw").out.split()
    assert out == [str(i) for i in range(len(out))]


def test_a_daemon_of_ones_own_is_for_nobody_that_the_config_names(alone: Desk) -> None:
    """That file is the system's, too: a user who is not in the group cannot give it the socket."""
    text = alone.config.read_text()
    alone.config.write_text(f'[daemon]\ngroup = "no-such-group"\nallow = ["nobody"]\n{text}')
    alone.ok("daemon", "start")
    assert mode_of(alone.state / "hostler.sock") == 0o600


def mode_of(path: Path) -> int:
    """Its mode."""
    return stat_module.S_IMODE(path.stat().st_mode)


def test_a_second_daemon_names_the_holder(near: Desk) -> None:
    near.ok("daemon", "start")
    said = near.hostler("serve", "--personal")
    assert said.code == 1
    assert f"pid {near.daemon_pid()}" in said.err


def test_a_changed_config_takes_effect_and_a_wrong_one_changes_nothing(alone: Desk) -> None:
    alone.start_daemon()

    def hosts() -> list[str]:
        return [h["name"] for h in alone.ok("hosts", "--json").json["hosts"]]

    assert hosts() == ["here"]
    text = alone.config.read_text()
    alone.config.write_text(text + '[hosts.there]\naddress = "127.0.0.1"\nport = 1\n')
    wait_until(lambda: hosts() == ["here", "there"], "the new host is kept")
    alone.config.write_text("[hosts.here]\ntransprt = 'local'\n")
    wait_until(lambda: "config.refused" in alone.ok("events").out, "the mistake is told")
    assert hosts() == ["here", "there"]
    alone.config.write_text(text)
    wait_until(lambda: hosts() == ["here"], "the host is let go")


def test_retry_repeats_only_what_did_not_succeed(near: Desk) -> None:
    flag = near.work / "flag"
    pipeline = f"""
name = "r"
[stages.good]
command = "mkdir o; date +%N > o/x"
shell = true
outputs = {{ o = "o" }}
[stages.bad]
command = "cat inputs/i/x; test -e {flag}"
shell = true
inputs = {{ i = "good.o" }}
"""
    run = near.run(pipeline)
    assert run["outcome"] == "failed"
    flag.write_text("")
    again = near.ok("retry", run["run_id"], "-q").out.strip()
    run2 = near.ended(again)
    assert run2["outcome"] == "succeeded"
    assert stage(run2, "good")["kept"]
    said = [near.output(r, "bad") for r in (run["run_id"], again)]
    assert said[0] == said[1]


def test_bad_input_is_one_clear_message_and_no_traceback(near: Desk) -> None:
    before = near.ok("runs", "--json").json["runs"]
    (near.work / "broken.toml").write_text("name = [")
    for words in (
        ("run", "broken.toml"),
        ("run", "missing.toml"),
        ("show", "rzzzzzz"),
        ("logs", "../../etc/passwd"),
        ("cancel", "nothing", "-y"),
        ("drain", "nowhere"),
        ("gpus", "--need", "x"),
        ("frobnicate",),
        ("run", "--gpus", "-1", "--", "true"),
        ("run", "-p", "novalue"),
    ):
        said = near.hostler(*words)
        assert said.code == 2, (words, said)
        assert said.err.strip(), words
        assert "Traceback" not in said.err + said.out, words
        assert said.out == "", words
    assert near.ok("runs", "--json").json["runs"] == before


def test_the_state_is_private_and_the_database_readable(near: Desk) -> None:
    near.run('name = "x"\n[stages.a]\ncommand = "true"\n')
    assert near.state.stat().st_mode & 0o077 == 0
    for folder, folders, files in os.walk(near.state):
        for path in (Path(folder, name) for name in (*folders, *files)):
            with contextlib.suppress(FileNotFoundError):  # the daemon is at work
                assert path.stat().st_mode & 0o077 == 0, path
    shown = json.loads(near.ok("runs", "--json").out)
    assert shown["schema"] == "hostler.runs/1"


def test_checkpoints_survive_retries_and_go_with_their_run(near: Desk) -> None:
    run = near.run(
        """
name = "c"
[stages.a]
command = "echo x >> ckpt/tries; test $(wc -l < ckpt/tries) = 2"
shell = true
checkpoint = "ckpt"
retries = { max = 3, backoff = "1ms" }
"""
    )
    assert [a["phase"] for a in stage(run, "a")["attempts"]] == ["failed", "succeeded"]
    daemon_id = (near.state / "id").read_text().strip()
    folders = Path(f"/var/tmp/hostler-{os.getuid()}/checkpoints")

    def kept() -> list[Path]:
        return list(folders.glob(f"{daemon_id[:8]}-*"))

    near.ok("gc", "-y")
    assert len(kept()) == 1
    near.ok("rm", run["run_id"], "-y")
    near.ok("gc", "-y")
    assert kept() == []
