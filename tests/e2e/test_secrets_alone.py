"""Secrets as people use them, with a real daemon: set, listed, removed; nowhere to be found."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.machines.desk import Desk, Said, files_below, wait_until

TOKEN, OWN = "hf_sesame_open_4711", "own-value-of-one-run"
PIPELINE = """
name = "x"
[stages.train]
command = "true"
secrets = ["HF_TOKEN"]
code = "none"
"""


def said(desk: Desk, *words: str, given: str | bytes = b"", **env: str) -> Said:
    """What a command says that reads this from a pipe."""
    data = given.encode() if isinstance(given, str) else given
    return desk.hostler(*words, given=data, env=env)


def names(desk: Desk) -> dict[str, list[str]]:
    found: list[dict[str, Any]] = desk.ok("secret", "ls", "--json").json["secrets"]
    return {each["name"]: each["used_by"] for each in found}


@pytest.fixture
def work(shared_alone: Desk, tmp_path: Path) -> Desk:
    """A folder of its own and no secrets; the daemon is that of all tests here."""
    desk = shared_alone.at_work(tmp_path / "work")
    if names(desk):
        desk.ok("secret", "rm", "-y", *names(desk))
    return desk


def test_a_value_comes_from_a_pipe_a_file_or_a_command(work: Desk, tmp_path: Path) -> None:
    set_so = said(work, "secret", "set", "PIPED", given=f"{TOKEN}\n")
    assert (set_so.code, set_so.out) == (0, "PIPED: set\n")
    assert "the newline at the end is not part of the value" in set_so.err
    file = tmp_path / "key.pem"
    file.write_text("-----BEGIN KEY-----\nsesame\n")
    assert said(work, "secret", "set", "FILED", "--from-file", str(file)).code == 0
    program = f"sh -c 'echo {TOKEN}'"
    assert said(work, "secret", "set", "MADE", "--command", program).code == 0
    short = said(work, "secret", "set", "PIN", given="1234")
    assert "PIN is shorter than 8 characters" in short.err
    assert sorted(names(work)) == ["FILED", "MADE", "PIN", "PIPED"]
    listed = work.ok("secret", "ls").out.splitlines()
    assert [line.split("\t")[0] for line in listed] == ["FILED", "MADE", "PIN", "PIPED"]
    removed = work.ok("secret", "rm", "-y", "PIN", "MADE")
    assert removed.out == "PIN: removed\nMADE: removed\n"
    assert sorted(names(work)) == ["FILED", "PIPED"]


def test_the_honest_limit_is_said_once(alone: Desk) -> None:
    first = said(alone, "secret", "set", "ONE", given=TOKEN)
    second = said(alone, "secret", "set", "TWO", given=TOKEN)
    told = [each.err.count("every user of the same login on its host") for each in (first, second)]
    assert told == [1, 0]


def test_a_terminal_asks_without_echo(work: Desk) -> None:
    """What is typed is not shown, and is the value as it is."""
    work.ok("secret", "ls")  # the daemon runs
    controller, terminal = pty.openpty()
    child = subprocess.Popen(
        [work.python, "-m", "hostler", "secret", "set", "TYPED"],
        stdin=terminal, stdout=terminal, stderr=terminal, env=work.env, cwd=work.work,
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    try:
        while b"TYPED: " not in shown:
            shown += os.read(controller, 1024)
        os.write(controller, f"{TOKEN}\n".encode())
        assert child.wait(60) == 0
        shown += _rest(controller)
    finally:
        os.close(controller)
    assert TOKEN.encode() not in shown
    assert b"TYPED: set" in shown
    assert "TYPED" in names(work)


def _rest(controller: int) -> bytes:
    found = b""
    try:
        while part := os.read(controller, 1024):
            found += part
    except OSError:  # the terminal's other end is closed
        pass
    return found


@pytest.mark.parametrize(
    ("words", "given", "told"),
    [
        (("set", "A", "sesame"), b"", "the value must not be an argument"),
        (("set", "A=sesame"), b"", "the value must not be an argument"),
        (("set", "-q", "A", "sesame"), b"", "the value must not be an argument"),
        (("set", "A", "--value", "sesame"), b"", "there is no option --value"),
        (("set", "A", "--value=sesame"), b"", "there is no option --value"),
        (("set",), b"", "NAME is missing"),
        (("set", "LD_PRELOAD"), b"sesame", "cannot name a secret"),
        (("set", "a-b"), b"sesame", "cannot name a secret"),
        (("set", "A"), b"", "the value is empty"),
        (("set", "A"), b"sesame\0x", "NUL"),
        (("set", "A"), b"sesame\xff", "is not UTF-8"),
        (("set", "A"), b"sesame" * 5000, "more than 16,384 bytes"),
        (("set", "A", "--from-file", "/nowhere"), b"", "/nowhere cannot be read"),
        (("set", "A", "--from-file", "/dev/zero"), b"", "more than 16,384 bytes"),
        (
            ("set", "A", "--command", "false"),
            b"",
            "false failed with exit code 1; the secret is unchanged",
        ),
        (("set", "A", "--command", "'"), b"", "cannot be read"),
        (("set", "A", "--command", "/nowhere x"), b"", "/nowhere cannot be run"),
        (("set", "A", "--from-file", "x", "--command", "y"), b"", "not allowed with"),
        (("rm", "A", "-y"), b"", "you have set no secret 'A'"),
        (("rm", "-y"), b"", "NAME is missing"),
        (("ls", "A"), b"", "takes no name"),
        (("ls", "--command", "x"), b"", "--command is for hostler secret set"),
        (("set", "A", "--json"), b"", "--json is for hostler secret ls"),
    ],
)
def test_what_is_refused(work: Desk, words: tuple[str, ...], given: bytes, told: str) -> None:
    refused = said(work, "secret", *words, given=given)
    assert (refused.code, refused.out) == (2, ""), refused
    assert told in refused.err
    assert "sesame" not in refused.err
    assert "Traceback" not in refused.err
    assert names(work) == {}


def test_a_run_is_refused_where_one_is_missing_and_taken_once_it_is_there(work: Desk) -> None:
    (work.work / "pipeline.toml").write_text(PIPELINE)
    missing = work.hostler("run", "-d")
    assert missing.code == 2
    assert "stage train wants the secret HF_TOKEN, which you have not set" in missing.err
    assert "hostler secret set HF_TOKEN" in missing.err
    gone = work.hostler("run", "-d", "--secret", "HF_TOKEN")
    assert "--secret HF_TOKEN: your shell does not set this variable" in gone.err
    echoed = said(work, "run", "-d", "--secret", f"HF_TOKEN={OWN}")
    assert (echoed.code, OWN in echoed.err) == (2, False)
    useless = said(work, "run", "-d", "--secret", "A", HF_TOKEN=TOKEN, A=OWN)
    assert "no stage takes the secret A" in useless.err
    own = said(work, "run", "-d", "-q", "--secret", "HF_TOKEN", HF_TOKEN=OWN)
    assert own.code == 0, own
    assert said(work, "secret", "set", "HF_TOKEN", given=TOKEN).code == 0
    stored = work.ok("run", "-d", "-q").out.strip()
    for run_id in (own.out.strip(), stored):
        work.ended(run_id)
    refused = work.hostler("rerun", own.out.strip(), "--same-code", "--secret", "HF_TOKEN")
    assert "your shell does not set this variable" in refused.err


def test_a_command_takes_one_of_the_shell_else_the_one_that_is_set(work: Desk) -> None:
    words = ("run", "-d", "--code", "none", "--secret", "HF_TOKEN", "--", "true")
    neither = work.hostler(*words)
    assert neither.code == 2
    assert "your shell does not set this variable" in neither.err
    assert said(work, *words, HF_TOKEN=OWN).code == 0
    assert said(work, "secret", "set", "HF_TOKEN", given=TOKEN).code == 0
    stored = work.ok(*words)
    assert "the one of `hostler secret set` is used" in stored.err
    warned = said(work, "run", "-d", "--code", "none", "--env", "API_KEY=sesame", "--", "true")
    assert "--env API_KEY is stored and visible to all users" in warned.err
    assert "sesame" not in warned.err


def test_parameters_are_no_secrets(work: Desk) -> None:
    head = 'name = "x"\nparams = { hf_token = "a", max_token = 1 }\n'
    (work.work / "pipeline.toml").write_text(f'{head}[stages.a]\ncommand = "true"\ncode = "none"\n')
    refused = work.hostler("run", "-d", "-p", "hf_token=sesame")
    assert (refused.code, "sesame" in refused.err) == (2, False)
    assert "Use --secret HF_TOKEN" in refused.err
    run_id = work.ok("run", "-d", "-q", "-p", "max_token=512").out.strip()
    work.ended(run_id)
    again = work.hostler("retry", run_id, "-p", "hf_token=sesame")
    assert (again.code, "sesame" in again.err) == (2, False)


def test_the_runs_that_use_one_are_named_before_it_goes(work: Desk) -> None:
    assert said(work, "secret", "set", "HF_TOKEN", given=TOKEN).code == 0
    (work.work / "pipeline.toml").write_text(
        PIPELINE + '[stages.wait]\ncommand = "sleep 600"\ncode = "none"\n'
    )
    run_id = work.ok("run", "-d", "-q").out.strip()
    try:
        assert names(work) == {"HF_TOKEN": [run_id]}
        removed = work.ok("secret", "rm", "HF_TOKEN", "-y")
        assert f"run {run_id} uses HF_TOKEN: its stages that start later will fail" in removed.err
        unasked = work.hostler("secret", "rm", "HF_TOKEN")
        assert "There is no terminal to ask on" in unasked.err
    finally:
        work.ok("cancel", run_id)


def test_a_retry_takes_its_own_again(work: Desk) -> None:
    text = 'name = "x"\n[stages.a]\ncommand = "false"\ncode = "none"\n'
    (work.work / "pipeline.toml").write_text(text + 'env = { HF_TOKEN = { from = "submitter" } }\n')
    assert said(work, "secret", "set", "HF_TOKEN", given=TOKEN).code == 0  # does not count here
    refused = work.hostler("run", "-d")
    assert "which was not given with it" in refused.err
    first = said(work, "run", "-d", "-q", "--secret", "HF_TOKEN", HF_TOKEN=OWN).out.strip()
    assert work.ended(first)["outcome"] == "failed"
    wait_until(lambda: not list((work.state / "secrets/runs").iterdir()), "its values stay")
    for verb in ("retry", "rerun"):
        refused = work.hostler(verb, first)
        assert refused.code == 2
        assert f"hostler {verb} {first} --secret HF_TOKEN" in refused.err
        again = said(work, verb, first, "-q", "--secret", "HF_TOKEN", HF_TOKEN=OWN)
        assert again.code == 0, again
        work.ended(again.out.strip())


def test_a_crash_between_a_submission_and_its_run_leaves_both_or_neither(alone: Desk) -> None:
    runs = alone.state / "secrets/runs"
    (alone.work / "pipeline.toml").write_text(PIPELINE)
    for point, is_there in (("after_secrets_kept", False), ("after_submit", True)):
        alone.more_env = {"HOSTLER_FAILPOINTS": f"{point}:kill"}
        alone.hostler("daemon", "start")
        before = len(alone.ok("runs", "-q").out.splitlines())
        pid = alone.daemon_pid()
        with ThreadPoolExecutor() as pool:
            submitted = pool.submit(said, alone, "run", "-d", "--secret", "HF_TOKEN", HF_TOKEN=OWN,
                                    HOSTLER_FAILPOINTS="")  # fmt: skip
            alone.wait_death(pid, 30)
            alone.more_env = {}
            answer = submitted.result(90)  # it starts another daemon and asks again, with its key
        assert answer.code == 0, (point, answer)
        listed = alone.ok("runs", "-q").out.splitlines()
        assert len(listed) == before + 1, (point, is_there)
        for run_id in listed:
            alone.ended(run_id)
        wait_until(lambda: not list(runs.iterdir()), f"{point}: values stay")
        alone.hostler("daemon", "stop")


def test_a_crash_after_a_value_was_noted_goes_on(alone: Desk) -> None:
    """It is on disk before it goes out; the start is carried out again."""
    alone.more_env = {"HOSTLER_FAILPOINTS": "after_secrets_given:kill"}
    assert said(alone, "secret", "set", "HF_TOKEN", given=TOKEN).code == 0
    (alone.work / "pipeline.toml").write_text(PIPELINE)
    pid = alone.daemon_pid()
    run_id = alone.ok("run", "-d", "-q").out.strip()
    alone.wait_death(pid, 60)
    assert [path.name for path in (alone.state / "secrets/runs").iterdir()] == [run_id]
    alone.more_env = {}
    assert alone.ended(run_id)["outcome"] == "succeeded"


def test_no_value_lies_anywhere(alone: Desk) -> None:
    """In the state folder, the database, the log and whatever commands say."""
    (alone.work / "pipeline.toml").write_text(
        PIPELINE + '[stages.later]\ncommand = "sleep 600"\ncode = "none"\nneeds = ["train"]\n'
    )
    told = [said(alone, "secret", "set", "HF_TOKEN", given=TOKEN)]
    words = ("run", "-d", "-q", "--secret", "HF_TOKEN")
    first = alone.ok("run", "-d", "-q").out.strip()
    own = said(alone, *words, HF_TOKEN=OWN)
    told.append(own)
    for run_id in (first, own.out.strip()):
        alone.until(run_id, lambda run: any(s["status"] == "running" for s in run["stages"]))
        told += [alone.ok(*asked, "--json") for asked in (("show", run_id), ("why", run_id))]
    told += [alone.ok(*asked, "--json") for asked in (
        ("audit",), ("events",), ("runs",), ("secret", "ls"), ("daemon", "status"), ("ps",),
    )]  # fmt: skip
    backup, whole = alone.home / "backup", alone.home / "whole"
    told.append(alone.ok("daemon", "backup", str(backup)))
    told.append(alone.ok("daemon", "backup", str(whole), "--secrets"))
    pid = alone.daemon_pid()
    os.kill(pid, signal.SIGTERM)
    alone.wait_death(pid, 30)
    alone.start_daemon()
    for each in told:
        assert TOKEN not in each.out + each.err
        assert OWN not in each.out + each.err
    assert "secrets are not included: --secrets adds them" in told[-2].err
    assert "the secrets of all users" in told[-1].out
    for path, data in files_below(alone.home):
        for value in (TOKEN, OWN):
            assert value.encode() not in data, path
    sealed = alone.state / "secrets"
    assert {path.name for path in (sealed / "runs").iterdir()} >= {own.out.strip()}
    key = (sealed / "key").read_bytes().strip()
    assert key not in backup.read_bytes()
    for run_id in (first, own.out.strip()):
        alone.ok("cancel", run_id)
