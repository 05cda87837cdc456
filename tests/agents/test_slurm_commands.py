"""`srun`, `scontrol` and `module` of a batch script, in every shell that is here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostler_agent.slurm_commands import PROGRAMS, VARIABLE, put
from tests.support.programs.read_gap import ReadGap

pytestmark = pytest.mark.programs

SHELLS = [
    words for words in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(words[0])
]
Ran = tuple[int, str, str]


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    return words


class Commands:
    """The commands in a folder, run by a shell."""

    def __init__(self, folder: Path, shell: list[str]) -> None:
        self.shell = shell
        self.env = {
            "PATH": os.environ["PATH"],
            "HOSTLER_ATTEMPT": "a1",
            "SLURM_JOB_ID": "77",
            "SLURM_JOB_NAME": "my & job",
            "SLURM_JOB_NODELIST": "gpu7",
            "SLURMD_NODENAME": "gpu7",
        }
        self.cwd = folder / "work"
        self.cwd.mkdir()
        put(str(folder), self.env)
        self.folder = Path(self.env[VARIABLE])
        self._started: list[subprocess.Popen[str]] = []

    def start(self, name: str, *words: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*self.shell, str(self.folder / name), *words],
            env=self.env | env, cwd=self.cwd, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what is left of them, also where a test has failed."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def __call__(self, name: str, *words: str, **env: str) -> Ran:
        process = self.start(name, *words, **env)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def commands(tmp_path: Path, shell: list[str]) -> Iterator[Commands]:
    commands = Commands(tmp_path, shell)
    yield commands
    commands.close()


def test_the_commands_are_before_all_others_and_nobody_else_may_write_them(tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin"}
    put(str(tmp_path), env)
    put(str(tmp_path), {"PATH": "/usr/bin"})  # a start that is repeated
    folder = tmp_path / "commands"
    assert env["PATH"] == f"{folder}:/usr/bin"
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == dict.fromkeys(PROGRAMS, 0o700)


@pytest.mark.parametrize(
    "options",
    [
        "", "--", "-n1 -c 4", "-n 1 --cpu-bind=none --mpi pmix", "--gres=gpu:1 --exclusive -u",
        "-N1 --ntasks-per-node=1", "--nodes 1-1 -vv", "--unbuf --kill-on-bad-exit=1", "-K0 --pty",
        "-J name -p gpu --time 10:00 --overlap", "--jobid=77", "--somethingnew=3", "-lK -n1 -Q",
    ],
)  # fmt: skip
def test_options_of_srun_are_dropped(commands: Commands, options: str) -> None:
    command = ["sh", "-c", 'echo "$0|$1"; exit 3', "a b", "-n"]
    code, out, _ = commands("srun", *options.split(), *command)
    assert (code, out.removeprefix("0: ")) == (3, "a b|-n\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "there is no command"),
        ("-n", "-n has no value"),
        ("--ntasks 0 true", "--ntasks=0 is not a number"),
        ("-n x true", "--ntasks=x is not a number"),
        ("-N 2 true", "--nodes=2: a run has one host"),
        ("--nodes=2-4 true", "a run has one host"),
        ("--frob true", "--frob is no option of srun"),
        ("-y true", "-y is no option of srun"),
        ("--multi-prog x.conf", "--multi-prog is not supported"),
        ("--container-image=x true", "name the image as image in a pipeline file"),
        ("-n2 --gpus-per-task=2 true", "2 tasks need 4 GPUs, and the job has 3"),
    ],
)
def test_what_srun_cannot_do_is_an_error(commands: Commands, words: str, told: str) -> None:
    code, out, err = commands("srun", *words.split(), HOSTLER_GPU_COUNT="3")
    assert (code, out) == (1, "")
    assert told in err


def test_several_tasks_know_their_numbers(commands: Commands) -> None:
    line = 'echo "$SLURM_PROCID/$SLURM_NTASKS $SLURM_LOCALID $SLURM_CPUS_PER_TASK"'
    code, out, err = commands("srun", "-n3", "-c2", "sh", "-c", line)
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == ["0/3 0 2", "1/3 1 2", "2/3 2 2"]


def test_their_number_is_that_of_the_header(commands: Commands) -> None:
    line = "echo $SLURM_PROCID"
    assert len(commands("srun", "sh", "-c", line, SLURM_NTASKS="3")[1].split()) == 3
    assert len(commands("srun", "sh", "-c", line, SLURM_NTASKS_PER_NODE="2")[1].split()) == 2
    assert commands("srun", "-n1", "sh", "-c", line, SLURM_NTASKS="3")[1] == "0\n"


def test_the_worst_exit_code_counts_and_is_told(commands: Commands) -> None:
    code, _, err = commands("srun", "-n3", "sh", "-c", "exit $((SLURM_PROCID * 3))")
    assert code == 6
    assert "task 1 ended with exit code 3" in err
    assert "task 2 ended with exit code 6" in err


def test_a_failed_task_ends_the_others_where_that_is_asked_for(commands: Commands) -> None:
    line = '[ "$SLURM_PROCID" = 0 ] && exec sleep 600; exit 5'
    code, _, err = commands("srun", "-K", "-n2", "sh", "-c", line)
    assert code == 128 + signal.SIGTERM
    assert "task 1 ended with exit code 5" in err


def test_a_signal_reaches_every_task(commands: Commands) -> None:
    line = 'trap "echo got; exit 4" USR1; echo ready; while :; do sleep 0.1; done'
    process = commands.start("srun", "-n2", "sh", "-c", line)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    process.send_signal(signal.SIGUSR1)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (4, "got\n" * 2)


@pytest.mark.parametrize(
    "shell", [words for words in SHELLS if words[0] != "busybox"], indirect=True
)
def test_a_signal_just_before_a_shell_reads_is_not_lost(commands: Commands, tmp_path: Path) -> None:
    """Not in busybox, which is linked statically: nothing can be put between it and the kernel."""
    line = 'trap "echo got; exit 4" USR1; echo ready; while :; do sleep 0.1; done'
    gap = ReadGap(tmp_path)
    process = commands.start("srun", "-n2", "sh", "-c", line, **gap.env(3))
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    gap.wait()  # two tasks have told their process, and nothing else comes before the signal
    process.send_signal(signal.SIGUSR1)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (4, "got\n" * 2)


def test_a_signal_to_the_whole_group_ends_no_part_of_srun(commands: Commands) -> None:
    """As Hostler sends it. What labels the lines of a task outlives the signal, too."""
    line = (
        'trap "echo got; sleep 0.2; echo end; exit 4" USR1; echo ready; while :; do sleep 0.1; done'
    )
    process = commands.start("srun", "-n2", "-l", "sh", "-c", line)
    assert process.stdout is not None
    assert sorted(process.stdout.readline() for _ in range(2)) == ["0: ready\n", "1: ready\n"]
    os.killpg(process.pid, signal.SIGUSR1)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 4
    assert {"0: end\n", "1: end\n"} <= set(out.splitlines(keepends=True))


def test_each_task_has_cards_of_its_own_where_that_is_asked_for(commands: Commands) -> None:
    words = ("-n2", "--gpus-per-task=a100:2", "-l", "sh", "-c", 'echo "$CUDA_VISIBLE_DEVICES"')
    known = {"HOSTLER_GPU_COUNT": "4"}
    _, out, _ = commands("srun", *words, CUDA_VISIBLE_DEVICES="1,3,4,6", **known)
    assert sorted(out.splitlines()) == ["0: 1,3", "1: 4,6"]
    _, out, _ = commands("srun", *words, **known)
    assert sorted(out.splitlines()) == ["0: 0,1", "1: 2,3"]


def test_a_step_with_fewer_cards_and_ranks_of_mpi_are_told(commands: Commands) -> None:
    _, _, err = commands("srun", "--gres=gpu:1", "true", HOSTLER_GPU_COUNT="4")
    assert "asks for 1 GPUs, and sees all 4" in err
    assert "use mpirun" in commands("srun", "-n2", "--mpi=pmix", "true")[2]


def test_lines_are_labelled_and_output_goes_where_it_is_asked_to(commands: Commands) -> None:
    line = "echo out; printf 'no end' >&2"
    _, out, _ = commands("srun", "--label", "-n2", "sh", "-c", line)
    assert sorted(out.splitlines()) == ["0: no end", "0: out", "1: no end", "1: out"]
    commands("srun", "-n2", "-o", "%x-%j-%t.out", "sh", "-c", line)
    found = {path.name: path.read_text() for path in commands.cwd.iterdir()}
    assert found == {f"my _ job-77-{n}.out": "out\nno end" for n in range(2)}


def test_folder_variables_and_input(commands: Commands) -> None:
    (commands.cwd / "sub").mkdir()
    (commands.cwd / "sub/in").write_text("hello\n")
    words = ("-D", "sub", "-i", "in", "--export=ALL,X=a b,1=2", "sh", "-c", "pwd; cat; echo $X")
    _, out, _ = commands("srun", *words)
    assert out == f"{commands.cwd}/sub\nhello\na b\n"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "gpu7"),
        ("a,b", "a b"),
        ("gpu[1-3]", "gpu1 gpu2 gpu3"),
        ("gpu[08-11,3],x", "gpu08 gpu09 gpu10 gpu11 gpu3 x"),
        ("r[1-2]n[1,3]-ib", "r1n1-ib r1n3-ib r2n1-ib r2n3-ib"),
    ],
)
def test_hostnames_are_expanded(commands: Commands, words: str, names: str) -> None:
    code, out, err = commands("scontrol", "show", "hostnames", *words.split())
    assert (code, out.split(), err) == (0, names.split(), "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("show hostnames gpu[1-x]", "1-x is not a number or range"),
        ("show hostnames gpu[1-99999999]", "is too many hosts"),
        ("show hostnames gpu[1", "a [ has no ]"),
        ("show job 5", "job 5 is not this one"),
        ("requeue", '"requeue" is not supported'),
        ("requeue 77", "this run may not submit, see, cancel or requeue"),
        ("hold 77", '"hold 77" is not supported'),
    ],
)
def test_what_scontrol_does_not_know_is_an_error(commands: Commands, words: str, told: str) -> None:
    code, out, err = commands("scontrol", *words.split())
    assert (code, out) == (1, "")
    assert told in err


def test_scontrol_tells_of_the_job_itself(commands: Commands) -> None:
    code, out, _ = commands("scontrol", "-o", "show", "job", "77")
    assert code == 0
    assert "JobId=77 JobName=my & job\n" in out
    assert "NodeList=gpu7\n" in out
    assert "ArrayJobId" not in out


def test_modules_that_are_not_here_are_told_once(commands: Commands) -> None:
    code, out, err = commands("module", "load", "cuda/12.4")
    assert (code, out) == (0, "")
    assert 'there are no environment modules here, so "module load cuda/12.4"' in err
    assert commands("ml", "cuda") == (0, "", "")
    assert commands("module", "is-loaded", "cuda") == (1, "", "")
