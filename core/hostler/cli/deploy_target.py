"""What `hostler deploy` deploys: a named pipeline file, the folder's pipeline.toml, or one made
for a Dockerfile, with the options for that (--port, --health)."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

from hostler.base.errors import InputError, NotFoundError
from hostler.cli.options import natural
from hostler.submit.body import DEFAULT_FILE, pipeline_text
from hostler.submit.folder_service import USUAL, Flags, folder_pipeline, is_dockerfile


@dataclass(frozen=True, slots=True)
class Target:
    """A pipeline file, in a folder with code."""

    file: Path
    text: str
    is_made: bool = False
    """The file does not exist: it is generated from a folder with a Dockerfile."""

    def lines(self, *, whole: bool = False) -> list[str]:
        """The lines to print about a generated pipeline."""
        if not self.is_made:
            return []
        if not whole:
            return [
                f"{self.file} is deployed with default values; show them: hostler deploy --print"
            ]
        text = [f"  {line}".rstrip() for line in self.text.splitlines()]
        return ["", f"pipeline file made from {self.file} (--print):", *text]


def add_folder_options(parser: argparse.ArgumentParser) -> None:
    """The options for a folder with a Dockerfile and without a pipeline file."""
    group = parser.add_argument_group("a folder with a Dockerfile and no pipeline file")
    group.add_argument(
        "--print", action="store_true", help="only print the pipeline file made from it"
    )
    group.add_argument(
        "--name", metavar="NAME", help="name of the service (default: name of the folder)"
    )
    group.add_argument(
        "--port", type=natural, metavar="N", help="port of the service (default: EXPOSE)"
    )
    group.add_argument(
        "--health", metavar="PATH",
        help='path of the health check, or "tcp" (default: from HEALTHCHECK, or /)',
    )  # fmt: skip
    group.add_argument(
        "--gpus", type=natural, metavar="N", help="GPUs of each replica (default: 0)"
    )
    group.add_argument(
        "--replicas", type=natural, metavar="N", help="number of replicas (default: 1)"
    )
    group.add_argument("--command", metavar="TEXT", help="command of the service (default: CMD)")


def target_of(args: argparse.Namespace) -> Target:
    """The target that the user named. Raises NotFoundError, InputError."""
    given = Path(args.file)
    flags = Flags(**{field.name: getattr(args, field.name) for field in fields(Flags)})
    if given.is_dir():
        if (given / DEFAULT_FILE).is_file():
            return _of_file(given / DEFAULT_FILE, flags)
        return _of_folder(given, USUAL, flags)
    if given.is_file() and is_dockerfile(given):
        return _of_folder(given.parent, given.name, flags)
    return _of_file(given, flags)


def _of_file(file: Path, flags: Flags) -> Target:
    text = pipeline_text(file)
    if flags.given:
        raise InputError(
            f"{', '.join(flags.given)} cannot be used with the pipeline file {file}",
            remedy="set the value in that file, or name the Dockerfile instead of the folder",
        )
    return Target(file, text)


def _of_folder(folder: Path, name: str, flags: Flags) -> Target:
    if not (folder / name).is_file():
        raise NotFoundError(
            f"{folder} contains no {DEFAULT_FILE} and no {name}",
            remedy='write one: a pipeline file has a stage of kind = "service", see '
            "docs/pipeline.md; a Dockerfile alone will do, too",
        )
    return Target(folder / name, folder_pipeline(folder, name, flags), is_made=True)
