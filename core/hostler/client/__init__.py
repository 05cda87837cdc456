"""The SDK: ask the daemon from Python, and have it run things. Standard library only.

    from hostler import Client

    client = Client()
    print(client.gpus()["summary"]["free"])
    run = client.run(["python", "train.py"], gpus=1)
    for line in run.logs():
        print(line)
    print(run.wait().outcome, run.metrics()["loss"])

Answers are dataclasses with the fields of the API's JSON objects (docs/protocol.md); those about
GPUs are dictionaries. Errors are those of `hostler.base.errors`, the same ones the daemon
raised. docs/sdk.md has whole examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostler.client.handle import AsyncRun, Run
from hostler.client.handle_work import Curve, Metrics
from hostler.client.streams import Log
from hostler.client.sync import Client

if TYPE_CHECKING:
    from hostler.client.aio import AsyncClient

__all__ = ["AsyncClient", "AsyncRun", "Client", "Curve", "Log", "Metrics", "Run"]


def __getattr__(name: str) -> object:
    """Load the asynchronous client only when asked for: importing asyncio takes 50 ms."""
    if name == "AsyncClient":
        from hostler.client.aio import AsyncClient

        return AsyncClient
    raise AttributeError(f"module 'hostler.client' has no attribute {name!r}")
