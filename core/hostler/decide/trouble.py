"""Problems of a starting or running stage. Pure."""

from __future__ import annotations

from hostler.decide.causes import cut_off_sentence
from hostler.model.hosts import Host, HostCondition
from hostler.model.runs import Attempt, Phase
from hostler.model.runtimes import traits_of

_NOBODY_KNOWS = "it is unknown whether the stage still runs there"
_UNSEEN = (HostCondition.UNREACHABLE, HostCondition.REFUSED)


def trouble_of(attempt: Attempt, host: Host | None, held_up: str | None = None) -> str | None:
    """One sentence for people about an attempt that has a place; None: all is well.

    `host`: None where the config names it no more. `held_up`: why its start, or the copying of its
    files, did not go on when that was last tried.
    """
    if host is not None and host.unmerged and not attempt.phase.is_final:
        return f"the notes of {host.name} since the backup are not merged yet"
    if attempt.phase is Phase.STARTING:
        if held_up and host is not None and host.condition in _UNSEEN:
            why = f" ({host.problem})" if host.problem else ""
            return f"{host.name} cannot be seen{why}: the start continues once it answers"
        if held_up:
            return f"the start is blocked: {held_up}"
        return "it is ready, and starts with the rest of its group" if attempt.ref else None
    if attempt.phase is Phase.COLLECTING:
        held = f"copying is blocked: {held_up}" if held_up else None
        return _not_copied(attempt, host) or held
    if attempt.phase is not Phase.RUNNING:
        return None
    if host is None:
        return f"{attempt.host} is no longer in the config: {_NOBODY_KNOWS}"
    if host.condition in _UNSEEN:
        return f"{host.name} cannot be seen: {_NOBODY_KNOWS}"
    look = host.look
    if look is None:
        return None
    if unseen := traits_of(attempt.runtime).unseen(look):
        return f"{unseen} on {host.name}: {_NOBODY_KNOWS}"
    return cut_off_sentence(host.name) if is_cut_off(attempt, host) else None


def _not_copied(attempt: Attempt, host: Host | None) -> str | None:
    """Why the files of what has ended are not being copied now."""
    if host is None:
        return f"{attempt.host} is no longer in the config: its files are copied once it is again"
    if host.condition not in _UNSEEN:
        return None
    why = f" ({host.problem})" if host.problem else ""
    return f"{host.name} cannot be seen{why}: its files are copied once it answers"


def is_cut_off(attempt: Attempt, host: Host) -> bool:
    """Whether it runs, and may not open its GPUs any more."""
    if attempt.phase is not Phase.RUNNING or not attempt.gpus:
        return False
    works = host.look.workloads if host.look is not None else ()
    return any(
        work.attempt_id == attempt.attempt_id and work.running and work.gpu_cut_off
        for work in works
    )
