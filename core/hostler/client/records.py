"""The part of the synchronous client that looks back: measurements and what they were made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from hostler.client import calls
from hostler.client.calls import Call


class Records(ABC):
    """Questions about the past. Part of `Client`."""

    @abstractmethod
    def _object(self, call: Call) -> dict[str, Any]:
        """A call's answer, which is a JSON object."""

    def host_history(self, name: str, minutes: int = 60) -> dict[str, Any]:
        """The `hostler.history/1` object: what each GPU of a host did, minute by minute."""
        return self._object(calls.host_history(name, minutes))

    def fleet_history(self, minutes: int = 60) -> dict[str, Any]:
        """Mean utilization and the sum of power of all GPUs, minute by minute."""
        return self._object(calls.fleet_history(minutes))

    def usage(self, run_id: str, stage: str) -> dict[str, Any]:
        """What each attempt of a stage used, and what the last one's GPUs did over its life."""
        return self._object(calls.usage(run_id, stage))

    def alerts(self, open_only: bool = False, limit: int = 200) -> dict[str, Any]:
        """What needs eyes, the newest first, and how much of it is open."""
        return self._object(calls.alerts(open_only, limit))

    def acknowledge(self, alert_id: int) -> dict[str, Any]:
        """Note that you have seen an alert."""
        return self._object(calls.acknowledge(alert_id, "acknowledge"))

    def unacknowledge(self, alert_id: int) -> dict[str, Any]:
        """Take that back."""
        return self._object(calls.acknowledge(alert_id, "unacknowledge"))

    def audit(
        self,
        user: str | None = None,
        since: float | None = None,
        call: str | None = None,
        run: str | None = None,
        limit: int = 100,
    ) -> dict[str, Any]:
        """Who asked the daemon for what, the newest first (`entries`): of everybody for its owner
        and operators, your own for others. Calls that were refused have the call "refused"."""
        wanted = calls.audit(user=user, since=since, call=call, run=run, limit=limit)
        return self._object(wanted)

    def history(
        self,
        pipeline: str | None = None,
        owner: str | None = None,
        state: str | None = None,
        since: float | None = None,
        until: float | None = None,
        param: Iterable[str] = (),
        metric: Iterable[str] = (),
        text: str | None = None,
        sort: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> dict[str, Any]:
        """All runs, searched: `param` like "lr=0.1", `metric` like "accuracy>=0.9", `sort` like
        "-accuracy". How many match in all (`total`), and a page of them (`runs`)."""
        call = calls.history(
            pipeline=pipeline, owner=owner, state=state, since=since, until=until,
            param=tuple(param), metric=tuple(metric), text=text, sort=sort,
            limit=limit, offset=offset,
        )  # fmt: skip
        return self._object(call)

    def compare(self, run_ids: Iterable[str]) -> dict[str, Any]:
        """Runs side by side: `runs`, `rows` of one value a run, and `series` of their metrics."""
        return self._object(calls.compare(run_ids))

    def source(self, run_id: str) -> dict[str, Any]:
        """Where a run's code came from; `git_diff` is what differed from its commit."""
        return self._object(calls.source(run_id))
