"""The configuration of HAProxy, as text."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import InputError
from hostler.gateway.text import config_text, grants_text, structure, tokens_text
from hostler.gateway.words import fixed, word
from hostler.model.addresses import AddressKind, ServiceAddress
from hostler.model.gateway import (
    GatewayCheck,
    GatewayEntry,
    GatewayFolder,
    GatewayService,
    GatewayToken,
    Replica,
    WantedGateway,
)

FOLDER = GatewayFolder("/var/tmp/hostler-1/gateway/d")
REPLICAS = (Replica("a1", "127.0.0.1:8000"), Replica("b1", "[::1]:8000", weight=10))
DIGITS = GatewayService(
    "digits", ServiceAddress(AddressKind.PATH, "/digits"), REPLICAS, GatewayCheck("/health"), 8
)
WANTED = WantedGateway(services=(DIGITS,))
TOKEN = GatewayToken("t1", "ana", "a" * 64, ("digits", "*"), 4102444800)
_WORD = re.compile(r"(?:[A-Za-z0-9/_.:=,@+*^|~-]|\\x[0-9a-f]{2})+|''")


def _read(text: str) -> str:
    """A word as HAProxy reads it."""
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes.fromhex(m[1].decode()), text.encode())
    return raw.decode()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_is_one_word(text: str) -> None:
    made = word(text)
    assert _WORD.fullmatch(made)
    assert (made == "''") == (text == "")
    assert text == "" or _read(made) == text
    assert text == "" or _read(fixed(text)) == text.replace("%", "%%")


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_check_adds_no_line(body: str, value: str) -> None:
    try:
        check = GatewayCheck("/h", body=body, headers={"X": value})
        body.encode()
    except (InputError, UnicodeEncodeError):  # refused: fine as well
        return
    wanted = WantedGateway(services=(replace(DIGITS, check=check),))
    assert len(config_text(wanted, FOLDER).splitlines()) == len(_plain(check).splitlines())


def test_the_largest_check_fits_what_haproxy_reads_of_a_line() -> None:
    headers = {f"x-{number}": "" for number in range(16)}
    check = GatewayCheck("/h", "POST", "b", headers)
    text = config_text(WantedGateway(services=(replace(DIGITS, check=check),)), FOLDER)
    (line,) = (each for each in text.splitlines() if "http-check send" in each)
    assert len(line.split()) <= 64
    assert "''" not in line  # nor does it take a header without a value


def _plain(check: GatewayCheck) -> str:
    same = GatewayCheck("/h", body="x" if check.body else "", headers={"X": "x"})
    return config_text(WantedGateway(services=(replace(DIGITS, check=same),)), FOLDER)


def _servers(text: str) -> list[str]:
    backends = text.partition("\ndefaults\n")[2]
    return [line for line in backends.splitlines() if line.startswith("    server ")]


def test_only_proven_servers_are_written_down() -> None:
    none = config_text(WANTED, FOLDER)
    one = config_text(WANTED, FOLDER, {("digits", "b1"), ("other", "a1")})
    assert _servers(none) == []
    assert _servers(one) == [
        "    server b1 [::1]:8000 check inter 500ms fall 2 rise 1 weight 10 maxconn 8"
    ]


def test_servers_and_tokens_are_no_structure() -> None:
    before = structure(WANTED, FOLDER)
    assert f"description {before}\n" in config_text(WANTED, FOLDER)
    fewer = WantedGateway(services=(replace(DIGITS, replicas=()),), tokens=(TOKEN,))
    assert structure(fewer, FOLDER) == before
    changes = (
        WantedGateway(),
        WantedGateway(services=(replace(DIGITS, check=GatewayCheck("/other")),)),
        WantedGateway(services=(replace(DIGITS, sticky=True),)),
        WantedGateway(GatewayEntry(port=8081), (DIGITS,)),
        WantedGateway(GatewayEntry(tokens=True), (DIGITS,)),
    )
    assert len({structure(each, FOLDER) for each in changes} | {before}) == 6


def test_each_kind_of_address_has_its_requests_and_the_rest_is_not_found() -> None:
    def at(name: str, kind: AddressKind, value: str) -> GatewayService:
        return GatewayService(name, ServiceAddress(kind, value))

    services = (
        at("path", AddressKind.PATH, "/a/b.c"), at("taken", AddressKind.PORT, "9001"),
        at("named", AddressKind.HOST, "a.example.org"), at("own", AddressKind.PORT, "9000"),
    )  # fmt: skip
    services = (*services[:1], replace(services[1], is_shut=True), *services[2:])
    text = config_text(WantedGateway(services=services), FOLDER)
    used = re.findall(r"use_backend s\.(\w+)", text)
    assert used == ["named", "path"]
    assert (
        "    default_backend nowhere\nbackend nowhere\n    http-request return status 404" in text
    )
    assert "frontend p.9000.own\n    bind 127.0.0.1:9000\n    default_backend s.own\n" in text
    assert "frontend p.9001" not in text
    assert "backend s.taken\n" in text
    assert "regsub(^/a/b[.]c/*,/)" in text


def test_what_names_the_caller_is_removed_before_the_gateway_names_one() -> None:
    text = config_text(WantedGateway(GatewayEntry(tokens=True), (DIGITS,)), FOLDER)
    removed = text.index("del-header ^x[^a-z0-9]hostler[^a-z0-9]")
    assert removed < text.index("set-header x-hostler-user")
    assert text.index("http-request return status 401") < text.index("del-header authorization")
    plain = config_text(WANTED, FOLDER)
    assert "del-header ^x[^a-z0-9]hostler[^a-z0-9]" in plain
    assert "authorization" not in plain
    assert "set-header x-hostler-user" not in plain


def test_only_what_changes_nothing_is_sent_to_another_replica_unasked() -> None:
    text = config_text(WANTED, FOLDER)
    assert "retry-on conn-failure empty-response\n" in text
    mark = "set-var(txn.again) bool(true) if { method GET HEAD OPTIONS }\n"
    only = "disable-l7-retry unless { var(txn.again) -m found }\n"
    assert 0 < text.index(mark) < text.index(only)


def test_maps() -> None:
    wanted = WantedGateway(tokens=(TOKEN,))
    assert tokens_text(wanted) == f"{'a' * 64} t1:ana:4102444800\n"
    assert grants_text(wanted) == "t1/digits 1\nt1/* 1\n"
