"""`sbatch`, `squeue` and `scancel` of a stage: requests in files, which a stage may tamper with."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from hostler_agent import nested
from hostler_agent.folders import Folders, Refusal, remove_tree
from hostler_agent.slurm_commands import put
from tests.support.values.deep import dig

SHELLS = [
    words for words in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(words[0])
]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(str(tmp_path / "base"))
    made.make()
    return made


def asked(folders: Folders, *attempts: str) -> list[tuple[str, str, bytes]]:
    found = nested.requests(folders, attempts or ["a1"])
    return [(each["attempt_id"], each["id"], base64.b64decode(each["data"])) for each in found]


def test_a_request_is_shown_until_it_is_answered(folders: Folders) -> None:
    folder = Path(nested.make(folders, "a1"))
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "x1.request").write_bytes(b"data")
    (folder / "half").write_bytes(b"not yet")
    assert asked(folders) == asked(folders) == [("a1", "x1", b"data")]
    nested.answer(folders, "a1", "x1", 0, "said\n")
    assert asked(folders) == []
    assert (folder / "x1.answer").read_text() == "0\nsaid\n"
    nested.answer(folders, "a1", "x1", 1, "again")  # by a daemon that was killed in between
    assert (folder / "x1.answer").read_text() == "0\nsaid\n"
    nested.drop(folders, "a1")
    nested.drop(folders, "a1")
    assert not folder.exists()
    nested.answer(folders, "a1", "x1", 0, "")
    assert asked(folders) == []


def test_only_small_plain_files_are_requests(folders: Folders, tmp_path: Path) -> None:
    folder = Path(nested.make(folders, "a1"))
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    (folder / "link.request").symlink_to(secret)
    (folder / "dir.request").mkdir()
    os.mkfifo(folder / "pipe.request")
    (folder / "-x.request").write_text("")
    (folder / ("n" * 41 + ".request")).write_text("")
    (folder / "large.request").write_bytes(b"x" * (nested.LARGEST + 1000))
    ((_, name, data),) = asked(folders)
    assert (name, len(data)) == ("large", nested.LARGEST + 1)


def test_an_answer_follows_no_link(folders: Folders, tmp_path: Path) -> None:
    folder = Path(nested.make(folders, "a1"))
    target = tmp_path / "target"
    target.write_text("kept")
    for name in ("x1.new", "x1.answer"):
        (folder / name).symlink_to(target)
    (folder / "x1.request").write_text("")
    nested.answer(folders, "a1", "x1", 0, "said")
    assert target.read_text() == "kept"
    assert not (folder / "x1.answer").is_symlink()


def test_one_attempt_sees_and_delays_no_other(folders: Folders) -> None:
    for attempt in ("a1", "a2"):
        for number in range(20):
            (Path(nested.make(folders, attempt)) / f"x{number}.request").write_text(attempt)
    found = asked(folders, "a1", "a2", "a3")
    assert {(attempt, data.decode()) for attempt, _, data in found} == {("a1", "a1"), ("a2", "a2")}
    assert len(found) == 8
    assert {attempt for attempt, _, _ in asked(folders, "a2")} == {"a2"}


def test_folders_of_what_does_not_run_any_more_are_removed(folders: Folders) -> None:
    made = {name: Path(nested.make(folders, name)) for name in ("old", "running", "young")}
    for name in ("old", "running"):
        os.utime(made[name], (1, 1))
    nested.sweep(folders, {"running"})
    assert {name for name, path in made.items() if path.exists()} == {"running", "young"}


@pytest.mark.parametrize("name", ["../x", "a/b", ""])
def test_names_lead_nowhere_else(folders: Folders, name: str) -> None:
    with pytest.raises(Refusal):
        nested.requests(folders, [name])
    with pytest.raises(Refusal):
        nested.answer(folders, "a1", name, 0, "")


def test_folders_in_the_place_of_an_answer_hold_nobody_up(folders: Folders) -> None:
    folder = Path(nested.make(folders, "a1"))
    for place in ("x.answer", "y.new"):
        (folder / place / "in").mkdir(parents=True)
    for name in ("x", "y"):
        (folder / f"{name}.request").write_bytes(b"data")
        nested.answer(folders, "a1", name, 0, "said")
    assert asked(folders) == []


@pytest.mark.programs
def test_folders_thousands_deep_are_removed(folders: Folders, tmp_path: Path) -> None:
    made = nested.make(folders, "a1"), str(tmp_path / "other")
    os.mkdir(made[1])
    for path in made:
        dig(Path(path))
    nested.drop(folders, "a1")
    remove_tree(made[1])
    assert not any(map(os.path.lexists, made))


class Stage:
    """The commands of a stage, and a daemon that answers all requests alike."""

    def __init__(self, folders: Folders, folder: Path, shell: list[str]) -> None:
        (folder / "job/work/sub").mkdir(parents=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOSTLER_ATTEMPT": "a1",
            "HOSTLER_WORK": str(folder / "job/work"),
            nested.VARIABLE: nested.make(folders, "a1"),
        }
        put(str(folder / "job"), self.env)
        self.folders, self.shell = folders, shell
        self.requests: list[tuple[list[str], str]] = []

    def __call__(
        self, name: str, *words: str, text: str = "", code: int = 0, said: str = "", **env: str
    ) -> tuple[int, str, str]:
        command = [*self.shell, f"{self.env['HOSTLER_COMMANDS']}/{name}", *words]
        process = subprocess.Popen(
            command, env=self.env | env, cwd=f"{self.env['HOSTLER_WORK']}/sub", text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        ended = threading.Event()
        daemon = threading.Thread(target=self._answer, args=(ended, code, said))
        daemon.start()
        try:
            out, err = process.communicate(text, timeout=60)
        finally:
            ended.set()
            daemon.join()
        return process.returncode, out, err

    def _answer(self, ended: threading.Event, code: int, said: str) -> None:
        while not ended.wait(0.02):
            for attempt, name, data in asked(self.folders):
                count, _, rest = data.partition(b"\0")
                *words, text = rest.split(b"\0", int(count))
                self.requests.append(([word.decode() for word in words], text.decode()))
                nested.answer(self.folders, attempt, name, code, said)


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def stage(request: pytest.FixtureRequest, folders: Folders, tmp_path: Path) -> Stage:
    return Stage(folders, tmp_path, request.param)


@pytest.mark.programs
@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("next.sh one --two", "0 next.sh one --two"),
        ("--parsable -d afterok:77 next.sh", "3 next.sh --parsable -d afterok:77"),
        ("-n4 --mem=4G --gres x -H a.sh -n", "5 a.sh -n -n4 --mem=4G --gres x -H"),
        ("-H --wra x --array 1-3", "3 wrap -H --array 1-3"),
        ("--export=ALL,A=1 --wrap x", "1 wrap --export=ALL,A=1"),
        ("--time 10 -J name", "4 stdin --time 10 -J name"),
    ],
)  # fmt: skip
def test_sbatch_sends_its_words_and_the_script(stage: Stage, words: str, kept: str) -> None:
    for name in ("next.sh", "a.sh"):
        (Path(stage.env["HOSTLER_WORK"]) / "sub" / name).write_text("#!/bin/sh\nöks\n")
    split = [word.replace("--wra", "--wrap") if word == "--wra" else word for word in words.split()]
    done = stage("sbatch", *split, text="#!/bin/sh\nstdin", said="77\n")
    assert done == (0, "77\n", "")
    ((sent, text),) = stage.requests
    assert sent == ["sbatch", "sub", *kept.split()]
    wanted = {"wrap": "#!/bin/sh\nx\n", "stdin": "#!/bin/sh\nstdin"}
    assert text == wanted.get(sent[3], "#!/bin/sh\nöks\n")


@pytest.mark.programs
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("gone.sh", "gone.sh cannot be read"),
        (".", ". cannot be read"),
        ("large.sh", "large.sh is larger than 64 KiB"),
        ("-W large.sh", "-W is not supported; wait for it by squeue"),
        ("--time", "--time has no value"),
        ("--wrap x large.sh", "both --wrap and a script"),
    ],
)
def test_what_sbatch_cannot_send_is_an_error(stage: Stage, words: str, told: str) -> None:
    (Path(stage.env["HOSTLER_WORK"]) / "sub/large.sh").write_text("#!/bin/sh\n" + "#" * 65536)
    code, out, err = stage("sbatch", *words.split())
    assert (code, out) == (1, "")
    assert told in err
    assert stage.requests == []


@pytest.mark.programs
def test_answers_end_where_the_answer_belongs(stage: Stage) -> None:
    assert stage("squeue", "-h", "-j", "7", said="a\nb\n") == (0, "a\nb\n", "")
    code, out, err = stage("scancel", "7", code=1, said="there is no job 7\nlook again")
    assert (code, out) == (1, "")
    assert err == "hostler: scancel: there is no job 7\nhostler: scancel: look again\n"
    assert [words for words, _ in stage.requests] == [["squeue", "-h", "-j", "7"], ["scancel", "7"]]
    assert list(Path(stage.env[nested.VARIABLE]).iterdir()) == []


@pytest.mark.programs
def test_jobs_to_requeue_are_named_as_slurm_does(stage: Stage) -> None:
    variables: Any = {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "77"}
    assert stage("scontrol", "requeue", "70_3", "80", **variables) == (0, "", "")
    code, _, err = stage("scontrol", "requeue", "9", code=1, said="job 9 has ended")
    assert (code, err) == (1, "hostler: scontrol: job 9 has ended\n")
    assert [words for words, _ in stage.requests] == [
        ["scontrol", "requeue", "77", "80"], ["scontrol", "requeue", "9"],
    ]  # fmt: skip


@pytest.mark.programs
def test_a_run_that_may_not_submit_is_told_what_to_do(stage: Stage) -> None:
    code, _, err = stage("sbatch", "next.sh", HOSTLER_NESTED="")
    assert code == 1
    assert "submit it with hostler run --nested" in err


@pytest.mark.programs
def test_a_daemon_that_is_away_is_not_waited_for_for_ever(folders: Folders, tmp_path: Path) -> None:
    stage = Stage(folders, tmp_path, SHELLS[0])
    command = [*SHELLS[0], f"{stage.env['HOSTLER_COMMANDS']}/squeue"]
    env = stage.env | {"HOSTLER_NESTED_WAIT": "1"}
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert "the daemon does not answer" in ran.stderr
    assert asked(folders) == []
