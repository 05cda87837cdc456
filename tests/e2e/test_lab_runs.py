"""Pipelines on a real lab: real sshd, dockerd and NVML calls; the people are not root."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.layout import BUSYBOX
from tests.support.machines.desk import Desk, stage, wait_until

pytestmark = pytest.mark.lab

HEAD = f'name = "t"\n[defaults]\nimage = "{BUSYBOX}"\nshell = true\n'


@pytest.fixture
def desk(shared_desk: Desk, tmp_path: Path) -> Desk:
    """A work folder of the test's own, at the desk that all tests here share."""
    return shared_desk.at_work(tmp_path)


def gpus_of(lab: Lab, host: str) -> list[str]:
    return lab.host(host).gpus.uuids


def test_three_stages_on_three_hosts_carry_their_outputs(lab: Lab, desk: Desk) -> None:
    run = desk.run(
        HEAD
        + """
[stages.make]
command = "mkdir -p out/deep && hostname > out/name && echo one > out/deep/file"
outputs = { made = "out" }
resources = { host = "gpu1", gpus = 1 }
[stages.add]
command = "cp -r inputs/from out && echo two >> out/deep/file"
inputs = { from = "make.made" }
outputs = { added = "out" }
resources = { host = "gpu2", gpus = 2 }
[stages.read]
command = "cat inputs/x/deep/file; ls inputs/x"
inputs = { x = "add.added" }
resources = { host = "gpu3" }
"""
    )
    assert run["outcome"] == "succeeded"
    assert [s["attempt"]["host"] for s in run["stages"]] == ["gpu1", "gpu2", "gpu3"]
    said = desk.output(run["run_id"], "read")
    assert said == "one\ntwo\ndeep\nname\n"
    assert lab.referee_overlaps() == []


def test_a_container_sees_exactly_the_gpus_it_was_given(lab: Lab, desk: Desk) -> None:
    run = desk.run(
        HEAD
        + """
[stages.two]
command = "cat /etc/hostler-gpus; echo $HOSTLER_GPUS"
resources = { gpus = 2, gpu_model = "A100", host = "gpu2" }
[stages.none]
command = '''
cat /etc/hostler-gpus 2>/dev/null
echo none:$NVIDIA_VISIBLE_DEVICES:$CUDA_VISIBLE_DEVICES:
'''
"""
    )
    given = stage(run, "two")["attempt"]["gpus"]
    assert given == gpus_of(lab, "gpu2")[:2]
    seen = desk.output(run["run_id"], "two").splitlines()
    assert seen == [*given, ",".join(given)]
    grants = [g.gpus for g in lab.grants() if g.labels.get("hostler.run") == run["run_id"]]
    assert [sorted(gpus) for gpus in grants if gpus] == [sorted(given)]
    assert desk.output(run["run_id"], "none") == "none:void::\n"


def test_a_process_stage_sees_the_gpus_of_its_lease(lab: Lab, desk: Desk) -> None:
    run = desk.run(
        """
name = "p"
[stages.p]
command = "echo $HOSTLER_GPUS $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER; id -un; pwd"
shell = true
resources = { gpus = 1, gpu_model = "3090", host = "gpu3" }
"""
    )
    (given,) = stage(run, "p")["attempt"]["gpus"]
    assert given in gpus_of(lab, "gpu3")[2:]
    first, user, _ = desk.output(run["run_id"], "p").splitlines()
    index = gpus_of(lab, "gpu3").index(given)
    assert first == f"{given} {index} PCI_BUS_ID"
    assert user == "ana"


def test_nothing_is_left_on_the_hosts(lab: Lab, desk: Desk) -> None:
    run = desk.run(
        HEAD
        + """
[stages.a]
command = "true"
resources = { gpus = 4 }
[stages.b]
command = "true"
"""
    )
    assert run["outcome"] == "succeeded"
    wait_until(
        lambda: not any(host.containers_of(run["run_id"]) for host in lab.hosts),
        "nothing is left",
    )


