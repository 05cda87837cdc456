"""Recognises a file that is no pipeline (a Python program, a notebook, a dstack or SkyPilot
file, YAML), and suggests the right command. Pure."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath

from hostler.base.errors import InputError

_ELF = b"\x7fELF"
_INTERPRETERS = {
    ".py": ("a Python program", "python3"),
    ".sh": ("a shell script", "bash"),
    ".bash": ("a shell script", "bash"),
    ".zsh": ("a shell script", "zsh"),
    ".r": ("an R program", "Rscript"),
    ".jl": ("a Julia program", "julia"),
    ".ipynb": ("a notebook", "jupyter nbconvert --to notebook --execute"),
}
_DIRECTIVE = re.compile(rb"^#SBATCH\s", re.MULTILINE)
_OTHER_TOOLS = (
    (
        "dstack",
        re.compile(
            rb"^type: *(?:task|service|dev-environment|fleet|volume|gateway)\b", re.MULTILINE
        ),
    ),
    ("SkyPilot", re.compile(rb"^(?:run|setup|file_mounts|num_nodes):", re.MULTILINE)),
)
_OTHER_FORMS = (
    ".yaml", ".yml", ".json", ".cfg", ".ini", ".txt", ".md", ".rst", ".csv", ".tsv", ".log", ".out",
)  # fmt: skip


def check_pipeline_file(name: str, head: bytes, *, executable: bool) -> None:
    """Raise InputError, with the command to type, where a file's name or first bytes are those of a
    program. A file that may be TOML is left to its reader."""
    suffix = PurePath(name).suffix.lower()
    if suffix == ".toml":
        return
    if suffix in _INTERPRETERS:
        kind, interpreter = _INTERPRETERS[suffix]
        raise _no_pipeline(name, kind, f"{interpreter} {shlex.quote(name)}", head)
    if head.startswith((b"#!", _ELF)):
        raise _no_pipeline(name, "a program", _called(name, head, executable=executable), head)
    if suffix in _OTHER_FORMS:
        other = next((tool for tool, sign in _OTHER_TOOLS if sign.search(head)), None)
        is_of = f"a file of {other}" if other else "not a pipeline file"
        page = (
            "docs/coming-from.md has its words and Hostler's" if other else "See docs/pipeline.md"
        )
        raise InputError(
            f"{name} is {is_of}: pipelines are written in TOML",
            remedy=f"{page}, or run a command: hostler run -- CMD",
        )


def missing_file(name: str, *, program: bool) -> str:
    """The remedy for a missing file; `program`: a program of that name is on PATH."""
    command = shlex.quote(name) if program else "CMD"
    return f"Name one, or run a command: hostler run -- {command}"


def folder_remedy(name: str, *, has_pipeline: bool) -> str:
    """The remedy if a folder was named."""
    if has_pipeline:
        return f"Name the file in it: hostler run {shlex.quote(name.rstrip('/'))}/pipeline.toml"
    return "Name a pipeline file in it, or run a command: hostler run -- CMD"


def _called(name: str, head: bytes, *, executable: bool) -> str:
    quoted = shlex.quote(name if "/" in name else f"./{name}")
    if executable or not head.startswith(b"#!"):
        return quoted
    first = head[2:].split(b"\n", 1)[0].decode("utf-8", "replace").split()
    words = first[1:] if first and first[0].endswith("/env") else first
    interpreter = PurePath(words[0]).name if words else "sh"
    return f"{shlex.quote(interpreter)} {shlex.quote(name)}"


def _no_pipeline(name: str, kind: str, command: str, head: bytes) -> InputError:
    typed = f"hostler run -- {command}"
    if _DIRECTIVE.search(head):
        return InputError(
            f"{name} is {kind}, and no batch script: its #SBATCH lines come after its first "
            "command, where sbatch ignores them",
            remedy=f"Move them up to its first line, or run it without them: {typed}",
        )
    return InputError(f"{name} is {kind}, not a pipeline file", remedy=f"Run it: {typed}")
