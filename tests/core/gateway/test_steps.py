"""From what HAProxy says to the next commands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hostler.gateway import states
from hostler.gateway.states import GatewayState, Server
from hostler.gateway.steps import proven, steps
from hostler.gateway.text import structure
from hostler.model.addresses import AddressKind, ServiceAddress
from hostler.model.gateway import (
    GatewayEntry,
    GatewayFolder,
    GatewayService,
    GatewayToken,
    Replica,
    ServerState,
    WantedGateway,
)

FOLDER = GatewayFolder("/var/g")
KEY = ("digits", "a1")
ADDRESS = ServiceAddress(AddressKind.PATH, "/digits")
UP = Server("127.0.0.1:8000", "UP", "L7OK", 200, weight=100)


def _wanted(*replicas: Replica, maxconn: int = 0) -> WantedGateway:
    return WantedGateway(services=(GatewayService("digits", ADDRESS, replicas, maxconn=maxconn),))


READY = Replica("a1", "127.0.0.1:8000")
WANTED = _wanted(READY)


def _state(server: Server | None, *, drained: bool = False, **changes: object) -> GatewayState:
    servers = {} if server is None else {KEY: server}
    state = GatewayState(structure(WANTED, FOLDER), servers=servers)
    return replace(state, drained=frozenset({KEY} if drained else ()), **changes)  # type: ignore[arg-type]


def _commands(state: GatewayState, wanted: WantedGateway) -> list[str]:
    return [each.text for each in steps(state, wanted, FOLDER).commands]


def test_other_structure_is_loaded_before_anything_else() -> None:
    found = steps(GatewayState("other"), WANTED, FOLDER)
    assert (found.reload, found.commands) == (True, ())


def test_a_new_server_gets_nothing_before_a_good_check() -> None:
    assert _commands(_state(None), WANTED) == [
        "add server s.digits/a1 127.0.0.1:8000 check inter 500ms fall 2 rise 1 weight 100",
        "enable health s.digits/a1",
        "set server s.digits/a1 state drain",
    ]
    for check in ("INI", "", "L4CON", "L7STS", "L7TOUT", "OK", "* L4TOUT"):
        server = replace(UP, status="DRAIN", check=check)
        found = steps(_state(server, drained=True), WANTED, FOLDER)
        assert (found.commands, len(found.waits)) == ((), 1), check
    for check in ("L7OK", "L4OK", "L7OKC", "L6OK"):
        server = replace(UP, status="DRAIN", check=check)
        assert _commands(_state(server, drained=True), WANTED) == [
            "set server s.digits/a1 state ready"
        ]
    assert steps(_state(UP), WANTED, FOLDER).is_done


def test_who_was_killed_while_adding_goes_on() -> None:
    """HAProxy adds in maintenance: at most the first of the next two commands was sent."""
    assert _commands(_state(replace(UP, status="MAINT", check="INI")), WANTED) == [
        "enable health s.digits/a1",
        "set server s.digits/a1 state drain",
    ]


def test_a_server_that_is_down_is_left_to_its_checks() -> None:
    down = replace(UP, status="DOWN", check="L4CON")
    assert steps(_state(down), WANTED, FOLDER).is_done


def test_limits_and_weights_follow() -> None:
    other = _wanted(replace(READY, weight=10), maxconn=4)
    assert _commands(_state(UP), other) == [
        "set server s.digits/a1 weight 10", "set maxconn server s.digits/a1 4",
    ]  # fmt: skip


def test_what_is_not_wanted_is_drained_and_removed_when_idle() -> None:
    for gone in (_wanted(), _wanted(replace(READY, address="127.0.0.1:9"))):
        busy = replace(UP, sessions=2, queued=1)
        found = steps(_state(busy), gone, FOLDER)
        assert [each.text for each in found.commands] == ["set server s.digits/a1 state drain"]
        assert found.waits == ("a1 of digits has 3 requests left",)
        assert _commands(_state(busy, drained=True), gone) == []
        assert _commands(_state(UP, drained=True), gone) == [
            "set server s.digits/a1 state maint", "del server s.digits/a1",
        ]  # fmt: skip


def test_drain_keeps_and_cut_closes() -> None:
    drain, cut = (
        _wanted(replace(READY, state=state)) for state in (ServerState.DRAIN, ServerState.CUT)
    )
    assert _commands(_state(UP), drain) == ["set server s.digits/a1 state drain"]
    assert steps(_state(UP, drained=True), drain, FOLDER).is_done
    assert _commands(_state(replace(UP, sessions=1)), cut)[:2] == [
        "set server s.digits/a1 state maint", "shutdown sessions server s.digits/a1",
    ]  # fmt: skip
    assert "del server s.digits/a1" in _commands(_state(UP), cut)
    assert steps(_state(None), cut, FOLDER).is_done


def test_services_are_each_for_themselves() -> None:
    """A server of a service that is gone goes with the reload, not by name."""
    state = _state(UP)
    other = replace(state, servers={("other", "a1"): UP, KEY: UP})
    assert steps(other, WANTED, FOLDER).is_done


def test_the_next_worker_begins_with_servers_that_get_requests() -> None:
    assert proven(_state(UP), WANTED) == {KEY}
    for server in (
        replace(UP, status="DRAIN"), replace(UP, status="DOWN"), replace(UP, check="L4CON"),
        replace(UP, address="127.0.0.1:9"),
    ):  # fmt: skip
        assert proven(_state(server), WANTED) == frozenset()
    assert proven(_state(UP), _wanted()) == frozenset()


TOKEN = GatewayToken("t1", "ana", "a" * 64, ("digits",), 20)


def test_grants_come_before_tokens_and_go_after_them() -> None:
    service = GatewayService("digits", ADDRESS)
    entry = GatewayEntry(tokens=True)
    wanted = WantedGateway(entry, (service,), (TOKEN,))
    empty = GatewayState(structure(wanted, FOLDER), old_workers=(7,))
    assert _commands(empty, wanted) == [
        "add map /var/g/grants.map t1/digits 1",
        f"add map /var/g/tokens.map {'a' * 64} t1:ana:20",
    ]
    full = replace(empty, tokens={"a" * 64: "t1:ana:20"}, grants=frozenset({"t1/digits"}))
    assert steps(full, wanted, FOLDER).is_done
    gone = steps(full, WantedGateway(entry, (service,)), FOLDER)
    assert [(each.text, each.everywhere) for each in gone.commands] == [
        (f"del map /var/g/tokens.map {'a' * 64}", True),
        ("del map /var/g/grants.map t1/digits", True),
    ]
    shorter = WantedGateway(entry, (service,), (replace(TOKEN, until=10),))
    assert _commands(full, shorter) == [f"set map /var/g/tokens.map {'a' * 64} t1:ana:10"]


STAT = (
    "# pxname,svname,qcur,qmax,scur,slim,stot,econ,status,check_status,check_code,hrsp_5xx,addr,"
    "uweight,\n"
    "main,FRONTEND,,,1,,5,,OPEN,,,,,,\n"
    "s.digits,a1,1,0,2,8,7,1,UP,* L7OK,200,2,127.0.0.1:8000,100,\n"
    "s.digits,BACKEND,3,0,0,,9,0,UP,,,,,,\n"
    "streams,BACKEND,0,0,0,,0,0,UP,,,,,,\n"
)


def test_what_haproxy_says_is_read() -> None:
    servers, queues = states.read_servers(STAT)
    assert servers == {KEY: Server("127.0.0.1:8000", "UP", "L7OK", 200, 2, 1, 100, 8, 7, 3)}
    assert queues == {"digits": 3}
    said = "# be_id ...\n4 s.digits 1 a1 127.0.0.1 2 8 1\n4 s.digits 1 b1 127.0.0.1 2 0 1\n"
    assert states.read_drained("1\n" + said) == {KEY}
    assert states.read_map("0x7f t1/digits 1\nnonsense\n") == {"t1/digits": "1"}
    assert states.read_info("Name: HAProxy\ndescription: abc\n")["description"] == "abc"
    workers = (
        "#<PID> <type>\n1 master 1\n# workers\n3 worker 0\n# old workers\n2 worker 1\n# programs\n"
    )
    assert states.read_workers(workers) == (2,)


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0b", "\x0c", "\x1e", "\r"])
def test_no_answer_of_a_replica_becomes_a_row_of_another_service(end: str) -> None:
    reason = f"NO{end}s.digits"  # of its HTTP status, which `last_chk` repeats
    field = f'"{reason}"' if end == "\r" else reason
    text = f"# pxname,svname,last_chk,addr,\ns.evil,e1,{field},127.0.0.1:9,\n"
    assert states.read_servers(text)[0] == {("evil", "e1"): Server("127.0.0.1:9", "")}


def test_streams_are_found_by_the_client_that_has_them() -> None:
    table = (
        "# table: streams, type: string, size:1, used:2\n"
        "0x1: key=127.0.0.1:5/t1 use=1 exp=3 shard=0 conn_cur=1\n"
        "0x2: key=127.0.0.1:55/t1 use=0 exp=3 shard=0 conn_cur=0\n"
        "0x3: key=::1:6/t2 use=1 exp=3 shard=0 conn_cur=2\n"
    )
    assert states.read_streams(table) == [("127.0.0.1:5", "t1"), ("::1:6", "t2")]
    sessions = (
        "0x7f: proto=tcpv4 src=127.0.0.1:5 fe=main be=s.digits\n"
        "0x8f: proto=tcpv4 src=127.0.0.1:55 fe=main be=s.digits\n"
    )
    assert states.sessions_of(sessions, ["127.0.0.1:5"]) == ["0x7f"]


def test_nonsense_is_nothing() -> None:
    for text in (
        "",
        "\n\n",
        "a,b\n",
        "# pxname,svname\ns.x,y\n",
        "x" * 1000,
        "0x: key=a conn_cur=1",
    ):
        states.read_servers(text)
        states.read_drained(text)
        assert states.read_workers(text) == ()
        assert states.read_streams(text) == []
        assert states.sessions_of(text, ["127.0.0.1:5"]) == []
