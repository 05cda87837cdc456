"""OOM kills that Docker does not report, told by the kernel's count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostler_agent import ooms
from hostler_agent.containers import Containers
from hostler_agent.http import Connection
from hostler_agent.look_sections import Workload
from tests.support.daemons.fake_docker import container, fake_docker, ours

_AT_ONCE = "2025-11-24T14:00:00.11Z"
"""A little before the start, as dockerd stamps it: containerd saw the end first."""


class Kernel:
    """Counts OOM kills."""

    def __init__(self) -> None:
        self.kills = 7


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """One whose count the test decides."""
    made = Kernel()
    monkeypatch.setattr(ooms, "oom_kills", lambda: made.kills)
    return made


def _ended(**more: Any) -> dict[str, Any]:
    usual = {"exit": 137, "memory": 32 << 20, "finished": _AT_ONCE}
    return container(1, state="exited", labels=ours("a-1"), **{**usual, **more})


def _told(kernel: Kernel, folder: Path, ended: dict[str, Any], kills: int = 1) -> bool:
    """Whether the exit of a container, and a look after it, speak of OOM."""
    exits: list[Workload] = []
    with fake_docker(folder / "d.sock") as docker:
        containers = Containers(lambda: None, exits.append)
        docker.put(container(1, state="created", labels=ours("a-1")))
        actor: Any = {"ID": f"{1:064x}", "Attributes": ours("a-1")}
        containers._event({"Action": "create", "Actor": actor}, str(docker.path))
        kernel.kills += kills
        docker.put(ended)
        containers._event({"Action": "die", "Actor": actor}, str(docker.path))
        kernel.kills += 1  # somebody else's, later
        connection = Connection(str(docker.path), 5.0)
        containers._read(connection)
        connection.close()
    told = [bool(one.get("oom_killed")) for one in (*exits, *containers.work)]
    assert told in ([False, False], [True, True])
    return told[0]


def test_a_container_that_dies_at_its_limit_before_it_is_watched(
    kernel: Kernel, short_folder: Path
) -> None:
    assert _told(kernel, short_folder, _ended())


@pytest.mark.parametrize(
    "ended",
    [
        _ended(exit=1),
        _ended(memory=0),
        _ended(finished="2025-11-24T14:00:05.2Z"),
    ],
    ids=["not-killed", "no-limit", "watched-by-then"],
)
def test_other_ends_are_left_to_docker(
    kernel: Kernel, short_folder: Path, ended: dict[str, Any]
) -> None:
    assert not _told(kernel, short_folder, ended)


def test_a_kill_that_the_kernel_did_not_count(kernel: Kernel, short_folder: Path) -> None:
    assert not _told(kernel, short_folder, _ended(), kills=0)
