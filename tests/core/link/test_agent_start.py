"""Starting the agent: bootstrap, upload, noisy shells, hosts without Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import AgentError, Unreachable
from hostler.link.agent_link import AgentLink
from hostler.link.agent_start import (
    AgentProgram,
    Started,
    agent_program,
    read_hello,
    start_agent,
)
from hostler.link.lines import LineReader
from hostler.local.door import LocalDoor
from tests.support.programs.scripted_agent import script, starts

pytestmark = pytest.mark.programs


async def test_missing_agent_is_uploaded(link: AgentLink, folder: Path) -> None:
    script(folder, word={"agent": "need"})
    await link.connect()
    assert (folder / "uploaded").read_bytes() == b"archive"


@pytest.mark.parametrize(
    "noise",
    ["Welcome to gpu1!\n\n  \x1b[1mhello\x1b[0m\n", "no newline", '{"agent\n', "x\n" * 9999],
)
async def test_what_the_login_shell_prints_is_passed_over(
    link: AgentLink, folder: Path, noise: str
) -> None:
    script(folder, noise=noise)
    await link.connect()
    assert (await link.look(1.0, 30.0)).gpus


@pytest.mark.parametrize("noise", ["a line\n" * 20_000, "x" * 100_000])
async def test_endless_noise_is_named(link: AgentLink, folder: Path, noise: str) -> None:
    script(folder, noise=noise)
    with pytest.raises(AgentError, match="bashrc"):
        await link.connect()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ({"agent": "old", "version": "3.6.15"}, r"3\.6\.15"),
        ({"agent": "unsafe", "folder": "/var/tmp/hostler-0"}, "/var/tmp/hostler-0"),
        (
            {"agent": "unsafe", "folder": "/f", "uid": 7, "own": 7},
            "/f there is accessible to other users",
        ),
        ({"agent": "unsafe", "folder": "/f", "uid": 8, "own": 7}, "/f there.* belongs to uid 8"),
        ({"agent": "what"}, "unpacked"),
    ],
)
async def test_a_host_that_cannot_run_it(
    link: AgentLink, folder: Path, word: dict[str, Any], said: str
) -> None:
    script(folder, word=word)
    with pytest.raises(AgentError, match=said) as caught:
        await link.connect()
    assert caught.value.remedy


async def test_who_can_remove_a_squatted_folder_is_said(link: AgentLink, folder: Path) -> None:
    """It lies in a sticky folder: the person cannot do it."""
    script(folder, word={"agent": "unsafe", "folder": "/var/tmp/h", "uid": 1008, "own": 1007})
    with pytest.raises(AgentError) as caught:
        await link.connect()
    assert caught.value.remedy.startswith("only root or uid 1008 can remove it: ask root")


async def test_damaged_agent_is_tried_once_more(link: AgentLink, folder: Path) -> None:
    script(folder, word={"agent": "bad"})
    with pytest.raises(AgentError):
        await link.connect()
    assert starts(folder) == 2


async def test_agent_that_ends_at_once_says_why(link: AgentLink, folder: Path) -> None:
    script(folder, word=None, stderr="This account is currently not available.", status=1)
    with pytest.raises(AgentError, match="not available"):
        await link.connect()


async def test_no_python_is_named() -> None:
    program = AgentProgram("ab" * 32, b"", "exec python3 -c pass").with_python("/no/python3.9")
    link = AgentLink(LocalDoor("gpu1"), program, "d")
    with pytest.raises(
        AgentError, match=r"Python cannot be started there.*no/python3\.9"
    ) as caught:
        await link.connect()
    assert "`python` in config.toml" in caught.value.remedy
    await link.close()


@pytest.mark.parametrize(
    ("stderr", "message", "remedy"),
    [
        (
            'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\n'
            "OSError: [Errno 28] No space left on device: '/var/tmp/hostler-1'",
            "cannot be started there: OSError: [Errno 28] No space left",
            "df -h /var/tmp",
        ),
        (
            'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\n'
            "PermissionError: [Errno 13] Permission denied: '/var/tmp/hostler-1'",
            "cannot be started there: PermissionError",
            "ls -ld /var/tmp",
        ),
        (
            "bash: line 1: /opt/python3: Permission denied",
            "Python cannot be started",
            "`python` in",
        ),
        (
            "bash: line 1: /opt/p: No such file or directory",
            "Python cannot be started",
            "`python` in",
        ),
        ("what?", "ended before it was ready: what?", "ssh gpu1 python3 -V"),
    ],
)
async def test_agent_that_cannot_start_says_why_and_what_to_do(
    link: AgentLink, folder: Path, stderr: str, message: str, remedy: str
) -> None:
    script(folder, word=None, stderr=stderr, status=1)
    with pytest.raises(AgentError) as caught:
        await link.connect()
    assert message in caught.value.message
    assert remedy in caught.value.remedy


async def test_silence_has_a_deadline() -> None:
    door = LocalDoor("gpu1")
    await door.connect()
    program = AgentProgram("ab" * 32, b"", "exec sleep 60")
    with pytest.raises(Unreachable, match=r"within 0\.2 s"):
        await start_agent(door, program, deadline=0.2)
    await door.close()


def test_the_command_is_constant_but_for_the_python() -> None:
    program = agent_program()
    assert program.with_python("python3") is program
    other = program.with_python("/opt/python 3".replace(" ", ""))
    assert other.command.split()[:4] == ["exec", "/opt/python3", "-I", "-S"]
    assert other.command.split()[2:] == program.command.split()[2:]


@pytest.mark.parametrize("python", ["python3; rm -rf /", "a b", "$(x)", "", "'", "py\nthon"])
def test_a_python_that_is_more_than_a_name_is_refused(python: str) -> None:
    with pytest.raises(ValueError, match="Python"):
        agent_program().with_python(python)


class Gone:
    """The stream of an agent that has ended."""

    complaint = "killed"

    def __init__(self, said: bytes = b"") -> None:
        self.said = said

    async def read(self, limit: int = 65536) -> bytes:
        """What it said, then its end."""
        said, self.said = self.said, b""
        return said

    async def write(self, data: bytes) -> None:
        """Nobody reads it."""
        raise Unreachable("gpu1", "writing: Broken pipe")

    async def close(self) -> None:
        """Nothing is held."""


async def test_an_agent_that_ends_before_it_reads_anything_says_why(program: AgentProgram) -> None:
    started = Started(Gone(), LineReader(Gone()))
    await started.begin({"mode": "serve"})
    with pytest.raises(AgentError, match="ended before it was ready: killed"):
        await read_hello("gpu1", started, program)


async def test_a_bootstrap_that_ends_while_the_agent_is_sent_says_why(
    program: AgentProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def exec_agent(self: LocalDoor, command: str) -> Gone:
        return Gone(b'{"agent":"need"}\n')

    monkeypatch.setattr(LocalDoor, "exec_agent", exec_agent)
    with pytest.raises(AgentError, match="ended before it was ready: killed"):
        await start_agent(LocalDoor("gpu1"), program)
