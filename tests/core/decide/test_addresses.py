"""Who may have which address at the gateway, and that no request is for two services."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import ConflictError, InputError
from hostler.decide.addresses import AddressRules, Taken, rules_of
from hostler.decide.holding import places_of
from hostler.decide.routes import Deployed, Routes, check_address, routes, url_of
from hostler.model.addresses import AddressKind, ServiceAddress, address_of, path_of
from hostler.model.config import Config, DaemonConfig, HostConfig
from hostler.model.gateway_config import GatewayConfig
from hostler.model.releases import ServerMode
from hostler.model.runs import Run
from hostler.model.services import HealthCheck, Service
from tests.support.values import planning as lab

HERE = GatewayConfig(host="gpu1")
ANY = AddressRules(own_port=8080)
PARTS = st.sampled_from(("a", "b", "a.b", "a-"))
ADDRESSES = st.one_of(
    st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts)),
    st.lists(st.sampled_from(("a", "b")), min_size=2, max_size=3).map(".".join),
    st.integers(9000, 9003).map(":{}".format),
).map(address_of)


def _run(run_id: str, base: str = "serve", address: str = "", **fields: object) -> Run:
    service = Service(HealthCheck(path="/health"), address=address)
    stage = lab.stage(f"{base}.0", base=base, service=service)
    ready = lab.attempt(run_id, f"{base}.0", gpus=(), ready_at=5.0, port=8001)
    return lab.run(run_id, stage, attempts=(ready,), **fields)


def _routes(*runs: Run, deployed: tuple[Deployed, ...] = (), rules: AddressRules = ANY) -> Routes:
    return routes(HERE, runs, (), 1000.0, deployed=deployed, rules=rules)


def _gets(address: ServiceAddress, kind: AddressKind, asked: str) -> bool:
    """Whether a service gets a request: by its path, the name that it asks for, or the port."""
    if kind is not address.kind:
        return False
    is_below = kind is AddressKind.PATH and asked.startswith(f"{address.value}/")
    return asked == address.value or is_below


@given(st.lists(ADDRESSES, min_size=1, max_size=8), ADDRESSES)
def test_no_request_is_for_two_services(given: list[ServiceAddress], asked: ServiceAddress) -> None:
    runs = [_run(f"r{n}", f"s{n}", str(address)) for n, address in enumerate(given)]
    found = _routes(*runs)
    served = [service.address for service in found.wanted.services]
    requests = (asked.value, f"{asked.value}/more") if asked.kind == "path" else (asked.value,)
    for request in requests:
        assert sum(_gets(each, asked.kind, request) for each in served) <= 1
    # Nobody is refused for nothing, and everybody is told or served.
    assert len(found.served) + len(found.problems) == len(given)
    for (run_id, _), why in found.problems.items():
        assert any(given[int(run_id[1:])].overlaps(each) for each in served), why


@given(st.lists(ADDRESSES, max_size=8), ADDRESSES)
def test_what_is_taken_is_what_overlaps(given: list[ServiceAddress], asked: ServiceAddress) -> None:
    taken, kept = Taken(), []
    for address in given:
        if taken.whose(address) is None:
            taken.take(address, str(address))
            kept.append(address)
    assert (taken.whose(asked) is not None) == any(asked.overlaps(each) for each in kept)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("/digits/", "path", "/digits"), ("/a/b.c", "path", "/a/b.c"),
        ("Digits.LAB.example", "host", "digits.lab.example"), ("xn--bcher-kva.de", "host", None),
        (":8101", "port", "8101"), (":65535", "port", "65535"),
    ],
)  # fmt: skip
def test_one_text_for_each_address(text: str, kind: str, value: str | None) -> None:
    found = address_of(text)
    assert (found.kind, found.value) == (kind, value or text)
    assert address_of(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "/", "//", "/a//b", "/a/../b", "/%2e", "/a b", "/a?b", "/a\n", "digits", "localhost",
     "*.lab.example", "a..b", ".lab", "lab.", "a.b:80", "a_b.example", "-a.b", "10.0.0.1", "10.1",
     "a.0x7f", "1.2.3", "[::1]", "::1", ":", ":80", ":0", ":1023", ":65536", ":08101", ":+8101",
     ":8101-8102", ":٨١٠١", "http://a.b", "a.b/", "é.example", "a.b\0", "a" * 64 + ".b",
     "a." * 130 + "b", "/" + "a" * 200],
)  # fmt: skip
def test_nothing_else_is_an_address(text: str) -> None:
    with pytest.raises(InputError, match="is no address for a service") as told:
        address_of(text)
    assert "8101" in told.value.remedy


def test_a_shared_daemon_gives_what_its_owner_lists() -> None:
    host, port, path = map(address_of, ("a.lab.example", ":8101", "/a"))
    config = Config((HostConfig("gpu1", address="GPU1.lab.example."),), gateway=HERE)
    for address in (host, port, path):
        assert rules_of(config).refusal(address) is None
    shared = replace(config, daemon=DaemonConfig(group="lab"))
    assert rules_of(shared).refusal(path) is None
    for address, said, key in (
        (host, "no host names", 'hosts = "a.lab.example"'), (port, "no ports", 'ports = "8101"'),
    ):  # fmt: skip
        refused = rules_of(shared).refusal(address)
        assert refused is not None
        assert said in refused[0]
        assert key in refused[1]
        assert "the service gets a path" in refused[1]
    for one in (config, shared):
        listed = replace(
            one, gateway=replace(HERE, hosts=("*.lab.example",), ports=("8100-8102", "9000"))
        )
        rules = rules_of(listed)
        for good in ("a.lab.example", ":8100", ":8102", ":9000"):
            assert rules.refusal(address_of(good)) is None, good
        for bad in ("lab.example", "a.b.lab.example", "alab.example", "a.lab.example.org", ":8099"):
            refused = rules.refusal(address_of(bad))
            assert refused is not None
            assert "only, not" in refused[0]
        # The gateway's own, whatever is listed: it would get the requests of all paths.
        rules = rules_of(listed, "Desk.lab.example")
        for bad, said in (
            ("gpu1.lab.example", "name of a host"), ("desk.lab.example", "name of a host"),
            ("gpu1.other.example", "name of a host"), (":8080", "gateway's own"),
        ):  # fmt: skip
            refused = rules.refusal(address_of(bad))
            assert refused is not None
            assert said in refused[0]


@pytest.mark.parametrize(
    "target",
    [
        "ana@gw.lab.example",
        "ssh://ana@gw.lab.example:22",
        "GW.lab.example.",
        "gw",
        "ana@gw",
        "gw:22",
    ],
)
def test_no_service_gets_a_name_by_which_people_reach_the_gateway(target: str) -> None:
    """However it is written for SSH, also where a wildcard would give it away."""
    config = Config(
        (HostConfig("box", address=target),), gateway=replace(HERE, hosts=("*.lab.example",))
    )
    refused = rules_of(config).refusal(address_of("gw.lab.example"))
    assert refused is not None
    assert "name of a host" in refused[0]
    for good in ("a.lab.example", "gw2.lab.example", "ana.lab.example"):
        assert rules_of(config).refusal(address_of(good)) is None


def test_what_the_rules_refuse_is_not_served_and_stops_no_other() -> None:
    rules = AddressRules(hosts=(), ports=("8100",), own_port=8080)
    found = _routes(
        _run("r1", "a", "a.example"), _run("r2", "b", ":8100"), _run("r3", "c", ":8080"),
        _run("r4", "d", "nothing valid"), _run("r5", "e"), rules=rules,
    )  # fmt: skip
    assert [each.name for each in found.wanted.services] == ["b", "e"]
    assert {key[0] for key in found.problems} == {"r1", "r3", "r4"}
    assert "no host names" in found.problems["r1", "a"]


def test_a_path_of_ones_own_choice_takes_no_part_of_anothers() -> None:
    for mine in ("/digits/v1", "/digits"):
        found = _routes(_run("r1", "digits"), _run("r2", "evil", mine, uid=2))
        assert found.problems == {("r2", "evil"): f"run r1 has the address {mine}"}
    found = _routes(_run("r1", "evil", "/digits/v1", uid=2), _run("r2", "digits"))
    assert found.problems == {("r2", "digits"): "run r1 has the address /digits"}


def test_nobody_gets_an_address_by_waiting_under_a_name_of_their_own() -> None:
    mine, evil = _run("r1", "mine", ":8101", uid=1), _run("r2", "evil", "/evil", uid=2)
    before = _routes(mine, evil)
    assert before.places == {address_of(":8101"): 1, address_of("/evil"): 2}
    # The other person's next run, under the name that is theirs, waits for the address of mine.
    for mine_at, asked in ((":8101", ":8101"), ("/mine", "/mine/x")):
        held_at = {address_of(mine_at): 1, address_of("/evil"): 2}
        waits, new = _run("r3", "evil", asked, uid=2), _run("r4", "mine", mine_at, uid=1)
        held = before.holders
        found = routes(HERE, (waits, new), (), 1000.0, held, rules=ANY, held_at=held_at)
        assert list(found.served) == [("r4", "mine")]
        assert found.problems == {("r3", "evil"): f"run r4 has the address {asked}"}
    # The daemon was started again meanwhile: the gateway knows whose replicas it serves.
    servers = {("mine", "r1-mine.0-1"): None, ("gone", "r9-x.0-1"): None}
    assert places_of(servers, (mine, evil)) == {address_of(":8101"): 1}


def test_who_waits_for_the_address_of_a_service_does_not_stop_its_next_release() -> None:
    live, waits = _run("r1", address=":8101"), _run("r2", "a", ":8101", uid=2)
    namesake, other = _run("r3", "web", uid=2), _run("r4", "b", ":8102")
    check_address(_run("r9", address=":8101"), "web", [waits, namesake], {"web": [live]})
    with pytest.raises(ConflictError, match="run r4 has the address :8102"):
        check_address(_run("r9", address=":8102"), "web", [other], {"web": [live]})


def _deployed(name: str, *runs: Run) -> Deployed:
    modes = {each.attempt_id: ServerMode.READY for run in runs for each in run.attempts}
    return Deployed(name, runs, modes)


def test_the_live_release_says_where_and_the_next_one_has_its_address_kept() -> None:
    live, opened = _run("r2", address="/old"), _run("r3", address=":8101")
    waits = (_run("r0", "a", ":8101", uid=2), _run("r1", "b", "/old/x", uid=2), _run("r4", "c"))
    given = _deployed("web", live, opened)
    found = _routes(*waits, live, opened, deployed=(given,))
    assert {key: str(at.address) for key, at in found.served.items()} == {
        ("r2", "serve"): "/old", ("r3", "serve"): "/old", ("r4", "c"): "/c",
    }  # fmt: skip
    assert found.problems == {
        ("r0", "a"): "service web has the address :8101",
        ("r1", "b"): "service web has the address /old/x",
    }
    found = _routes(*waits, opened, deployed=(_deployed("web", opened),))
    assert str(found.served["r3", "serve"].address) == ":8101"
    assert str(found.served["r1", "b"].address) == "/old/x"
    assert {each.name for each in found.wanted.services[0].replicas} == {"r3-serve.0-1"}


def test_a_release_at_an_address_that_another_has_is_refused() -> None:
    mine = _run("r9", address=":8101")
    check_address(mine, "web", [_run("r1", "a", ":8102")], {"web": [_run("r2", address=":8101")]})
    for others, deployed, whose in (
        ([_run("r1", "a", ":8101")], {}, "run r1 has the address :8101"),
        ([], {"b": [_run("r2", address="/b"), _run("r3", address=":8101")]}, "service b has the"),
    ):
        with pytest.raises(ConflictError, match=whose) as told:
            check_address(mine, "web", others, deployed)
        assert "another `address`" in told.value.remedy
    with pytest.raises(ConflictError, match=r"run r1 is called web, too, and is served at :8102"):
        check_address(mine, "web", [_run("r1", "web", ":8102")])
    # By their names, services with releases have the paths of these names.
    with pytest.raises(ConflictError, match="service b has the address /b/c"):
        check_address(_run("r9", address="/b/c"), "web", [], {"b": [_run("r2")]})


def test_browsers_stay_where_the_file_says_so() -> None:
    run = _run("r1")
    (stage,) = run.stages
    assert not _routes(run).wanted.services[0].sticky
    assert stage.service is not None
    sticky = replace(stage, service=replace(stage.service, sticky=True))
    assert _routes(replace(run, stages=(sticky,))).wanted.services[0].sticky


def test_where_each_kind_answers() -> None:
    hosts = (HostConfig("gpu1", address="gpu1.lab"),)
    config = Config(hosts, gateway=HERE)
    is_open = replace(config, gateway=replace(HERE, bind=("0.0.0.0",), tls_cert="/c.pem"))
    for address, here, elsewhere in (
        (path_of("a"), "http://127.0.0.1:8080/a/", "https://gpu1.lab:8080/a/"),
        (address_of("a.example"), "http://a.example:8080/", "https://a.example:8080/"),
        (address_of(":8101"), "http://127.0.0.1:8101/", "https://gpu1.lab:8101/"),
    ):
        assert (url_of(config, address), url_of(is_open, address)) == (here, elsewhere)
