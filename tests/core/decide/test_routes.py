"""From the config and open runs to what the gateway serves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hostler.base.errors import InputError
from hostler.decide.addresses import AddressRules
from hostler.decide.holding import held_by
from hostler.decide.routes import (
    MOST_SERVICES,
    Deployed,
    Routes,
    check_address,
    entry_of,
    routes,
    url_of,
)
from hostler.model.causes import Cause
from hostler.model.config import Config, HostConfig
from hostler.model.gateway import GatewayToken, Replica, ServerState
from hostler.model.gateway_config import GatewayConfig
from hostler.model.pipelines import Stage
from hostler.model.releases import ServerMode
from hostler.model.runs import Attempt, Phase, Run
from hostler.model.services import HealthCheck, Service
from tests.support.values import planning as lab

HERE = GatewayConfig(host="gpu1")
HEALTH = HealthCheck(path="/health", headers={"X": "'%"}, status=(200, 204), every=5.0)
NOW = 1000.0


def _stage(base: str, number: int, health: HealthCheck = HEALTH) -> Stage:
    return lab.stage(f"{base}.{number}", base=base, service=Service(health, replicas=2))


def _attempt(run_id: str, name: str = "serve.0", **fields: Any) -> Attempt:
    return lab.attempt(run_id, name, gpus=(), **{"ready_at": 5.0, "port": 8001, **fields})


def _run(run_id: str, *attempts: Attempt, base: str = "serve", **fields: Any) -> Run:
    stages = (lab.stage("prepare"), _stage(base, 0), _stage(base, 1))
    return lab.run(run_id, *stages, attempts=attempts, **fields)


def _routes(*runs: Run, config: GatewayConfig = HERE) -> Routes:
    return routes(config, runs, (), NOW)


def _at(found: Routes) -> dict[tuple[str, str], str]:
    """Where services are, as their files say it."""
    return {key: str(at.address) for key, at in found.served.items()}


def test_ready_replicas_of_the_gateways_host_are_served() -> None:
    found = _routes(
        _run(
            "r1",
            _attempt("r1"),
            _attempt("r1", "serve.1", port=8002, host="gpu2"),
            _attempt("r1", "prepare"),
            _attempt("r1", number=2, ready_at=None),
            _attempt("r1", number=3, port=None),
            _attempt("r1", number=4, phase=Phase.COLLECTING),
            _attempt("r1", number=5, phase=Phase.FAILED),
        )
    )
    (service,) = found.wanted.services
    assert (service.name, service.address.value) == ("serve", "/serve")
    assert service.replicas == (Replica("r1-serve.0-1", "127.0.0.1:8001"),)
    assert _at(found) == {("r1", "serve"): "/serve"}


def test_what_is_about_to_be_stopped_gets_nothing_new() -> None:
    for run in (
        _run("r1", _attempt("r1"), cancelled_by="ana"),
        _run("r1", _attempt("r1", stop_reason="cancelled")),
    ):
        assert _routes(run).wanted.services[0].replicas[0].state is ServerState.DRAIN


def test_nothing_is_sent_to_another_users_process_at_a_replicas_port() -> None:
    run = _run("r1", _attempt("r1"), _attempt("r1", "serve.1", port=8002))
    given = Deployed("web", (run,), {"r1-serve.0-1": ServerMode.READY})
    for deployed in ((), (given,)):
        found = routes(HERE, (run,), (), NOW, deployed=deployed, foreign={"r1-serve.0-1"})
        states = {each.name: each.state for each in found.wanted.services[0].replicas}
        assert states.pop("r1-serve.0-1") is ServerState.CUT
        assert set(states.values()) <= {ServerState.READY}


def test_the_older_of_two_services_of_one_name_has_the_address() -> None:
    found = _routes(_run("r1"), _run("r2", _attempt("r2")), _run("r3", base="other"))
    assert [each.name for each in found.wanted.services] == ["serve", "other"]
    assert found.problems == {("r2", "serve"): "run r1 has the address /serve"}
    assert _at(_routes(_run("r2", _attempt("r2")))) == {("r2", "serve"): "/serve"}


def test_nobody_gets_an_address_by_waiting_for_the_next_release_of_another() -> None:
    old, waits, new = _run("r1", uid=1), _run("r2", uid=2), _run("r3", _attempt("r3"), uid=1)
    held = _routes(old, waits, new).holders
    assert held == {"serve": 1}
    found = routes(HERE, (waits, new), (), NOW, held)
    assert _at(found) == {("r3", "serve"): "/serve"}
    assert found.problems == {("r2", "serve"): "run r3 has the address /serve"}
    # The daemon was started again meanwhile: the gateway knows whose replica it serves.
    servers = {("serve", "r3-serve.0-1"): None, ("serve", "r9-serve.0-1"): None}
    assert held_by(servers, (waits, new)) == held
    # Who has nothing at it any more has given it up.
    assert routes(HERE, (waits,), (), NOW, held).holders == {"serve": 2}


def test_the_order_of_services_does_not_depend_on_who_holds_an_address() -> None:
    runs = (_run("r1", base="a", uid=1), _run("r2", base="b", uid=2))
    for held in ({}, {"b": 2}):
        found = routes(HERE, runs, (), NOW, held)
        assert [each.name for each in found.wanted.services] == ["a", "b"]


def test_a_deployed_service_has_its_own_name_with_replicas_of_all_of_its_releases() -> None:
    old, new = _run("r1", _attempt("r1")), _run("r3", _attempt("r3", port=8003))
    names = old.attempts[0].attempt_id, new.attempts[0].attempt_id
    modes = {names[0]: ServerMode.DRAIN, names[1]: ServerMode.READY}
    deployed = Deployed("web", (old, new), modes, frozenset({names[0], "gone"}))
    runs = (_run("r0", base="web"), old, _run("r2"), new)
    found = routes(HERE, runs, (), NOW, None, (deployed,))
    assert [each.name for each in found.wanted.services] == ["web", "serve"]
    assert {r.name: r.state for r in found.wanted.services[0].replicas} == {
        names[0]: ServerState.DRAIN, names[1]: ServerState.READY, "gone": ServerState.CUT,
    }  # fmt: skip
    assert _at(found) == {(r, "serve"): f"/{at}" for r, at in
                           (("r1", "web"), ("r3", "web"), ("r2", "serve"))}  # fmt: skip
    assert found.problems == {("r0", "web"): "service web has the address /web"}


def test_requests_on_their_way_to_a_lost_host_are_not_cut_off() -> None:
    """Where their connection ends they are sent to another replica."""
    ended = replace(_attempt("r1"), phase=Phase.FAILED)
    for cause, left in ((Cause.HOST_LOST, []), (Cause.HOST_REBOOTED, [ServerState.CUT])):
        run = _run("r1", replace(ended, cause=cause))
        given = Deployed("web", (run,), {}, frozenset({ended.attempt_id}))
        (service,) = routes(HERE, (run,), (), NOW, None, (given,)).wanted.services
        assert [each.state for each in service.replicas] == left


def test_a_release_whose_address_another_run_has_is_refused() -> None:
    check_address(_run("r2"), "web", [_run("r1")])
    with pytest.raises(InputError, match="run r1 has the address /serve"):
        check_address(_run("r2"), "serve", [_run("r1")])
    with pytest.raises(InputError, match="service"):
        check_address(_run("r2"), "ends-", [])


def test_one_service_that_cannot_be_served_stops_no_other() -> None:
    bad = lab.run("r1", _stage("serve", 0, replace(HEALTH, body="\0")))
    found = _routes(bad, _run("r2", base="other"), _run("r3", base="ends-"))
    assert [each.name for each in found.wanted.services] == ["other"]
    assert set(found.problems) == {("r1", "serve"), ("r3", "ends-")}
    many = [_run(f"r{n}", base=f"s{n}") for n in range(MOST_SERVICES + 1)]
    assert f"r{MOST_SERVICES}" in {run_id for run_id, _ in _routes(*many).problems}


def test_the_gateway_asks_as_the_host_does_and_often_where_that_is_cheap() -> None:
    def check(health: HealthCheck) -> Any:
        return _routes(lab.run("r1", _stage("serve", 0, health))).wanted.services[0].check

    assert (check(HEALTH).path, check(HEALTH).every, check(HEALTH).status) == (
        "/health", 1.0, (200, 204),
    )  # fmt: skip
    assert check(replace(HEALTH, method="POST", body="{}")).every == 5.0
    assert (check(HealthCheck()).path, check(HealthCheck(every=0.01)).every) == (None, 0.1)


def test_a_token_is_for_the_service_that_was_meant_and_not_for_the_next_of_its_name() -> None:
    """Also where another person releases a service for its owner."""
    gate = replace(HERE, tokens=True)
    token = GatewayToken("t1", "ana", "1" * 64, ("serve", "other", "any"), 2000,
                         owners={"serve": 1, "other": 1})  # fmt: skip
    every = GatewayToken("t2", "ana", "2" * 64, ("*",), 2000)

    def granted(*runs: Run, deployed: tuple[Deployed, ...] = ()) -> list[tuple[str, ...]]:
        found = routes(gate, runs, (token, every), NOW, deployed=deployed)
        return [each.services for each in found.wanted.tokens]

    mine, others = _run("r1", uid=1), _run("r2", _attempt("r2"), uid=2)
    assert granted(mine, others) == [("serve", "any"), ("*",)]
    assert granted(others) == [("any",), ("*",)]
    given = Deployed("serve", (others,), {"r2-serve.0-1": ServerMode.READY}, uid=1)
    assert granted(others, deployed=(given,)) == [("serve", "any"), ("*",)]
    assert granted(others, deployed=(replace(given, uid=2),)) == [("any",), ("*",)]
    only = replace(token, services=("serve",))
    assert routes(gate, (others,), (only,), NOW).wanted.tokens == ()


def test_a_refused_service_with_releases_keeps_its_name_and_its_tokens() -> None:
    """Else the next run of that name, whoever's, would be asked with them."""
    (stage,) = [each for each in _run("r1").stages if each.name == "serve.0"]
    assert stage.service is not None
    named = replace(stage, service=replace(stage.service, address="serve.lab.example"))
    mine = replace(_run("r1", uid=1), stages=(named,))
    token = GatewayToken("a", "ana", "0" * 64, ("serve",), 2000, {"serve": 1})
    config = replace(HERE, tokens=True)
    given = Deployed("serve", (mine,), {}, uid=1)
    others = _run("r2", _attempt("r2"), uid=2)
    rules = AddressRules(hosts=())
    found = routes(config, (mine, others), (token,), NOW, None, (given,), rules=rules)
    assert found.served == {}
    assert found.problems["r2", "serve"] == "service serve has the name"
    assert found.wanted.tokens == ()


