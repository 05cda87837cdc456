"""What a pull is told by a host whose containerd is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hostler.base.errors import EngineError, HostFault
from hostler.runtimes.docker import pull as pull_module
from hostler.runtimes.docker.explain import engine_error
from hostler.runtimes.docker.pull import pull
from tests.core.runtimes.support import silent


class Asked:
    """All of an engine and a link that a pull asks for before it fails."""

    host = "gpu1"

    async def pull_request(self, image: str) -> tuple[dict[str, str], dict[str, str]]:
        return {"fromImage": image}, {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("error creating temporary lease: transport is closing: unavailable", True),
        ("pull access denied for bb", False),
    ],
)
async def test_an_answer_with_a_status_stays_the_hosts_fault(
    monkeypatch: pytest.MonkeyPatch, text: str, fault: bool
) -> None:
    @asynccontextmanager
    async def refused(*_: object) -> AsyncIterator[None]:
        raise engine_error("gpu1", "POST /images/create", 503, text)
        yield

    monkeypatch.setattr(pull_module, "request", refused)
    asked: Any = Asked()
    with pytest.raises(EngineError) as caught:
        await pull(asked, asked, "bb:1", silent)
    assert isinstance(caught.value, HostFault) is fault
