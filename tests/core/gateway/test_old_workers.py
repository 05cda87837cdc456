"""Workers of before a reload, which end at any moment: what is asked of them fails nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from hostler.base.errors import EngineError
from hostler.gateway.control import Gateway
from hostler.model.gateway import GatewayToken
from hostler.model.timings import GatewayTimings
from hostler.ports import HostLink

TOKEN = GatewayToken("abc", "ana", "a" * 64, ("*",), 2**31)
TIMINGS = replace(GatewayTimings(), poll=0.0)


class Master:
    """The master of a gateway: its worker of now, and old ones that end when they are asked."""

    host = "gate"

    def __init__(self, old: tuple[int, ...], *, ends: bool = True) -> None:
        self.old, self.ends = list(old), ends
        self.asked: list[str] = []

    async def call(self, verb: str, _payload: object, *_more: object) -> dict[str, object]:
        """Its folder, and that it runs."""
        return {"folder": "/g"} if verb == "gateway.put" else {"workload": {"running": True}}

    async def open_socket(self, _path: str) -> Stream:
        """A connection."""
        return Stream(self)

    def answer(self, line: str) -> bytes:
        """One line of the protocol; b"" where the connection ends with the worker."""
        self.asked.append(line)
        if line == "show proc":
            rows = "".join(f"{pid} worker 1 1d 3.0\n" for pid in self.old)
            return f"# workers\n1 worker 0 1d 3.0\n# old workers\n{rows}\n".encode()
        if line.startswith("@!"):
            if self.ends:
                self.old.remove(int(line.split()[0][2:]))
            return b""
        return b"found=no\n\n" if "get map" in line else b"\n"


class Stream:
    """One connection to the master."""

    def __init__(self, master: Master) -> None:
        self.master, self.said = master, b""

    async def write(self, data: bytes) -> None:
        """A command."""
        self.said = self.master.answer(data.decode().strip())

    async def read(self, _limit: int = 65536) -> bytes:
        """Its answer."""
        return self.said

    async def close(self) -> None:
        """Nothing is held."""


def gateway(master: Master) -> Gateway:
    return Gateway(cast(HostLink, master), "d" * 32, timings=TIMINGS)


async def test_a_token_is_revoked_though_a_worker_of_before_ends_meanwhile() -> None:
    master = Master((7, 8))
    await gateway(master).revoke(TOKEN)
    assert [line for line in master.asked if "del map" in line] == [
        f"@!7 del map /g/tokens.map {'a' * 64}",
        f"@!8 del map /g/tokens.map {'a' * 64}",
        f"@1 del map /g/tokens.map {'a' * 64}",
    ]


async def test_a_worker_that_lives_and_does_not_answer_may_still_take_the_token() -> None:
    with pytest.raises(EngineError, match="ended the connection"):
        await gateway(Master((7,), ends=False)).revoke(TOKEN)
