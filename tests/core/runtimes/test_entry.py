"""The shell that makes variables of secrets in a container: exact values, with any `sh`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from hostler.base.secret import Secret
from hostler.model.jobs import GivenSecret
from hostler.runtimes.docker.entry import FOLDER, with_secrets
from hostler.runtimes.docker.options import container_options
from tests.core.runtimes.support import make_job

VALUES = {
    "PLAIN": "hf_abcdefgh",
    "LINES": "\n-----BEGIN-----\n  kept  spaces\t\n\n",
    "ODD": "é あ Ё \\n \\ 'q' \"d\" $x `y` *\r",
    "EMPTY_END": "no line break at the end \\",
}
SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]]


@pytest.mark.programs
@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_each_variable_has_its_exact_value(shell: list[str], tmp_path: Path) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    job = make_job("true", secrets=tuple(GivenSecret(n, Secret(v)) for n, v in VALUES.items()))
    body = with_secrets(container_options(job), "/host", ["env", "-u", "PATH_X"], job)
    _, *rest = body["Entrypoint"]
    script = rest[1].replace(FOLDER, str(tmp_path))
    for name, value in VALUES.items():
        (tmp_path / name).write_text(value, newline="")
    told = subprocess.run(
        [*shell, rest[0], script, rest[2], shutil.which("env") or "env", "-0"],
        capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    env = dict(line.split("=", 1) for line in told.stdout.decode().split("\0") if "=" in line)
    assert {name: env.get(name) for name in VALUES} == VALUES
    assert not [name for name in env if name.startswith("_hostler")]


@pytest.mark.programs
def test_arguments_and_the_exit_code_are_the_commands_own(tmp_path: Path) -> None:
    job = make_job("true", secrets=(GivenSecret("PLAIN", Secret("hf_abcdefgh")),))
    body = with_secrets(container_options(job), "/host", [], job)
    script = body["Entrypoint"][2].replace(FOLDER, str(tmp_path))
    (tmp_path / "PLAIN").write_text("x")
    words = ["sh", "-c", 'echo "$1|$2"; exit 7', "name", "a b", "*"]
    told = subprocess.run(["sh", "-c", script, "hostler", *words], capture_output=True)
    assert (told.returncode, told.stdout) == (7, b"a b|*\n")


@pytest.mark.programs
def test_a_file_that_cannot_be_read_ends_it_before_the_command(tmp_path: Path) -> None:
    job = make_job("true", secrets=(GivenSecret("PLAIN", Secret("hf_abcdefgh")),))
    script = with_secrets(container_options(job), "/host", [], job)["Entrypoint"][2]
    told = subprocess.run(
        ["sh", "-c", script.replace(FOLDER, str(tmp_path)), "hostler", "echo", "ran"],
        capture_output=True,
    )
    assert told.returncode == 126
    assert b"the secret PLAIN cannot be read in this container" in told.stderr
    assert told.stdout == b""


def test_no_value_is_in_what_docker_is_told() -> None:
    given = tuple(GivenSecret(name, Secret(value)) for name, value in VALUES.items())
    job = make_job("true", secrets=given)
    body = with_secrets(container_options(job), "/host/folder", ["/entry.sh"], job)
    told = repr(body)
    assert not [value for value in VALUES.values() if value in told or repr(value)[1:-1] in told]
    assert body["Cmd"][0] == "/entry.sh"
    mounts = body["HostConfig"]["Mounts"][-len(VALUES) :]
    assert {(m["Source"], m["Target"], m["ReadOnly"]) for m in mounts} == {
        (f"/host/folder/{name}", f"{FOLDER}/{name}", True) for name in VALUES
    }


def test_files_alone_need_no_shell() -> None:
    job = make_job("true", secrets=(GivenSecret("PLAIN", Secret("x"), as_variable=False),))
    plain = container_options(job)
    body = with_secrets(plain, "/host", ["/entry.sh"], job)
    assert "Entrypoint" not in body
    assert body["Cmd"] == plain["Cmd"]
    assert f"HOSTLER_SECRETS={FOLDER}" in body["Env"]
