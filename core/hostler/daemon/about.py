"""Describes this daemon: its process and its database."""

from __future__ import annotations

import os

import hostler
from hostler.daemon.context import Context
from hostler.model.hosts import HostCondition
from hostler.model.views.daemon import DaemonView


def about(context: Context, started_at: float, api: int) -> DaemonView:
    """Version, database id, process, state folder, and whether the lab is simulated."""
    hosts = context.config.hosts
    return DaemonView(
        api=api,
        version=hostler.__version__,
        daemon_id=context.daemon_id,
        pid=os.getpid(),
        started_at=started_at,
        state=str(context.store.folder),
        ssh_agent=os.environ.get("SSH_AUTH_SOCK"),
        open_runs=len(context.run_cache.runs()),
        left_behind=context.left_behind.view(context.monitors.keys()),
        generation=context.standing.view([host.name for host in hosts]),
        simulated=any(host.transport == "sim" for host in hosts),
        local=_is_local(context),
        gpus=_count_gpus(context),
    )


def _is_local(context: Context) -> bool:
    hosts = [monitor.host for monitor in context.monitors.values()]
    return bool(hosts) and all(host.transport == "local" for host in hosts)


def _count_gpus(context: Context) -> int | None:
    """GPUs of all hosts, as last seen; None: some host has not answered yet."""
    hosts = [monitor.host for monitor in context.monitors.values()]
    if any(host.condition is HostCondition.CONNECTING for host in hosts):
        return None
    return sum(len(host.look.gpus) for host in hosts if host.look is not None)
