"""The pipeline file of `hostler deploy` for a folder with a Dockerfile: which of CMD,
ENTRYPOINT, EXPOSE and HEALTHCHECK are used or refused, and its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from hostler.base.errors import InputError
from hostler.base.image_settings import ImageSettings, settings_of
from hostler.base.json_types import Json, JsonTable
from hostler.base.text_file import read_text
from hostler.sbatch.pipeline import literal

USUAL = "Dockerfile"
_IMAGE, _SERVICE = "image", "serve"
_OTHER = re.compile(r"[^a-z0-9._-]+")
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Flags:
    """The user's options for the service. None: the value of the Dockerfile, or the default."""

    name: str | None = None
    port: int | None = None
    health: str | None = None
    gpus: int | None = None
    replicas: int | None = None
    command: str | None = None

    @property
    def given(self) -> list[str]:
        """The options that were used."""
        names = ("name", "port", "health", "gpus", "replicas", "command")
        return [f"--{name}" for name in names if getattr(self, name) is not None]


def is_dockerfile(path: Path) -> bool:
    """Whether a file has the name of a Dockerfile."""
    return path.name.startswith(USUAL) or path.name.lower().endswith(".dockerfile")


def folder_pipeline(folder: Path, dockerfile: str, flags: Flags) -> str:
    """The text of the pipeline file. Raises InputError if a required value is missing in both the
    Dockerfile and the flags."""
    said = settings_of(_read(folder / dockerfile))
    build: JsonTable = {"kind": "build"}
    if dockerfile != USUAL:
        build["dockerfile"] = literal(dockerfile)
    service: JsonTable = {
        "kind": "service",
        "image": _IMAGE,
        "code": "none",
        "command": _command(said, flags, folder / dockerfile),
        "workdir": literal(said.folder or "/"),
        "port": _port(said, flags, folder / dockerfile),
        "health": literal(flags.health or said.health or "/"),
    }
    if flags.replicas is not None:
        service["replicas"] = flags.replicas
    if flags.gpus:
        service["resources"] = {"gpus": flags.gpus}
    name = flags.name or name_of(folder)
    return tomli_w.dumps({"name": name, "stages": {_IMAGE: build, _SERVICE: service}})


def _read(file: Path) -> str:
    try:
        return read_text(str(file))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def name_of(folder: Path) -> str:
    """The name of its service. Raises InputError if the folder's name has no letter or digit."""
    plain = _OTHER.sub("-", folder.resolve().name.lower()).strip("._-")[:_LONGEST].strip("._-")
    if not plain:
        raise InputError(
            f"the folder {folder.resolve()} has a name that is not valid for a service",
            remedy="name the service: --name NAME",
        )
    return plain


def _command(said: ImageSettings, flags: Flags, file: Path) -> Json:
    if flags.command is not None:
        return literal(flags.command)
    if said.command:
        return [*map(literal, said.command)]
    if said.has_entrypoint:
        raise InputError(
            f"{file} has an ENTRYPOINT and no CMD, and a stage needs a command",
            remedy="write its last arguments as CMD, or pass them: --command TEXT",
        )
    raise InputError(
        f"{file} has no CMD, so the service has no command",
        remedy="add one, or pass the command: --command 'python3 serve.py'",
    )


def _port(said: ImageSettings, flags: Flags, file: Path) -> int:
    if flags.port is not None:
        return flags.port
    if len(said.ports) == 1:
        return said.ports[0]
    several = ", ".join(map(str, said.ports))
    what = f"several ports ({several})" if several else "no port (EXPOSE)"
    raise InputError(
        f"{file} names {what}: where the service answers is not known",
        remedy=f"say it: --port {said.ports[0] if several else 8000}",
    )