def test_a_missing_image_is_a_failed_start_that_names_it(desk: Desk) -> None:
    run = desk.run('name = "m"\n[stages.a]\nimage = "hostler-lab/nowhere:9"\ncommand = "true"\n')
    attempt = stage(run, "a")["attempt"]
    assert run["outcome"] == "failed"
    assert attempt["cause"] == "start failed"
    assert "hostler-lab/nowhere:9" in attempt["detail"]


def test_a_cycle_is_refused_before_anything_starts(desk: Desk) -> None:
    (desk.work / "pipeline.toml").write_text(
        'name = "c"\n[stages.a]\ncommand = "true"\nneeds = ["b"]\n'
        '[stages.b]\ncommand = "true"\nneeds = ["a"]\n'
    )
    before = desk.ok("runs", "--json").json["runs"]
    said = desk.hostler("run", "-d")
    assert said.code == 2
    assert "a" in said.err
    assert "cycle" in said.err
    assert desk.ok("runs", "--json").json["runs"] == before


def test_exit_code_and_signal_are_those_of_the_command(desk: Desk) -> None:
    run = desk.run(
        HEAD
        + """
[stages.code]
command = "exit 42"
[stages.signal]
command = "kill -9 $$"
[stages.after]
needs = ["code"]
command = "true"
"""
    )
    assert stage(run, "code")["attempt"]["exit_code"] == 42
    assert stage(run, "code")["attempt"]["cause"] == "user error"
    assert stage(run, "signal")["status"] == "failed"
    assert stage(run, "after")["status"] == "skipped"
    assert desk.hostler("wait", run["run_id"]).code == 6


def test_cancel_stops_what_runs_and_starts_nothing_more(lab: Lab, desk: Desk) -> None:
    run_id = desk.submit(
        HEAD
        + """
[stages.long]
command = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"
resources = { gpus = 1 }
[stages.after]
needs = ["long"]
command = "true"
"""
    )
    desk.until(run_id, lambda r: stage(r, "long")["status"] == "running")
    wait_until(lambda: desk.output(run_id, "long") == "up\n", "its trap is set")
    desk.ok("cancel", run_id, "-y")
    run = desk.ended(run_id)
    assert run["outcome"] == "cancelled"
    assert stage(run, "long")["attempt"]["cause"] == "stopped"
    assert stage(run, "after")["status"] == "cancelled"
    assert desk.output(run_id, "long") == "up\nbye\n"
    assert desk.hostler("wait", run_id).code == 7


def test_a_time_limit_ends_a_stage_and_says_so(desk: Desk) -> None:
    run = desk.run(HEAD + '[stages.a]\ncommand = "sleep 600"\ntimeout = "2s"\ngrace = "1s"\n')
    attempt = stage(run, "a")["attempt"]
    assert run["outcome"] == "failed"
    assert attempt["cause"] == "time limit"
    assert 1.5 < attempt["duration"] < 20


def test_retries_keep_the_checkpoint_and_stop_at_success(lab: Lab, desk: Desk) -> None:
    run = desk.run(
        HEAD
        + """
[stages.a]
command = "echo x >> ckpt/tries; test $(wc -l < ckpt/tries) = 3"
checkpoint = "ckpt"
retries = { max = 5, backoff = "100ms" }
"""
    )
    assert run["outcome"] == "succeeded"
    assert [a["phase"] for a in stage(run, "a")["attempts"]] == ["failed", "failed", "succeeded"]
    host = lab.host(stage(run, "a")["attempt"]["host"])

    def volumes() -> str:
        listed = host.exec(["docker", "volume", "ls", "-q", "--filter", "label=hostler.checkpoint"])
        return str(listed.stdout).strip()

    desk.ok("gc", "-y")
    assert volumes(), "the checkpoints of a run that is known stay"
    desk.ok("rm", run["run_id"], "-y")
    desk.ok("gc", "-y")
    assert not volumes()


