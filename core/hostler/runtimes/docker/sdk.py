"""The client of Docker's SDK, with limits on answers (64 MiB, seconds) and the oldest accepted API
version. A host may be hostile, so the limits hold for the answers to all calls, with headers."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import docker
import docker.errors
import requests
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool

from hostler.base.units import MIB

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from _typeshed import WriteableBuffer

ANSWER_CAP = 64 * MIB
"""Most bytes of one answer; the longest lists of real hosts are far smaller."""
_OLDEST_API = "1.41"


class BadAnswer(docker.errors.DockerException):  # type: ignore[misc]
    """A rejected answer; its text continues after "Docker"."""


class _Socket(socket.socket):
    """Reads a limited number of bytes for a limited time; `settimeout` limits only the wait for the
    next byte."""

    _left = 0
    _until = 0.0

    def expect(self, seconds: float) -> None:
        """Set the limits for a new answer."""
        self._left = ANSWER_CAP
        self._until = time.monotonic() + seconds

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """See `socket`; all reads of an answer use this method."""
        remaining = self._until - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        if self._left <= 0:
            raise BadAnswer(f"sent more than {ANSWER_CAP // MIB} MiB for one answer")
        self.settimeout(remaining)
        taken = super().recv_into(buffer, nbytes, flags)
        self._left -= taken
        return taken


class _Connection(UnixHTTPConnection):  # type: ignore[misc]
    """Closes its socket if nothing listens; the SDK's own class leaves it to the garbage
    collector."""

    def connect(self) -> None:
        made = _Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(self.timeout)
            made.connect(self.unix_socket)
        except BaseException:
            made.close()
            raise
        self.sock = made

    def getresponse(self) -> HTTPResponse:
        self.sock.expect(self.timeout)
        answer: HTTPResponse = super().getresponse()
        return answer


class _Pool(UnixHTTPConnectionPool):  # type: ignore[misc]
    def _new_conn(self) -> _Connection:
        return _Connection(self.base_url, self.socket_path, self.timeout)


class _Adapter(UnixHTTPAdapter):  # type: ignore[misc]
    def get_connection(self, url: str, proxies: object = None) -> _Pool:
        with self.pools.lock:
            pool: _Pool | None = self.pools.get(url)
            if pool is None:
                pool = _Pool(url, self.socket_path, self.timeout, maxsize=self.max_pool_size)
                self.pools[url] = pool
            return pool

    def send(
        self, request: requests.PreparedRequest, *args: object, **options: object
    ) -> requests.Response:
        response: requests.Response = super().send(request, *args, **options)
        if refused := _not_taken(response):
            response.close()
            raise BadAnswer(refused)
        response.encoding = "utf-8"  # guessing the encoding of a long text takes minutes
        return response


def _not_taken(response: requests.Response) -> str | None:
    """Why an answer is refused: it uses features that Docker never uses and that would bypass the
    limits. None: it is accepted."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return "sent an answer that is compressed"
    return "sent its caller elsewhere" if response.is_redirect else None


def connect(url: str, timeout: float, connections: int) -> docker.APIClient:
    """A client at `unix://...` that has negotiated an API version. Blocks for one round trip."""
    client = docker.APIClient(base_url=url, version=_OLDEST_API, timeout=timeout)
    try:
        adapter = _Adapter(f"http+{url}", timeout=timeout, max_pool_size=connections)
        client.mount("http+docker://", adapter)
        # A Unix socket needs no proxies and no .netrc; reading them would take time at each call.
        client.trust_env = False
        client._version = client._retrieve_server_version()
    except BaseException:
        client.close()
        raise
    return client
