"""What the daemon makes of a gateway's look at services with releases."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hostler.daemon.context import Context
from hostler.daemon.gateway_looks import foreign, note, note_servers
from hostler.gateway.states import GatewayState, Server
from hostler.model.hosts import Health
from hostler.model.releases import Deployment, ServerMode, ServiceState
from hostler_agent import probed

UP = Server("127.0.0.1:1", "UP", "L7OK", sessions=2, queued=1)


def _context() -> Context:
    state = ServiceState(Deployment("web", 1000, "ana", 1), (), is_direct=False, is_routing=True)
    return cast(Context, SimpleNamespace(services={"web": state}))


def _seen(context: Context, at: float, /, *drained: str, **servers: Server) -> Any:
    keys = {("web", name): server for name, server in servers.items()}
    told = frozenset(("web", name) for name in drained)
    look = GatewayState("", servers={**keys, ("other", "x"): UP}, drained=told)
    note(context, look, at)
    state = context.services["web"]
    assert state.gateway is not None
    assert (state.is_routing, state.gateway.asked_at) == (False, at)
    return state.gateway.servers


def test_a_drained_replica_is_up_by_its_check() -> None:
    servers = _seen(
        _context(), 5.0, "b", "d",
        a=UP, b=Server("", "DRAIN", "L7OK"), c=Server("", "DOWN", "L4CON"),
        d=Server("", "DOWN (DRAIN)", "L4CON"), e=Server("", "MAINT"), f=Server("", "DRAIN", "INI"),
    )  # fmt: skip
    assert {name: (server.mode, server.is_up) for name, server in servers.items()} == {
        "a": (ServerMode.READY, True), "b": (ServerMode.DRAIN, True),
        "c": (ServerMode.READY, False), "d": (ServerMode.DRAIN, False),
        "e": (ServerMode.MAINT, False), "f": (ServerMode.DRAIN, False),
    }  # fmt: skip
    assert servers["a"].sessions == 3


def test_a_drain_counts_from_the_first_of_unbroken_looks() -> None:
    context, drained = _context(), Server("", "DRAIN", "L7OK")
    _seen(context, 5.0, a=UP, b=drained)
    _seen(context, 6.0, a=drained, b=drained)
    assert context.services["web"].draining == {"a": 6.0, "b": 5.0}
    _seen(context, 7.0, a=UP, b=drained)
    assert context.services["web"].draining == {"b": 5.0}
    note(context, None, 8.0)
    assert (context.services["web"].gateway, context.services["web"].draining) == (None, {})


def test_a_port_of_another_user_is_known_by_the_last_look() -> None:
    said = probed.foreign(8000, 1001)
    health = {
        "a": Health("a", False, 5.0, said), "b": Health("b", False, 5.0, "HTTP status 500"),
        "c": Health("c", True, 5.0, said), "d": Health("d", False, 5.0, said),
    }  # fmt: skip
    monitors = {
        "gpu1": SimpleNamespace(host=SimpleNamespace(look=SimpleNamespace(health=health))),
        "gpu2": SimpleNamespace(host=SimpleNamespace(look=None)),
    }
    hosts = {"a": "gpu1", "b": "gpu1", "c": "gpu1", "d": "gpu2"}  # gpu1 cannot speak for gpu2
    run = SimpleNamespace(
        attempts=[SimpleNamespace(attempt_id=name, host=host) for name, host in hosts.items()]
    )
    cache = SimpleNamespace(runs=lambda: [run])
    assert foreign(cast(Context, SimpleNamespace(monitors=monitors, run_cache=cache))) == {"a"}


def test_since_when_a_replica_is_up_or_down_counts_over_all_services() -> None:
    context, down = _context(), Server("", "DOWN", "L4CON")
    context.at_gateway = {}

    def noted(at: float, **servers: Server) -> dict[str, tuple[bool, float]]:
        keys = {("plain", name): server for name, server in servers.items()}
        note_servers(context, GatewayState("", servers=keys), at)
        return {name: (s.is_up, s.since) for name, s in context.at_gateway.items()}

    assert noted(5.0, a=UP, b=down) == {"a": (True, 5.0), "b": (False, 5.0)}
    assert noted(6.0, a=down, b=down) == {"a": (False, 6.0), "b": (False, 5.0)}
    note_servers(context, None, 7.0)
    assert context.at_gateway == {}
    assert noted(8.0, b=down) == {"b": (False, 8.0)}
