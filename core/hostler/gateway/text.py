"""Writes HAProxy's configuration and map files: headers removed, retries, status texts, checks,
tokens, the log's format, how long old workers live. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator

from hostler.gateway.words import fixed, word
from hostler.model.addresses import AddressKind
from hostler.model.gateway import (
    GatewayCheck,
    GatewayEntry,
    GatewayFolder,
    GatewayService,
    GatewayToken,
    Replica,
    WantedGateway,
)

OLD_WORKERS = 7 * 86400
"""Seconds after a reload at which older streams end."""
OLD_RELOADS = 50
"""A stream survives so many reloads: each reload leaves a process while it has streams."""
STREAMS = "100k"
"""Requests with a token at a time. Each has an entry in a table, by which its stream is closed if
the token is revoked. HAProxy would pass a request without an entry, so the configuration refuses
it. Entries of finished requests are removed soon: from a full table HAProxy removes none while the
oldest ones are in use."""
RING_BYTES = 4 * 1024**2
"""Lines of the log that wait for the agent: about 60,000. Then the oldest are lost; no request
ever waits for them."""
_SPLIT = ":"
_NOWHERE = "nowhere"
"""A backend for requests that match no service: one line that names all services would be too
long."""
_NOT_FOUND = "http-request return status 404 content-type text/plain string " + word(
    "no service at this address"
)
_LOG = "hostler1 %b %s %ST %Tw %Tc %Tr %tsc"

_HOST = "req.fhdr(host),host_only,rtrim(.),lower"
"""The requested host name: without port, and without a dot at the end."""

_BASE = """\
global
    description {structure}
    server-state-file {states}
    log ring@lines len 1024 format raw local0
    fd-hard-limit 65536
    noreuseport
    mworker-max-reloads {reloads}
    hard-stop-after {old}s
ring lines
    format raw
    maxlen 1100
    size {ring}
    timeout connect 3s
    timeout server 24h
    server agent unix@{log} log-proto octet-count
defaults
    mode http
    log global
    log-format {line}
    option dontlognull
    option redispatch 1
    option http-keep-alive
    retries 3
    retry-on conn-failure empty-response
    timeout connect 3s
    timeout client 10m
    timeout http-request 30s
    timeout http-keep-alive 60s
    timeout tunnel 24h
    load-server-state-from-file global
backend streams
    stick-table type string len 96 size {streams} expire 10s store conn_cur
"""

_CLEAN = """\
    http-request return status 405 content-type text/plain string %NO_TUNNEL% if METH_CONNECT
    http-request del-header ^x[^a-z0-9]hostler[^a-z0-9] -m reg
    http-request del-header ^x[^a-z0-9]forwarded[^a-z0-9] -m reg
    http-request del-header ^(forwarded|proxy)$ -m reg
    http-request set-header upgrade websocket if { req.hdr(upgrade) -m str -i websocket }
    http-request del-header upgrade unless { req.hdr(upgrade) -m str -i websocket }
    http-request del-header connection unless { req.hdr(upgrade) -m found }
    http-request set-header connection upgrade if { req.hdr(upgrade) -m found }
    option forwardfor
    http-request set-header x-forwarded-proto %[ssl_fc,iif(https,http)]
    http-request set-header x-forwarded-host %[req.hdr(host)]
    http-response del-header alt-svc
"""
"""A client cannot set the user's name. With `Alt-Svc` in its answers a service could lead browsers
to its own port with requests that are for other services of this host."""

_AGAIN = """\
    http-request set-var(txn.again) bool(true) if { method GET HEAD OPTIONS }
    http-request disable-l7-retry unless { var(txn.again) -m found }
    http-response unset-var(txn.again)
    http-after-response set-header retry-after %d if { status 502 } { var(txn.again) -m found }
    http-after-response set-status 503 if { status 502 } { var(txn.again) -m found }
"""
"""If a replica ends before it answers, another one gets the request if it may be sent twice. If all
fail, the answer is the same as without replicas."""

_ACCESS = """\
    http-request set-var(txn.token) http_auth_bearer
    http-request set-var(txn.token) http_auth_pass if { req.hdr(authorization) -m beg -i basic }
    http-request set-var(txn.entry) var(txn.token),sha2(256),hex,lower,map_str(%TOKENS%)
    http-request set-var(txn.id) var(txn.entry),field(1,:)
    http-request set-var(txn.owner) var(txn.entry),field(2,:)
    http-request set-var(txn.until) var(txn.entry),field(3,:),add(0)
    acl is_known var(txn.entry) -m found
    acl is_valid date,sub(txn.until) lt 0
    http-request return status 401 content-type text/plain string %NO_TOKEN% hdr WWW-Authenticate \
