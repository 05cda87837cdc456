"""Checks the host folders that a container mounts: they exist, and the login may read and write
that of `code = "here"`. `options` lists folders that are never mounted."""

from __future__ import annotations

from hostler.base.errors import EngineError
from hostler.link.agent_link import stat_paths
from hostler.model.jobs import Job
from hostler.ports import HostLink
from hostler.runtimes.docker.options import Seen, bind_paths
from hostler.runtimes.docker.secrets import check_holds_no_secrets
from hostler_agent.json_values import Message


async def look_at_binds(link: HostLink, job: Job) -> dict[str, Seen]:
    """The state of the host folders that the job mounts.

    The agent reads them with the login's rights, before Docker reads them as root. This also starts
    automatic mounts (autofs).
    """
    paths = bind_paths(job)
    found = await stat_paths(link, paths) if paths else {}
    if job.code_path is not None:
        _check_code(link.host, job.code_path, found.get(job.code_path, {}))
    return {path: _seen(link.host, path, found.get(path, {})) for path in paths}


def _check_code(host: str, path: str, answer: Message) -> None:
    """Docker mounts the folder of a submission as root, so the login itself must have the right to
    read and write it. Raises EngineError."""
    _seen(host, path, answer)
    if not all(answer.get(key) for key in ("is_dir", "readable", "writable")):
        raise EngineError(
            host,
            f"{path} is not a folder that the login on {host} may read and write",
            remedy='use code = "snapshot", or ask its owner to give the login access',
        )
    check_holds_no_secrets(host, path, answer)


def _seen(host: str, path: str, answer: Message) -> Seen:
    if not answer.get("exists"):
        raise EngineError(
            host,
            f"{path} does not exist on {host}, or this login cannot see it",
            remedy="create it there, or remove the mount",
        )
    real = answer.get("real")
    return Seen(real if isinstance(real, str) else path, private=answer.get("shared") is False)
