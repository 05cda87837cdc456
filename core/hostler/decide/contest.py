"""Other users of an attempt's GPUs, named beside the cause when it fails. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hostler.decide.holding import Holder, HolderKind, describe, holders
from hostler.decide.index import OpenAttempt
from hostler.model.hosts import Host
from hostler.model.plans import Policy
from hostler.model.runs import Attempt

_OTHERS = (HolderKind.PROCESS, HolderKind.CONTAINER)


def contested_by(
    attempt: Attempt,
    host: Host,
    policy: Policy,
    daemon_id: str,
    open_here: Sequence[OpenAttempt],
    now: float,
) -> str:
    """One sentence about what was on its GPUs beside it in the last look; "" for nothing."""
    if not attempt.gpus or host.look is None:
        return ""
    held = holders(host, policy, daemon_id, open_here)
    index = {gpu.uuid: gpu.index for gpu in host.look.gpus}
    told = [
        f"GPU {index[uuid]}: {describe(holder, now)}"
        for uuid in attempt.gpus
        for holder in held.get(uuid, ())
        if _is_somebody_else(holder, attempt)
    ]
    return f"its GPU was contested ({'; '.join(told)})" if told else ""


def _is_somebody_else(holder: Holder, attempt: Attempt) -> bool:
    return holder.kind in _OTHERS or (
        holder.attempt_id is not None and holder.attempt_id != attempt.attempt_id
    )
