"""Decides the commands that bring a running gateway to its wanted state, and when it has to be
reloaded instead. Pure.

Asked again after each look, until nothing is left. A server is added in `drain` and becomes `ready`
after a good check: HAProxy takes a new server for a good one until its first check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hostler.gateway.states import GatewayState, Server, ServerKey
from hostler.gateway.text import backend_name, grant_keys, server_words, structure, token_value
from hostler.model.gateway import (
    GatewayFolder,
    GatewayService,
    Replica,
    ServerState,
    WantedGateway,
)


@dataclass(frozen=True, slots=True)
class Command:
    """One line for HAProxy's socket."""

    text: str
    everywhere: bool = False
    """Also for the workers from before the last reload, and for these first."""
    failpoint: str = ""
    """The failpoint after the command."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The next steps."""

    reload: bool = False
    """The configuration must be written and loaded; nothing else is done before."""
    commands: tuple[Command, ...] = ()
    waits: tuple[str, ...] = ()
    """For people: events that the gateway waits for."""

    @property
    def is_done(self) -> bool:
        """Whether the gateway has reached the wanted state."""
        return not (self.reload or self.commands or self.waits)


def steps(state: GatewayState, wanted: WantedGateway, folder: GatewayFolder) -> Steps:
    """The next commands. A server that is no longer wanted is drained and removed."""
    if state.structure != structure(wanted, folder):
        return Steps(reload=True)
    found: list[Command | str] = [*_token_steps(state, wanted, folder)]
    for service in wanted.services:
        names = {replica.name for replica in service.replicas}
        for replica in service.replicas:
            found += _server_steps(state, service, replica)
        for key in sorted(key for key in state.servers if key[0] == service.name):
            if key[1] not in names:
                found += _removal(key, state, cut=False)
    commands = tuple(each for each in found if isinstance(each, Command))
    return Steps(commands=commands, waits=tuple(each for each in found if isinstance(each, str)))


def proven(state: GatewayState, wanted: WantedGateway) -> frozenset[ServerKey]:
    """Servers that get requests now and should continue to: the next worker may start with them."""
    keys = {
        (service.name, replica.name): replica
        for service in wanted.services
        for replica in service.replicas
        if replica.state is ServerState.READY
    }
    return frozenset(
        key
        for key, server in state.servers.items()
        if key in keys and server.is_up and server.is_good and is_at(server, keys[key])
    )


def _server_steps(
    state: GatewayState, service: GatewayService, replica: Replica
) -> Iterator[Command | str]:
    key = service.name, replica.name
    server = state.servers.get(key)
    if replica.state is ServerState.CUT:
        yield from _removal(key, state, cut=True)
    elif server is None:
        words = server_words(service, replica)
        yield Command(f"add server {_name(key)} {words}", failpoint="after_server_added")
        yield from _begin_checks(key)
        yield f"{_spoken(key)} waits for its first check"
    elif not is_at(server, replica):
        yield from _removal(key, state, cut=False)
    else:
        yield from _changes(key, server, state, service, replica)


def _changes(
    key: ServerKey, server: Server, state: GatewayState, service: GatewayService, replica: Replica
) -> Iterator[Command | str]:
    if server.weight != replica.weight:
        yield Command(f"set server {_name(key)} weight {replica.weight}")
    if server.maxconn != service.maxconn:
        yield Command(f"set maxconn server {_name(key)} {service.maxconn}")
    if server.is_in_maintenance:  # whoever added it was interrupted
        yield from _begin_checks(key)
        yield f"{_spoken(key)} waits for its first check"
        return
    drained = key in state.drained or server.is_draining
    if replica.state is ServerState.DRAIN:
        if not drained:
            yield _drain(key)
    elif drained:
        if server.is_good:
            ready = f"set server {_name(key)} state ready"
            yield Command(ready, failpoint="after_server_ready")
        else:
            yield f"{_spoken(key)} fails its check ({server.check or 'none yet'})"


def _removal(key: ServerKey, state: GatewayState, *, cut: bool) -> Iterator[Command | str]:
    server = state.servers.get(key)
    if server is None:
        return
    if cut and not server.is_idle:
        yield Command(f"set server {_name(key)} state maint")
        yield Command(f"shutdown sessions server {_name(key)}")
    if server.is_in_maintenance or (server.is_idle and (cut or key in state.drained)):
        yield Command(f"set server {_name(key)} state maint")
        yield Command(f"del server {_name(key)}", failpoint="after_server_removed")
        return
    if key not in state.drained:
        yield _drain(key)
    yield f"{_spoken(key)} has {server.sessions + server.queued} requests left"


def _begin_checks(key: ServerKey) -> Iterator[Command]:
    """The commands for an added server. Checks come first: only the missing drain state shows that
    these commands did not all run."""
    yield Command(f"enable health {_name(key)}")
    yield _drain(key)


def _drain(key: ServerKey) -> Command:
    return Command(f"set server {_name(key)} state drain", failpoint="after_server_drained")


def _token_steps(
    state: GatewayState, wanted: WantedGateway, folder: GatewayFolder
) -> Iterator[Command]:
    """Grants are added before the tokens that use them, and removed after them."""
    tokens = {token.digest: token_value(token) for token in wanted.tokens}
    grants = {key for token in wanted.tokens for key in grant_keys(token)}
    if not wanted.entry.tokens or not wanted.services:
        return
    for digest in sorted(digest for digest in state.tokens if digest not in tokens):
        yield Command(f"del map {folder.tokens} {digest}", everywhere=True)
    for key in sorted(state.grants - grants):
        yield Command(f"del map {folder.grants} {key}", everywhere=True)
    for key in sorted(grants - state.grants):
        yield Command(f"add map {folder.grants} {key} 1")
    for digest, value in tokens.items():
        known = state.tokens.get(digest)
        if known is None:
            yield Command(f"add map {folder.tokens} {digest} {value}")
        elif known != value:
            yield Command(f"set map {folder.tokens} {digest} {value}", everywhere=True)


def is_at(server: Server, replica: Replica) -> bool:
    """Whether a server has the address of a replica. HAProxy does not name a Unix socket: its name
    comes from the replica's name, and no other server has it."""
    if server.address == "unix":
        return replica.address.startswith("/")
    return server.address.removeprefix("unix@") == replica.address


def _name(key: ServerKey) -> str:
    return f"{backend_name(key[0])}/{key[1]}"


def _spoken(key: ServerKey) -> str:
    return f"{key[1]} of {key[0]}"
