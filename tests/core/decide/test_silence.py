"""What counts where a host, or the gateway, does not answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.decide.plan import plan
from hostler.decide.silence import Sight, Verdict, judge, replaced_at
from hostler.model.hosts import HostCondition
from hostler.model.pipelines import Cause
from hostler.model.plans import Plan, Record, Stop
from hostler.model.releases import Server, ServerMode
from tests.core.decide.test_services import serve
from tests.support.values import planning as lab

UP = Server(ServerMode.READY, True, since=10.0)
DOWN = Server(ServerMode.READY, False, since=900.0)


@pytest.mark.parametrize(
    ("silent_since", "server", "verdict"),
    [
        (None, UP, Verdict.NORMAL),
        (None, DOWN, Verdict.PROBE),
        (None, None, Verdict.PROBE),
        (100.0, UP, Verdict.KEEP),
        (100.0, DOWN, Verdict.WAIT),
        (100.0, replace(DOWN, since=300.0), Verdict.REPLACE),
        (500.0, replace(DOWN, since=300.0), Verdict.WAIT),
        (100.0, None, Verdict.REPLACE),
    ],
)
def test_a_replica_is_given_up_only_where_host_and_gateway_agree_for_long(
    silent_since: float | None, server: Server | None, verdict: Verdict
) -> None:
    assert judge(Sight(1000.0, silent_since, False, server, lost_after=600.0)) is verdict


_TIMES = st.floats(0, 5000)
_SERVERS = st.none() | st.builds(
    Server, st.sampled_from(ServerMode), st.booleans(), st.integers(0, 9), _TIMES
)
_SIGHTS = st.builds(
    Sight, _TIMES, st.none() | _TIMES, st.booleans(), _SERVERS, lost_after=st.floats(1, 1000)
)


@given(_SIGHTS)
def test_no_replica_that_anybody_reaches_is_replaced(sight: Sight) -> None:
    verdict, server = judge(sight), sight.server
    if verdict is Verdict.REPLACE:
        assert not sight.is_gateway_silent
        assert server is None or not server.is_up
        assert sight.silent_since is not None
        assert sight.now >= sight.silent_since + sight.lost_after
        assert server is None or sight.now >= server.since + sight.lost_after
    assert (verdict is Verdict.PAUSE) == sight.is_gateway_silent
    assert (
        verdict in (Verdict.NORMAL, Verdict.PROBE, Verdict.PAUSE) or sight.silent_since is not None
    )


@given(_SIGHTS)
def test_it_is_replaced_at_the_moment_that_is_named(sight: Sight) -> None:
    at = replaced_at(sight)
    if at is None:
        assert judge(replace(sight, now=1e9)) is not Verdict.REPLACE
    else:
        assert judge(replace(sight, now=at)) is Verdict.REPLACE
        assert judge(replace(sight, now=at - 0.5)) is Verdict.WAIT


def _planned(server: Server | None, *, silent_for: float = 700.0, **fields: Any) -> Plan:
    """A replica that is ready on a silent host, beside a free one."""
    (stage,) = serve(gpus=0)
    attempt = lab.attempt(
        "r1", stage.name, gpus=(), host="a", ready_at=5.0, port=8000, placed_at=0.0,
        launched_at=1.0,
    )  # fmt: skip
    silent = lab.host("a", condition=HostCondition.UNREACHABLE, asked_at=lab.NOW - silent_for)
    run = lab.run("r1", stage, attempts=(attempt,))
    seen = {attempt.attempt_id: server} if server is not None else {}
    return plan(lab.snapshot(silent, lab.host("b"), run, at_gateway=seen, **fields))


def _lost(made: Plan) -> bool:
    assert lab.of_kind(made.actions, Stop) == []
    return any(each.cause is Cause.HOST_LOST for each in lab.of_kind(made.actions, Record))


def test_what_the_planner_does_about_a_replica_of_a_silent_host() -> None:
    long_down = replace(DOWN, since=lab.NOW - 1000.0)
    just_down = replace(DOWN, since=lab.NOW - 100.0)
    assert _lost(_planned(None))  # no gateway has it
    assert _lost(_planned(long_down))
    assert not _lost(_planned(just_down))
    assert _planned(just_down).wake_at == lab.NOW + 500.0
    assert not _lost(_planned(UP, silent_for=5000.0))
    assert not _lost(_planned(None, unheard=frozenset({"r1"})))
    assert not _lost(_planned(long_down, silent_for=300.0))
