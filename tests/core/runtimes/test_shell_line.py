"""Lines for a shell: what a pipe comes to, and what stays as `sh -c` has it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from hostler.link.agent_link import AgentLink
from hostler.ports import Runtime
from hostler.runtimes.command import argv
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.runtimes.process.runtime import ProcessRuntime
from hostler.store.content import ContentStore
from tests.core.runtimes.support import MemorySink, make_job, shares_a_loop, silent

pytestmark = pytest.mark.programs

SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """An environment in which `sh` is this one."""
    program = shutil.which(request.param)
    assert program is not None
    return with_sh(tmp_path, f'exec {program} {"sh " if request.param == "busybox" else ""}"$@"')


def with_sh(folder: Path, line: str) -> dict[str, str]:
    (folder / "sh").write_text(f"#!/bin/bash\n{line}\n")
    (folder / "sh").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def said(line: str, env: dict[str, str], **more: bool) -> tuple[int, str, str]:
    """Exit code and output of a line."""
    done = subprocess.run(
        argv(make_job(line, **more)), env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_pipe_fails_with_any_of_its_programs(shell: dict[str, str]) -> None:
    assert said("echo out; (exit 3) | cat", shell) == (3, "out\n", "")
    assert said("(exit 3) | cat", shell, plain_shell=True) == (0, "", "")
    assert said("true | cat", shell) == (0, "", "")
    code, first, _ = said("yes | head -n 1", shell)
    assert (code, first) == (141, "y\n")


def test_everything_else_is_as_it_was(shell: dict[str, str]) -> None:
    line = 'echo "$0" $# \'$HOME\' "it\'s"\nfalse || echo or; exit 5'
    assert said(line, shell) == said(line, shell, plain_shell=True)


def test_the_last_program_takes_the_place_of_the_shell(shell: dict[str, str]) -> None:
    """A signal to the stage reaches it."""
    running = subprocess.Popen(
        argv(make_job("exec sleep 100")), env=shell, start_new_session=True, stderr=subprocess.PIPE
    )
    try:
        while b"sleep\0" not in Path(f"/proc/{running.pid}/cmdline").read_bytes():
            assert running.poll() is None
        running.terminate()
        assert running.wait(60) == -signal.SIGTERM
    finally:
        running.kill()
        running.communicate()


def test_a_shell_without_pipefail_runs_the_line_and_says_so(tmp_path: Path) -> None:
    env = with_sh(tmp_path, 'exec dash "${@//pipefail/nosuchoption}"')
    code, out, told = said("echo out | cat; (exit 3) | cat", env)
    assert (code, out) == (0, "out\n")
    assert "has no" in told
    assert said("echo out || false", env) == (0, "out\n", "")


@shares_a_loop
@pytest.mark.parametrize("kind", ["docker", "process"])
async def test_both_runtimes_do_so(agent: AgentLink, content: ContentStore, kind: str) -> None:
    runtime: Runtime = DockerRuntime(content.path)
    if kind == "process":
        runtime = ProcessRuntime(content.path)
    for plain, code in ((False, 7), (True, 0)):
        image = {} if kind == "docker" else {"image": None}
        job = make_job("(echo x; exit 7) | cat", plain_shell=plain, **image)
        workload = await runtime.start(agent, job, await runtime.create(agent, job, silent))
        sink = MemorySink()
        await runtime.follow(agent, workload, sink)
        ended = await runtime.inspect(agent, workload.ref)
        assert ended is not None
        assert (ended.exit_code, sink.data.decode()) == (code, "x\n")
        await runtime.remove(agent, ended)
    await runtime.close()