def test_a_service_is_its_owners_whoever_made_the_last_release() -> None:
    given = Deployed("web", (_run("r1", uid=0),), {}, uid=7)
    assert routes(HERE, given.runs, (), NOW, None, (given,)).holders == {"web": 7}


def test_tokens_are_asked_for_where_other_machines_reach_it() -> None:
    valid, over = (
        GatewayToken(f"t{n}", "ana", str(n) * 64, ("*",), until)
        for n, until in ((1, 2000), (2, 999))
    )
    open_config = replace(HERE, bind=("0.0.0.0",), tls_cert="/etc/lab.pem")
    assert routes(open_config, (), (valid, over), NOW).wanted.tokens == (valid,)
    assert routes(HERE, (), (valid, over), NOW).wanted.tokens == ()
    assert entry_of(replace(HERE, tokens=True)).tokens
    assert entry_of(replace(HERE, bind=("0.0.0.0",), insecure=True)).tokens
    for bad in (
        replace(HERE, bind=("0.0.0.0",)),
        replace(open_config, tokens=False),
        replace(HERE, bind=("gpu1",)),
        replace(HERE, bind=()),
    ):
        with pytest.raises(InputError):
            entry_of(bad)
    assert not entry_of(replace(open_config, tokens=False, insecure=True)).tokens


def test_where_it_answers() -> None:
    hosts = (HostConfig("gpu1", address="gpu1.lab"), HostConfig("here", transport="local"))

    def url(**changes: Any) -> str:
        return url_of(Config(hosts, gateway=replace(HERE, **changes)))

    assert url() == "http://127.0.0.1:8080"
    assert url(bind=("::",), tls_cert="/c.pem") == "https://gpu1.lab:8080"
    assert url(host="here", bind=("0.0.0.0",), insecure=True) == "http://127.0.0.1:8080"
