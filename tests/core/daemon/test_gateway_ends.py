"""Ending gateways that the config does not name any more: a host may take calls in silence."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from hostler.daemon.context import Context
from hostler.daemon.gateway_ends import GatewayEnds
from hostler.model.timings import Timings


class Link:
    """Of a host without such a job; one that is `late` takes calls and never answers."""

    def __init__(self, host: str, *, late: bool) -> None:
        self.host, self.late, self.calls = host, late, list[str]()

    async def call(self, verb: str, payload: Any, timeout: float = 10.0) -> dict[str, Any]:
        self.calls.append(verb)
        if self.late:
            await asyncio.Event().wait()
        return {"workload": None} if verb == "job.inspect" else {}


def _ends(rests: float, *links: Link) -> GatewayEnds:
    by_host = {link.host: link for link in links}
    context = SimpleNamespace(
        monitors=by_host, link=by_host.__getitem__, daemon_id="d" * 32,
        timings=replace(Timings(), gateway_ends=0.05, gateway_rests=rests),
    )  # fmt: skip
    return GatewayEnds(cast(Context, context))


async def test_a_host_that_never_answers_holds_up_no_other_and_is_left_alone_for_a_while() -> None:
    late, good = Link("late", late=True), Link("good", late=False)
    ends = _ends(3600.0, late, good)
    await ends.end(["late", "good", "gone"])
    assert good.calls[-1] == "gateway.remove"
    for _ in range(2):
        assert ends.silent is not None
        assert ends.silent.host == "late"
        assert late.calls == ["job.inspect"]
        await ends.end(["late"])


async def test_it_is_asked_again_later() -> None:
    late = Link("late", late=True)
    ends = _ends(0.0, late)
    await ends.end(["late"])
    late.late = False
    await ends.end(["late"])
    assert ends.silent is None
    assert late.calls[-1] == "gateway.remove"
