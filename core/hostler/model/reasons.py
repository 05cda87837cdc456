"""Reasons why a stage waits, per host and with remedy, as values; their words are in
`decide.obstacles` and `decide.reasons`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RemedyKind(StrEnum):
    """A change that would let a waiting stage start. Each can be applied to a snapshot, as tests
    do."""

    WAIT_FOR_STAGE = "wait for stage"
    """`subject`: the stage (of the same run) that has to succeed first."""
    WAIT_FOR_ATTEMPT = "wait for attempt"
    """`subject`: the attempt whose end frees what is missing."""
    WAIT_FOR_PROCESS = "wait for foreign process"
    """`subject`: "host:gpu-uuid"; the person who uses it by hand has to leave."""
    WAIT_FOR_LEASE = "wait for lease"
    """`subject`: lease id held by another daemon or person."""
    WAIT_FOR_MEMORY = "wait for memory"
    """`subject`: "host:gpu-uuid" whose memory has not come back."""
    WAIT_UNTIL = "wait until"
    """`value`: seconds since the epoch (retry back-off)."""
    WAIT_FOR_TURN = "wait for turn"
    """`subject`: "run/stage" at the head of what waits before it, `value`: how many those are; all
    of them have to start or leave."""
    WAIT_FOR_LOOK = "wait for look"
    """`subject`: the host that has to answer again."""
    WAIT_FOR_HOST = "wait for host"
    """`subject`: the host on which something has to start again."""
    UNDRAIN = "undrain"
    """`subject`: host."""
    FREE_FILES = "free files"
    """`subject`: the host on which, or for which in the store, less has to be kept."""
    FIX_HOST = "fix host"
    """`subject`: host whose login, key, Docker or GPU needs a person."""
    LOWER = "lower"
    """`subject`: the key of `Resources`, `value`: what would fit."""
    DROP = "drop"
    """`subject`: the constraint to drop: `gpu_models`, `labels`, `hosts`, `max_parallel`, `code` (a
    snapshot instead of the folder itself), `mounts`, or `program` (of the submitter's
    environment)."""
    ADD_HOST = "add host"
    """No host could ever take it as requested."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One change that removes one obstacle."""

    kind: RemedyKind
    subject: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class HostReason:
    """Why a stage is not on this host now."""

    host: str
    sentence: str
    """Names the holder and since when, where there is one."""
    remedies: tuple[Remedy, ...] = ()
    """All of them together, and its turn, would let it start here. Empty: nothing would."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a stage waits."""

    sentence: str
    hosts: tuple[HostReason, ...] = ()
    """One per host, nearest first; empty if it does not wait for hosts."""
    remedies: tuple[Remedy, ...] = ()
    """What it waits for besides hosts: stages, time, its turn in the queue."""
    nearest: str | None = None
    """The nearest request that would start now: "2 GPUs on gpu1"."""


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """The place of a stage of a run that was not submitted yet."""

    stage: str
    host: str | None = None
    """It would start there now; None: it would wait, or comes later."""
    gpus: tuple[int, ...] = ()
    """Indices on that host."""
    why: str = ""
    """One sentence, for each line."""
    reason: Reason | None = None
    """Why it would wait, if it waits for hosts."""
    later: bool = False
    """Stages before it have to succeed first."""
    hosts: tuple[str, ...] = ()
    """The hosts that could take it if they were free."""
