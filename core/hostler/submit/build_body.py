"""The one-stage pipeline of `hostler build FOLDER`: the stage's name and the default Dockerfile."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import tomli_w

from hostler.base.errors import InputError, NotFoundError
from hostler.base.json_types import JsonTable
from hostler.sbatch.pipeline import literal

STAGE = "image"
_OTHER = re.compile(r"[^a-z0-9._-]+")
_LONGEST = 40
_USUAL = "Dockerfile"


def build_body(
    folder: Path,
    *,
    dockerfile: str | None = None,
    target: str | None = None,
    args: Mapping[str, str] | None = None,
    hosts: Sequence[str] = (),
    tag: str | None = None,
) -> JsonTable:
    """The body for a build of a folder, without its source. Raises NotFoundError or InputError."""
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}", remedy="Name one with a Dockerfile")
    name = dockerfile or _USUAL
    if not (folder / name).is_file():
        remedy = "Name the folder that has it" if dockerfile else "Name it: hostler build -f FILE"
        raise InputError(f"{folder} has no {name}", remedy=remedy)
    stage: JsonTable = {"kind": "build"}
    said = {"dockerfile": dockerfile, "target": target, "tag": tag}
    stage |= {key: literal(value) for key, value in said.items() if value is not None}
    if args:
        stage["args"] = {key: literal(value) for key, value in args.items()}
    if hosts:
        stage["resources"] = {"host": [*map(literal, hosts)]}
    pipeline: JsonTable = {"name": _name(folder), "stages": {STAGE: stage}}
    return {"pipeline": tomli_w.dumps(pipeline), "file": "build", "params": {}}


def _name(folder: Path) -> str:
    plain = _OTHER.sub("-", folder.resolve().name.lower()).strip("._-")
    return plain[:_LONGEST] or "image"