def test_a_container_is_warned_and_goes_on_from_its_checkpoint_at_its_limit(desk: Desk) -> None:
    run = desk.run(
        HEAD
        + """
[stages.a]
command = "test ! -e ckpt/n || exit 0; trap 'echo 1 > ckpt/n' USR1; while :; do sleep 0.1; done"
checkpoint = "ckpt"
timeout = "12s"
warn = "USR1@6s"
on_timeout = "requeue"
grace = "1s"
"""
    )
    first, second = stage(run, "a")["attempts"]
    assert first["warning"].startswith("USR1 sent to sh (process ")
    assert (first["cause"], second["phase"]) == ("requeued", "succeeded"), first
    assert first["host"] == second["host"]


def free_gpus(desk: Desk) -> int:
    """How many GPUs of the lab nobody uses, as the daemon sees them."""
    return sum(gpu["state"] == "free" for host in desk.gpus() for gpu in host["gpus"])


def test_two_stages_that_want_the_last_gpu_go_one_after_the_other(lab: Lab, desk: Desk) -> None:
    with ExitStack() as others:
        for host in lab.hosts:
            keep = 1 if host.name == "gpu2" else 0
            for index in range(keep, len(host.gpus.uuids)):
                others.callback(host.foreign(index, "cleo", 2048).stop)
        wait_until(lambda: free_gpus(desk) == 1, "the others' work is seen", every=0.5)
        run = desk.run(
            HEAD
            + """
[stages.a]
command = "sleep 0.5"
resources = { gpus = 1 }
[stages.b]
command = "sleep 0.5"
resources = { gpus = 1 }
"""
        )
    assert run["outcome"] == "succeeded"
    first, second = (stage(run, name)["attempt"] for name in ("a", "b"))
    assert first["gpus"] == second["gpus"] == gpus_of(lab, "gpu2")[:1]
    spans = sorted((a["started_at"], a["finished_at"]) for a in (first, second))
    assert spans[0][1] <= spans[1][0]
    assert lab.referee_overlaps() == []


def test_a_gate_lets_only_good_numbers_pass(desk: Desk) -> None:
    text = (
        HEAD.replace("[defaults]", "[params]\ntarget = 0.9\n[defaults]")
        + """
[stages.check]
kind = "gate"
command = '''echo '{"accuracy": 0.8}' > $HOSTLER_METRICS'''
pass = ["accuracy >= params.target"]
[stages.ship]
needs = ["check"]
command = "true"
"""
    )
    run = desk.run(text)
    assert stage(run, "check")["attempt"]["cause"] == "gate"
    assert "0.8" in stage(run, "check")["attempt"]["detail"]
    assert stage(run, "ship")["status"] == "skipped"
    run = desk.run(text, "-p", "target=0.7")
    assert run["outcome"] == "succeeded"


def test_a_service_in_a_container_is_reached_on_its_hosts_loopback(lab: Lab, desk: Desk) -> None:
    run_id = desk.submit(
        HEAD
        + """
[stages.serve]
kind = "service"
command = "echo $HOSTLER_ATTEMPT > /tmp/index.html && exec httpd -f -p $HOSTLER_PORT -h /tmp"
port = 8000
health = { path = "/index.html", every = "1s" }
resources = { host = "gpu2", gpus = 1, gpu_model = "A100" }
[stages.ask]
needs = ["serve"]
command = "true"
"""
    )
    host = lab.host("gpu2")
    run = desk.until(run_id, lambda run: stage(run, "ask")["status"] == "succeeded")
    attempt = stage(run, "serve.0")["attempt"]
    published = host.docker("port", attempt["ref"]).strip()
    assert published == f"8000/tcp -> 127.0.0.1:{attempt['port']}"
    host.docker("kill", attempt["ref"])
    run = desk.until(
        run_id, lambda run: stage(run, "serve.0")["attempt"]["number"] == 2
        and stage(run, "serve.0")["attempt"]["ready_at"] is not None,
    )  # fmt: skip
    again = stage(run, "serve.0")["attempt"]
    url = f"http://127.0.0.1:{again['port']}/index.html"
    said = host.exec(
        ["python3", "-c", f"import urllib.request as u; print(u.urlopen('{url}').read())"]
    )
    assert again["attempt_id"] in str(said)
    desk.ok("cancel", run_id)
    desk.ended(run_id)
