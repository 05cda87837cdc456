"""What a gateway is to serve: only values that mean one thing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hostler.base.errors import InputError
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

HOSTILE = ("", "a b", "a\nb", "a;b", "a'b", 'a"b', "a#b", "a%[src]", "${HOME}", "a\\b", "é", "a\0")
PATH, HOST, PORT = AddressKind.PATH, AddressKind.HOST, AddressKind.PORT


def _service(name: str = "digits", **changes: object) -> GatewayService:
    values: dict[str, object] = {"name": name, "address": ServiceAddress(PATH, f"/{name}")}
    return GatewayService(**{**values, **changes})  # type: ignore[arg-type]


def _token(**changes: object) -> GatewayToken:
    values: dict[str, object] = {
        "token_id": "t1", "owner": "ana", "digest": "a" * 64, "services": ("digits",), "until": 10,
    }  # fmt: skip
    return GatewayToken(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_hostile_text_becomes_a_value(text: str) -> None:
    made: tuple[Callable[[], object], ...] = (
        lambda: _service(text, address=ServiceAddress(PATH, "/x")),
        lambda: ServiceAddress(PATH, f"/{text}"),
        lambda: ServiceAddress(HOST, text),
        lambda: ServiceAddress(PORT, text),
        lambda: Replica(text, "127.0.0.1:80"),
        lambda: Replica("a", f"{text}:80"),
        lambda: Replica("a", f"/run/{text}"),
        lambda: GatewayCheck(method=text),
        lambda: GatewayCheck(headers={text: "x"} if text not in ("a'b", "a#b") else {"": ""}),
        lambda: GatewayEntry(bind=(text,)),
        lambda: GatewayEntry(tls_cert=f"/etc/{text}"),
        lambda: GatewayFolder(f"/var/{text}"),
        lambda: _token(token_id=text),
        lambda: _token(owner=text),
        lambda: _token(digest=text),
        lambda: _token(services=(text,)),
    )
    for number, make in enumerate(made):
        with pytest.raises(InputError):
            print(number, make())


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (PATH, "/"), (PATH, "/a/../b"), (PATH, "/a/"), (PATH, "a"), (PATH, "//a"),
        (HOST, "Digits.example.org"), (HOST, "10.0.0.1"), (HOST, "a..b"), (HOST, "-a.b"),
        (PORT, "80"), (PORT, "65536"), (PORT, "08080"), (PORT, "٨٠٨٠"),
    ],
)  # fmt: skip
def test_addresses_are_strict(kind: AddressKind, value: str) -> None:
    with pytest.raises(InputError, match="use a path like"):
        ServiceAddress(kind, value)


@pytest.mark.parametrize(
    "address",
    ["localhost:80", "1.2.3.4", "1.2.3.4:0", "1.2.3.4:99999", "::1:80", "[1.2.3.4]:80", "/a/../b",
     "127.1:80", "/" + "a" * 100],
)  # fmt: skip
def test_a_replica_has_one_address(address: str) -> None:
    with pytest.raises(InputError, match="not the address of a replica"):
        Replica("a", address)


def test_what_is_named_twice_is_refused() -> None:
    one = _service()
    same = ServiceAddress(PATH, "/digits")
    with pytest.raises(InputError, match="digits and other overlap at the address /digits"):
        WantedGateway(services=(one, _service("other", address=same)))
    with pytest.raises(InputError, match="service digits is named twice"):
        WantedGateway(services=(one, _service(address=ServiceAddress(PATH, "/x"))))
    replicas = (Replica("a", "127.0.0.1:80"), Replica("a", "127.0.0.1:81"))
    with pytest.raises(InputError, match="replica of digits a is named twice"):
        _service(replicas=replicas)
    with pytest.raises(InputError, match="digest"):
        WantedGateway(tokens=(_token(), _token(token_id="t2")))
    with pytest.raises(InputError, match="8080 is the gateway's own"):
        WantedGateway(services=(_service(address=ServiceAddress(PORT, "8080")),))


def test_a_check_that_haproxy_would_refuse_with_everything_else_is_refused_alone() -> None:
    GatewayCheck(headers={f"x-{number}": "" for number in range(16)})
    with pytest.raises(InputError, match="at most 16"):
        GatewayCheck(headers={f"x-{number}": "" for number in range(17)})
    with pytest.raises(InputError, match="header host is named twice"):
        GatewayCheck(headers={"Host": "a", "HOST": "b"})


def test_other_machines_need_tls_and_tokens_unless_it_is_said() -> None:
    GatewayEntry(bind=("127.0.0.1", "::1"))
    GatewayEntry(bind=("0.0.0.0",), tls_cert="/etc/lab.pem", tokens=True)
    GatewayEntry(bind=("0.0.0.0",), insecure=True)
    with pytest.raises(InputError, match=r"at ::, 127.0.0.1 for other machines without TLS"):
        GatewayEntry(bind=("::", "127.0.0.1"), tokens=True)
    with pytest.raises(InputError, match="without tokens"):
        GatewayEntry(bind=("10.0.0.1",), tls_cert="/etc/lab.pem")


def test_its_sockets_have_room() -> None:
    assert GatewayFolder("/var/tmp/hostler-1000/gateway/" + "d" * 32).control.endswith(".sock")
    with pytest.raises(InputError, match="HOSTLER_FOLDER"):
        GatewayFolder("/var/" + "d" * 90)
