"""What an attempt used (GPU-seconds, peak memory, energy), and below which utilization a GPU is
idle (5 %); after how long: `model.timings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hostler.daemon.context import Context
from hostler.insight.gpu_states import History
from hostler.model.durations import attempt_duration
from hostler.model.hosts import Gpu, Host, Look
from hostler.model.records import GpuSample
from hostler.model.runs import Attempt, Phase

_IDLE_BELOW_PERCENT = 5.0
_RECENT_S = 3600.0


@dataclass(slots=True)
class _Tally:
    """Sums over the looks of one attempt's GPUs."""

    seen_s: float = 0.0
    busy_s: float = 0.0
    memory_peak: int | None = None
    last_at: float | None = None
    energy_first: dict[str, float] = field(default_factory=dict)
    energy_last: dict[str, float] = field(default_factory=dict)
    recalled_j: float = 0.0
    """Energy up to the first look of this daemon, from the power that an earlier one stored."""
    recalled_w: dict[str, float] = field(default_factory=dict)
    """The last power of each GPU, as stored by the earlier daemon."""

    def recall(self, samples: Sequence[GpuSample]) -> None:
        """Add an earlier daemon's samples of one GPU, the oldest first."""
        before = None
        for sample in samples:
            step = 0.0 if before is None else max(0.0, sample.at - before.at)
            before = sample
            if sample.utilization is not None:
                self.seen_s += step
                self.busy_s += step * sample.utilization / 100
            if sample.memory_used is not None:
                self.memory_peak = max(self.memory_peak or 0, sample.memory_used)
            if sample.power is not None:
                self.recalled_j += step * sample.power
                self.recalled_w[sample.gpu] = sample.power
            self.last_at = max(self.last_at or 0.0, sample.at)

    def add(self, at: float, gpus: list[Gpu]) -> None:
        step = 0.0 if self.last_at is None else max(0.0, at - self.last_at)
        self.last_at = at
        for gpu in gpus:
            if gpu.utilization is not None:
                self.seen_s += step
                self.busy_s += step * gpu.utilization / 100
            if gpu.memory_used is not None:
                self.memory_peak = max(self.memory_peak or 0, gpu.memory_used)
            if gpu.energy is not None:
                if gpu.uuid not in self.energy_first:
                    self.recalled_j += step * self.recalled_w.get(gpu.uuid, 0.0)
                self.energy_first.setdefault(gpu.uuid, gpu.energy)
                self.energy_last[gpu.uuid] = gpu.energy

    def energy_wh(self) -> float | None:
        if not self.energy_last:
            return None
        joules = sum(last - self.energy_first[u] for u, last in self.energy_last.items())
        # Counters are read every ten seconds: of a shorter attempt there may be one reading only.
        return (joules + self.recalled_j) / 3600 or None


class Usage:
    """Tallies open attempts from the looks, and writes samples of every GPU to the history."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tallies: dict[str, _Tally] = {}
        self._quiet_since: dict[str, dict[str, float]] = {}
        """Host -> its quiet GPUs. A host can report only about itself."""
        self.ended_at: dict[str, float] = {}
        """Recently ended attempts -> when they ended."""
        self.seen: set[str] = set()
        """Hosts that have shown GPUs, or whose GPUs an attempt held at the start of the daemon:
        looks of other hosts do not matter here."""

    async def recall(self) -> None:
        """Restore the sums of attempts that started before this daemon, from one day of stored
        samples."""
        context = self._context
        for attempt in context.run_cache.open_attempts():
            if attempt.started_at is None or not attempt.phase.is_at_work:
                continue
            for uuid in attempt.gpus:
                self.seen.add(attempt.host)
                now = context.clock.now()
                found = await context.store.metrics.gpu_samples(
                    attempt.host, uuid, attempt.started_at, now
                )
                if found:
                    self._tallies.setdefault(attempt.attempt_id, _Tally()).recall(found)

    def history(self) -> History:
        """Data that a single look does not show: GPUs that have been quiet for long, and recently
        ended attempts, whose GPUs will soon be released."""
        now, idle_after = self._context.clock.now(), self._context.timings.gpu_idle_after
        return History(
            idle_since={
                (host, uuid): at
                for host, quiet in self._quiet_since.items()
                for uuid, at in quiet.items()
                if now - at >= idle_after
            },
            ended_at=dict(self.ended_at),
            idle_after=idle_after,
        )

    def saw(self, host: Host, look: Look) -> None:
        """Take one look into account."""
        self.seen.add(host.name)
        self._note_quiet(host.name, look)
        for attempt in self._context.run_cache.open_attempts():
            if attempt.host != host.name or not attempt.gpus or attempt.phase is not Phase.RUNNING:
                continue
            mine = [gpu for gpu in look.gpus if gpu.uuid in attempt.gpus]
            self._tallies.setdefault(attempt.attempt_id, _Tally()).add(look.asked_at, mine)

    def _note_ended(self, attempt: Attempt) -> None:
        now = self._context.clock.now()
        self.ended_at = {a: at for a, at in self.ended_at.items() if now - at < _RECENT_S}
        self.ended_at[attempt.attempt_id] = now

    def _note_quiet(self, host: str, look: Look) -> None:
        before = self._quiet_since.get(host, {})
        self._quiet_since[host] = {
            gpu.uuid: before.get(gpu.uuid, look.asked_at)
            for gpu in look.gpus
            if gpu.utilization is not None and gpu.utilization < _IDLE_BELOW_PERCENT
        }

    def summary(self, attempt: Attempt) -> dict[str, float]:
        """The sums of an attempt that ended; what could not be measured is absent."""
        tally = self._tallies.pop(attempt.attempt_id, None)
        if not attempt.gpus:
            return {}
        self._note_ended(attempt)
        return _sums(attempt, tally, attempt.finished_at)

    def so_far(self, attempt: Attempt) -> dict[str, float]:
        """The sums of an attempt that still runs; those stored with one that has ended."""
        if not attempt.phase.is_at_work or not attempt.gpus:
            return dict(attempt.usage)
        return _sums(attempt, self._tallies.get(attempt.attempt_id), self._context.clock.now())


def _sums(attempt: Attempt, tally: _Tally | None, until: float | None) -> dict[str, float]:
    used: dict[str, float] = {}
    held_s = attempt_duration(attempt.duration, attempt.started_at, until, until or 0.0)
    if held_s is not None and until is not None:
        used["gpu_seconds_allocated"] = held_s * len(attempt.gpus)
    if tally is not None:
        if tally.memory_peak is not None:
            used["gpu_memory_peak"] = float(tally.memory_peak)
        if tally.seen_s > 0:
            # Between two daemons a clock may have been set: what was held is measured by the host.
            most = used.get("gpu_seconds_allocated", tally.busy_s)
            used["gpu_seconds_busy"] = min(tally.busy_s, most)
            used["gpu_utilization_mean"] = 100 * tally.busy_s / tally.seen_s
        energy = tally.energy_wh()
        if energy is not None:
            used["energy_wh"] = energy
    return used
