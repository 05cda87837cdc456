"""The SDK: query the daemon from Python, and run commands and pipelines. Standard library only.

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

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostler.client.aio import AsyncClient
    from hostler.client.handle import AsyncRun, Run
    from hostler.client.handle_work import Curve, Metrics
    from hostler.client.streams import Log
    from hostler.client.sync import Client

__all__ = ["AsyncClient", "AsyncRun", "Client", "Curve", "Log", "Metrics", "Run"]

_PLACES = {
    "AsyncClient": "aio",
    "AsyncRun": "handle",
    "Client": "sync",
    "Curve": "handle_work",
    "Log": "streams",
    "Metrics": "handle_work",
    "Run": "handle",
}


def __getattr__(name: str) -> object:
    """Load a class only when it is used: the client takes 30 ms, asyncio another 50."""
    if name in _PLACES:
        found: object = getattr(import_module(f"hostler.client.{_PLACES[name]}"), name)
        return found
    raise AttributeError(f"module 'hostler.client' has no attribute {name!r}")
