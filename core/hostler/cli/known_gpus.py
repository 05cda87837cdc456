"""GPU indices for showing runs. A daemon that has just started does not know them at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hostler.base.errors import HostlerError
from hostler.client import Client
from hostler.show.fleet import is_new
from hostler.show.runs import gpu_indices

if TYPE_CHECKING:
    from hostler.model.views.runs import RunView

_ASK_AGAIN = 2.0
"""Seconds between two questions for an index that nobody knows, such as a silent host's."""
_PATIENCE = 3.0
"""Seconds that hosts get to answer a daemon that has just started."""
_POLL = 0.1


def indices_of(client: Client, runs: Iterable[RunView]) -> dict[str, int]:
    """GPU indices, for showing these runs once; none where they cannot be had (showing must not
    fail). A daemon that has just started is given a moment to hear of the GPUs in them."""
    used = {uuid for run in runs for uuid in used_gpus(run)}
    deadline = time.monotonic() + _PATIENCE
    try:
        while True:
            fleet = client.gpus()
            found = gpu_indices(fleet)
            if used <= found.keys() or not is_new(fleet) or time.monotonic() > deadline:
                return found
            time.sleep(_POLL)
    except HostlerError:
        return {}


def used_gpus(run: RunView) -> set[str]:
    """UUIDs of the GPUs of a run's latest attempts."""
    attempts = [stage.attempt for stage in run.stages if stage.attempt]
    return {uuid for attempt in attempts for uuid in attempt.gpus}


@dataclass(slots=True)
class KnownGpus:
    """GPU indices for a run that is followed: asked for again while the run has a GPU without."""

    _client: Client
    _found: dict[str, int] = field(default_factory=dict)
    _next_at: float = 0.0

    def of(self, run: RunView) -> dict[str, int]:
        """The indices, as far as they are known now; of a daemon that has just started, soon."""
        used = used_gpus(run)
        if not used <= self._found.keys() and time.monotonic() >= self._next_at:
            self._found |= indices_of(self._client, [run])
            self._next_at = time.monotonic() + _ASK_AGAIN
        return self._found
