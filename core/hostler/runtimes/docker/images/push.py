"""Receives an image from a host: the host's Docker pushes it to a port that is forwarded to the
daemon; refuses a port that other machines can reach.

sshd chooses the port on the host's loopback. It is open only during the push, and access needs the
password of this push.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import quote

from hostler.base.errors import EngineError, HostError
from hostler.base.failpoints import failpoint
from hostler.base.text import clean_line
from hostler.model.timings import DEFAULT, RuntimeTimings
from hostler.ports import ImageLink, Progress
from hostler.runtimes.docker.explain import engine_error
from hostler.runtimes.docker.http import request
from hostler.runtimes.docker.images.ask import untag, untag_all
from hostler.runtimes.docker.images.push_calls import TAG, USER
from hostler.runtimes.docker.images.push_connections import PushConnections
from hostler.runtimes.docker.images.receiver import Receiver
from hostler.runtimes.docker.pull import PullProgress
from hostler_agent.json_values import Message


class NoPort(EngineError):
    """The host has no port that only its own users can reach; the image must be copied in another
    way."""


async def push(
    link: ImageLink, image: str, what: str, receiver: Receiver, progress: Progress,
    timings: RuntimeTimings = DEFAULT.runtimes,
) -> str:  # fmt: skip
    """Let the host's Docker push an image, by its id; returns the digest of its manifest or index,
    which the receiver then has. `what`: its name for people. Raises NoPort, EngineError,
    Unreachable."""
    async with _port(link, receiver) as port:
        repository = f"127.0.0.1:{port}/{receiver.repository}"
        # A killed push may have left a name.
        ours = re.compile(rf"127\.0\.0\.1:\d+/{receiver.repository}:{TAG}")
        await untag_all(link, lambda name: ours.fullmatch(name) is not None)
        tagged = {"repo": repository, "tag": TAG}
        try:
            async with request(link, "POST", f"/images/{quote(image)}/tag", tagged):
                pass
            failpoint("after_image_tag")
            await _push(link, repository, what, receiver, progress, timings)
            failpoint("after_image_push")
        except EngineError as error:
            if not receiver.is_reached:  # its network may be separate, or it may require TLS
                why = f"Docker does not reach the port for a push: {error.message}"
                raise NoPort(link.host, why) from error
            if receiver.refusal is None:
                raise
            raise EngineError(link.host, f"{what}: {receiver.refusal}") from error
        finally:
            with contextlib.suppress(HostError):
                await untag(link, f"{repository}:{TAG}")
    if receiver.tagged is None:
        raise EngineError(link.host, f"Docker pushed {what}, but its manifest did not arrive")
    return receiver.tagged


def outside(addresses: Sequence[str]) -> list[str]:
    """Addresses of a port that other machines may reach."""
    return [address for address in addresses if not _is_loopback(address)]


async def _push(
    link: ImageLink, repository: str, what: str, receiver: Receiver, progress: Progress,
    timings: RuntimeTimings,
) -> None:  # fmt: skip
    login = {"username": USER, "password": receiver.password, "serveraddress": repository}
    headers = {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}
    path = f"/images/{quote(repository)}/push"
    async with request(link, "POST", path, {"tag": TAG}, headers) as response:
        await _watch(link.host, what, response.json_lines(), progress, timings)


async def _watch(
    host: str, what: str, lines: AsyncIterator[Message], progress: Progress,
    timings: RuntimeTimings,
) -> None:  # fmt: skip
    said, state = f"copying image {what} from {host}", PullProgress()
    while True:
        try:
            async with asyncio.timeout(timings.pull_idle):
                line = await anext(lines, None)
        except TimeoutError as error:
            raise EngineError(host, f"{said}: no progress for {timings.pull_idle:.0f} s") from error
        if line is None:
            return
        if "error" in line:
            raise engine_error(host, said, 0, clean_line(str(line["error"]), 500))
        state.update(line)
        progress(said, state.done, state.total)


@asynccontextmanager
async def _port(link: ImageLink, receiver: Receiver) -> AsyncIterator[int]:
    """A port on the host's loopback for the receiver, closed at the end with its connections."""
    connections = PushConnections(receiver, link.host)
    try:
        listener = await link.listen(connections.accept)
    except EngineError as error:
        raise NoPort(link.host, error.message, remedy=error.remedy) from error
    try:
        await _check_loopback(link, listener.port)
        yield listener.port
    finally:
        receiver.close()
        await listener.close()
        await connections.close()


async def _check_loopback(link: ImageLink, port: int) -> None:
    addresses = (await link.call("listening", {"port": port}))["addresses"]
    others = outside(addresses)
    if others or not addresses:
        where = clean_line(", ".join(others), 100) or "an unknown address"
        raise NoPort(
            link.host,
            f"sshd on {link.host} opened a port for a push at {where}; it was closed at once",
            remedy="set GatewayPorts to no or clientspecified there",
        )


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
