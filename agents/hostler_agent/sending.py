"""Sends and receives the frames of a bulk agent, and a sign of life every 5 seconds while it still
reads."""

from __future__ import annotations

import os
import time
from typing import Iterator

from hostler_agent import wire
from hostler_agent.folders import Refusal

_EVERY = 5.0
_LONGEST = 3600.0
"""Seconds after which Pulse stops, so that the other side aborts work without output: a sparse file
may be almost endless."""


class Pulse:
    """Sends a sign of life every few seconds while no other data is sent. The other side aborts
    after two minutes of silence, and skipping the bytes that it already has may take longer."""

    def __init__(self) -> None:
        self._began = self._told = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._told > _EVERY and now - self._began < _LONGEST:
            self._told = now
            send(wire.json_frame({"busy": True}))


def send(data: bytes) -> None:
    """Write all of these bytes to stdout."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def send_data(data: bytes) -> None:
    """Send bytes as frames."""
    for at in range(0, len(data), wire.MAX_FRAME):
        send(wire.frame(data[at : at + wire.MAX_FRAME]))


def frames() -> Iterator[wire.Frame]:
    """Yield the frames that the other side sends. Raises Refusal."""
    reader = wire.FrameReader()
    while True:
        data = os.read(0, 1024 * 1024)
        if not data:
            return
        try:
            yield from reader.feed(data)
        except ValueError as error:
            raise Refusal("the stream is broken: %s" % error) from error