%ASK% unless is_known is_valid
    acl is_granted var(txn.id),concat(%SUFFIX%),map_str(%GRANTS%) -m found
    acl is_granted var(txn.id),concat(/*),map_str(%GRANTS%) -m found
    http-request return status 403 content-type text/plain string %NOT_YOURS% unless is_granted
    http-request set-var-fmt(txn.stream) %[src]:%[src_port]/%[var(txn.id)]
    http-request track-sc0 var(txn.stream) table streams
    http-request return status 503 content-type text/plain string %NO_ROOM% hdr Retry-After 5 \
unless { sc0_conn_cur gt 0 }
    http-request del-header authorization
"""


def structure(wanted: WantedGateway, folder: GatewayFolder) -> str:
    """Identifies all parts of a configuration that cannot change without a reload."""
    return hashlib.sha256(_text(wanted, folder, "", ()).encode()).hexdigest()[:24]


def config_text(
    wanted: WantedGateway, folder: GatewayFolder, proven: Collection[tuple[str, str]] = ()
) -> str:
    """The whole configuration. `proven`: services with the servers that the running gateway has
    found healthy; no other is written, because HAProxy sends requests to a new server before its
    first check."""
    return _text(wanted, folder, structure(wanted, folder), proven)


def tokens_text(wanted: WantedGateway) -> str:
    """The map of tokens."""
    return "".join(f"{each.digest} {token_value(each)}\n" for each in wanted.tokens)


def grants_text(wanted: WantedGateway) -> str:
    """The map of services that tokens may use."""
    return "".join(f"{key} 1\n" for each in wanted.tokens for key in grant_keys(each))


def token_value(token: GatewayToken) -> str:
    """The value of a token in the map."""
    return _SPLIT.join((token.token_id, token.owner, str(token.until)))


def grant_keys(token: GatewayToken) -> list[str]:
    """A token's keys in the map of grants."""
    return [f"{token.token_id}/{name}" for name in token.services]


def backend_name(service: str) -> str:
    """The name of a service's backend in HAProxy."""
    return f"s.{service}"


def frontend_name(service: str, port: int) -> str:
    """The frontend's name of a service with its own port in HAProxy: it shows the port."""
    return f"p.{port}.{service}"


def server_words(service: GatewayService, replica: Replica) -> str:
    """The words after a server's name: in the configuration, and in `add server`."""
    check = service.check
    words = [replica.address, "check", "inter", f"{round(check.every * 1000)}ms"]
    words += ["fall", str(check.fall), "rise", "1", "weight", str(replica.weight)]
    if service.maxconn:
        words += ["maxconn", str(service.maxconn)]
    return " ".join(words)


def _text(
    wanted: WantedGateway,
    folder: GatewayFolder,
    description: str,
    proven: Collection[tuple[str, str]],
) -> str:
    base = _BASE.format(
        structure=description or "-", states=folder.states, log=folder.log, old=OLD_WORKERS,
        reloads=OLD_RELOADS, ring=RING_BYTES, streams=STREAMS,
        line=_spaced(_LOG),
    )  # fmt: skip
    parts = [base, *_frontends(wanted)]
    for service in wanted.services:
        parts.append(_backend(service, wanted.entry, folder))
        parts += _servers(service, proven)
    return "".join(parts)


def _spaced(text: str) -> str:
    return text.replace(" ", "\\ ")


def _frontends(wanted: WantedGateway) -> Iterator[str]:
    """The frontend that services share, then one for each service with a port of its own."""
    entry = wanted.entry
    lines = ["frontend main", *_binds(entry, entry.port)]
    by_kind = {
        kind: [each for each in wanted.services if each.address.kind is kind]
        for kind in AddressKind
    }
    if by_kind[AddressKind.HOST]:
        lines.append(f"    http-request set-var(txn.host) {_HOST}")
    routed = []
    for number, service in enumerate([*by_kind[AddressKind.HOST], *by_kind[AddressKind.PATH]]):
        name = f"to_{number}"
        lines += [f"    acl {name} {test}" for test in _tests(service)]
        routed.append(f"    use_backend {backend_name(service.name)} if {name}")
    yield "\n".join([*lines, *routed, f"    default_backend {_NOWHERE}"]) + "\n"
    yield f"backend {_NOWHERE}\n    {_NOT_FOUND}\n"
    for service in by_kind[AddressKind.PORT]:
        if not service.is_shut:
            yield _own_frontend(service, entry)


def _own_frontend(service: GatewayService, entry: GatewayEntry) -> str:
    port = int(service.address.value)
    head = f"frontend {frontend_name(service.name, port)}"
    last = f"    default_backend {backend_name(service.name)}"
    return "\n".join([head, *_binds(entry, port), last]) + "\n"


def _binds(entry: GatewayEntry, port: int) -> list[str]:
    tls = ""
    if entry.tls_cert is not None:
        tls = f" ssl crt {word(entry.tls_cert)} alpn h2,http/1.1 ssl-min-ver TLSv1.2"
    hosts = (f"[{address}]" if ":" in address else address for address in entry.bind)
    return [f"    bind {host}:{port}{tls}" for host in hosts]


def _tests(service: GatewayService) -> list[str]:
    value = service.address.value
    if service.address.kind is AddressKind.HOST:
        return [f"var(txn.host) -m str {value}"]
    return [f"path -m str {value}", f"path -m beg {value}/"]


def _backend(service: GatewayService, entry: GatewayEntry, folder: GatewayFolder) -> str:
    name = service.name
    lines = [
        f"backend {backend_name(name)}",
        "    balance leastconn",
        f"    timeout server {_ms(service.answer_within)}",
        f"    timeout queue {_ms(service.queue_for)}",
        f"    timeout check {_ms(service.check.timeout)}",
        f"    http-error status 503 content-type text/plain string "
        f"{word(f'no replica of {name} answers now')} hdr Retry-After {service.retry_after}",
        f"    http-error status 502 content-type text/plain string "
        f"{word(f'a replica of {name} ended before it answered, or did not answer in HTTP')}",
    ]
    if service.sticky:
        key = hashlib.sha256(name.encode()).hexdigest()[:16]
        secure = " secure" if entry.tls_cert else ""
        lines.append(f"    dynamic-cookie-key {key}")
        lines.append(f"    cookie hostler-{name} insert indirect nocache httponly{secure} dynamic")
    rules = _token_rules(name, folder) if entry.tokens else ""
    user = "    http-request set-header x-hostler-user %[var(txn.owner)]\n" if entry.tokens else ""
    text = "\n".join([*lines, *_check(service.check)]) + "\n"
    again = _AGAIN % service.retry_after
    clean = _CLEAN.replace("%NO_TUNNEL%", word("no service is reached by CONNECT"))
    return text + rules + again + clean + user + _below(service)


def _token_rules(name: str, folder: GatewayFolder) -> str:
    ask = f'Bearer realm="{name}", Basic realm="{name}", charset="UTF-8"'
    values = {
        "%TOKENS%": folder.tokens,
        "%GRANTS%": folder.grants,
        "%SUFFIX%": f"/{name}",
        "%NO_TOKEN%": word(f"{name} needs a token that is known and has not ended\n"),
        "%NOT_YOURS%": word(f"this token is not for {name}\n"),
        "%NO_ROOM%": word("too many requests are under way\n"),
        "%ASK%": fixed(ask),
    }
    return re.sub(r"%[A-Z_]+%", lambda match: values[match[0]], _ACCESS)


def _below(service: GatewayService) -> str:
    """The replicas of a service below a path see their own paths."""
    if service.address.kind is not AddressKind.PATH:
        return ""
    path = service.address.value
    return (
        f"    http-request set-header x-forwarded-prefix {path}\n"
        f"    http-request set-path %[path,regsub(^{path.replace('.', '[.]')}/*,/)]\n"
    )


def _check(check: GatewayCheck) -> list[str]:
    if check.path is None:
        return []
    send = f"    http-check send meth {check.method} uri {word(check.path)} ver HTTP/1.1"
    if not any(name.lower() == "host" for name in check.headers):
        send += " hdr Host localhost"
    for name, value in check.headers.items():
        send += f" hdr {word(name)} {fixed(value or ' ')}"  # it refuses an empty word
    if check.body:
        send += f" body {word(check.body)}"
    good = ",".join(map(str, check.status)) or "200-299"
    return ["    option httpchk", send, f"    http-check expect status {good}"]


def _servers(service: GatewayService, proven: Collection[tuple[str, str]]) -> Iterator[str]:
    for replica in service.replicas:
        if (service.name, replica.name) in proven:
            yield f"    server {replica.name} {server_words(service, replica)}\n"


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
