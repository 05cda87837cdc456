"""The SDK: ask the daemon from Python. Standard library only.

    from hostler import Client

    client = Client()
    print(client.gpus()["summary"]["free"])
    run = client.submit({"command": {"command": ["nvidia-smi"], "gpus": 1}})
    client.wait(run["run_id"])

Answers are the API's JSON objects (docs/protocol.md) as dictionaries; errors are those of
`hostler.base.errors`, the same ones the daemon raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.client.streams import Log
from hostler.client.sync import Client

if TYPE_CHECKING:
    from hostler.client.aio import AsyncClient

__all__ = ["AsyncClient", "Client", "Log"]


def __getattr__(name: str) -> object:
    """Load the asynchronous client only when asked for: importing asyncio takes 50 ms."""
    if name == "AsyncClient":
        from hostler.client.aio import AsyncClient

        return AsyncClient
    raise AttributeError(f"module 'hostler.client' has no attribute {name!r}")
