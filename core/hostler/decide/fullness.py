"""When no stage that keeps files starts on a host: its disk is almost full (under 5 % free), or the
host or the store exceeds its limit of kept files. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hostler.base.text import clean_line
from hostler.base.units import format_size
from hostler.model.hosts import Disk, Host, Look, Workload
from hostler.model.pipelines import Stage
from hostler.model.plans import Snapshot
from hostler.model.runs import Phase
from hostler.model.runtimes import RUNTIMES, traits_of

_LOW_PART = 0.05
_FOLDERS: Mapping[str, str] = {traits.name: traits.folder for traits in RUNTIMES.values()}
"""Runtime -> the folder with the files that it leaves."""
_REMEDY = (
    "fetch files and remove their runs (hostler get RUN, hostler rm RUN), or let the stage keep "
    "nothing (keep = [])"
)


def keeps_files(stage: Stage) -> bool:
    """Whether files of the stage other than outputs are kept."""
    return not stage.outputs if stage.keep is None else bool(stage.keep)


def leaves_files(stage: Stage, verdict: Phase) -> bool:
    """Whether files of a stage besides outputs are copied, or stay on its host. The folder of a
    stage that did not succeed stays: an error in one line must not lose all its files."""
    if stage.keep == ():
        return False
    return keeps_files(stage) or (verdict is not Phase.SUCCEEDED and stage.code != "here")


def has_files(stage: Stage, workload: Workload, verdict: Phase, *, unchanged: bool) -> bool:
    """Whether there may be files to copy of an attempt whose work has ended. `unchanged`: its host
    reported that no file in its folder is new or changed."""
    if stage.outputs:
        return True
    if traits_of(workload.runtime).has_engine and workload.started_at is None:
        return False  # it was never started, so it has no new files
    return leaves_files(stage, verdict) and not unchanged


def full_runtimes(host: Host, snapshot: Snapshot) -> dict[str, str]:
    """Runtime -> why it starts no stage there that keeps files, with a remedy."""
    if snapshot.store_full is not None:
        return dict.fromkeys(_FOLDERS, f"{clean_line(snapshot.store_full, 200)}: {_REMEDY}")
    look, most = host.look, snapshot.kept_on_host
    over = host_over_budget(host, most, snapshot.keeps_most.get(host.name))
    if look is None or over is not None:
        return dict.fromkeys(_FOLDERS, f"{over}: {_REMEDY}") if over is not None else {}
    full = {}
    for runtime in _FOLDERS:
        disk = disk_of(runtime, look)
        if disk is not None and _is_low(disk, most):
            full[runtime] = (
                f"its disk {clean_line(disk.path, 80)} has {format_size(disk.free)} of "
                f"{format_size(disk.total)} free: free space there, or {_REMEDY}"
            )
    return full


def host_over_budget(host: Host, most: int | None, owner: str | None = None) -> str | None:
    """How much a host keeps if it exceeds its limit, and who owns most of it; None: it does not."""
    kept = host.look.kept.bytes if host.look is not None else 0
    if most is None or kept <= most:
        return None
    return (
        f"it keeps {format_size(kept)} of files of ended stages, above its limit of "
        f"{format_size(most)} ([limits] kept_on_host){_whose(owner)}"
    )


def store_over_budget(size: int, most: int, owner: str | None = None) -> str | None:
    """How much the daemon's machine keeps if it exceeds its limit, and who owns most of it; None:
    it does not."""
    if size <= most:
        return None
    return (
        f"the daemon's machine stores {format_size(size)} of sources, outputs and kept files, "
        f"above the limit of {format_size(most)} ([limits] kept_in_store){_whose(owner)}"
    )


def _whose(owner: str | None) -> str:
    """Words that name the owner of most files: users cannot remove runs of others, so they have to
    ask that person."""
    return f"; {clean_line(owner, 40)} keeps most of it" if owner is not None else ""


def disk_of(runtime: str, look: Look) -> Disk | None:
    """The file system that workloads of a runtime write to; None: unknown."""
    told = next((disk for disk in look.machine.disks if runtime in disk.holds), None)
    return _disk_below(traits_of(runtime).folder, look) if told is None else told


def _disk_below(folder: str, look: Look) -> Disk | None:
    """Like `disk_of`, for a host that only lists file systems: by their paths."""
    found = [d for d in look.machine.disks if f"{folder}/".startswith(f"{d.path.rstrip('/')}/")]
    return max(found, key=lambda disk: len(disk.path), default=None)


def _is_low(disk: Disk, most: int | None) -> bool:
    """Whether the free space is little, and less than the kept files may need: on a large disk 5 %
    is plenty."""
    return disk.free < disk.total * _LOW_PART and (most is None or disk.free < most)
