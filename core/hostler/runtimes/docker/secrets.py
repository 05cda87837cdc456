"""Puts the secrets of a job onto its host before the container is made; refuses mounts that would
show other secrets, and images without `sh`."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from hostler.base.errors import EngineError
from hostler.model.jobs import Job
from hostler.ports import HostLink
from hostler.runtimes.command import secret_values
from hostler.runtimes.docker.body import ContainerBody
from hostler.runtimes.docker.entry import FOLDER, needs_shell, with_secrets
from hostler.runtimes.docker.options import search_path
from hostler_agent.json_values import Message, strings, table

if TYPE_CHECKING:
    from hostler.runtimes.docker.engine import Engine

_HOLDS_SECRETS = re.compile(r"/|/run|/run/user(?:/.*)?|/dev|/dev/shm|/dev/shm/hostler-secrets-.*")
"""Folders of a host with the secrets of all its attempts: see `hostler_agent.secretfiles`."""


def check_holds_no_secrets(host: str, path: str, answer: Message) -> None:
    """Raises EngineError for a folder that would show a container the secrets of other attempts of
    the same login. `answer`: the host's report on the folder."""
    real = answer.get("real")
    if _HOLDS_SECRETS.fullmatch(posixpath.normpath(real if isinstance(real, str) else path)):
        raise EngineError(
            host,
            f"{path} is a folder of the system, which contains secrets of running stages",
            remedy='use another folder, or code = "snapshot"',
        )


async def secrets_placed(
    link: HostLink, job: Job, body: ContainerBody, config: Message | None
) -> ContainerBody:
    """Put the secret files on the host; returns the body that mounts them. `config`: the image's
    settings. Raises EngineError if the host has no place for them."""
    entry = strings((config or {}).get("Entrypoint") or [])
    asked = {"attempt_id": job.attempt_id, "values": secret_values(job)}
    answer = await link.call("secret.put", asked)
    return with_secrets(body, str(answer["folder"]), entry, job)


async def check_shell(engine: Engine, job: Job, ref: str) -> None:
    """Raises EngineError if a container needs a shell for its secrets and has none. Docker does not
    report this: its init process in the container just ends with 127."""
    if not needs_shell(job):
        return
    found = await engine.inspect(ref) or {}
    env = strings(table(found.get("Config")).get("Env") or [])
    for folder in dict.fromkeys(("/bin", *search_path(env).split(":"))):
        if folder.startswith("/") and await engine.has_file(ref, posixpath.join(folder, "sh")):
            return
    await engine.remove(ref)
    raise EngineError(
        engine.host,
        f"the image {job.image} has no sh, which is needed for secrets as variables",
        remedy=f"Use secret_files instead of secrets: the command then reads files in {FOLDER}",
    )
