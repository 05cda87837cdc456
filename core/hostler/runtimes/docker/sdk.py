"""The Docker SDK's client, fit for a daemon: sockets that fail to connect are closed at once."""

from __future__ import annotations

import socket
from typing import Any

import docker
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool

_OLDEST_API = "1.41"


class _Connection(UnixHTTPConnection):  # type: ignore[misc]
    """The SDK's own leaves its socket to the garbage collector when nothing listens."""

    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(self.timeout)
            made.connect(self.unix_socket)
        except BaseException:
            made.close()
            raise
        self.sock = made


class _Pool(UnixHTTPConnectionPool):  # type: ignore[misc]
    def _new_conn(self) -> _Connection:
        return _Connection(self.base_url, self.socket_path, self.timeout)


class _Adapter(UnixHTTPAdapter):  # type: ignore[misc]
    def get_connection(self, url: str, proxies: Any = None) -> _Pool:
        with self.pools.lock:
            pool: _Pool | None = self.pools.get(url)
            if pool is None:
                pool = _Pool(url, self.socket_path, self.timeout, maxsize=self.max_pool_size)
                self.pools[url] = pool
            return pool


def connect(url: str, timeout: float, connections: int) -> Any:
    """A client at `unix://...` that has agreed on an API version. Blocks for one round trip."""
    client = docker.APIClient(base_url=url, version=_OLDEST_API, timeout=timeout)
    try:
        adapter = _Adapter(f"http+{url}", timeout=timeout, max_pool_size=connections)
        client.mount("http+docker://", adapter)
        # The environment's proxies and .netrc are not for a Unix socket, and cost time each call.
        client.trust_env = False
        client._version = client._retrieve_server_version()
    except BaseException:
        client.close()
        raise
    return client
