"""Makes the body of a submission: the default file pipeline.toml, which variables and programs
of the shell go along, `--env`, `--include`, the code folder."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hostler.base.errors import InputError, NotFoundError
from hostler.base.json_types import Json, JsonTable
from hostler.base.private import owner_name
from hostler.base.programs import find_program
from hostler.base.text import is_text, texts_in
from hostler.base.text_file import read_text
from hostler.base.units import format_size
from hostler.submit.pipeline_file import check_pipeline_file, folder_remedy, missing_file
from hostler.submit.remembered import check_sent
from hostler.submit.secrets import (
    all_own_secrets,
    check_params,
    check_unseen,
    own_secrets,
    with_own,
)
from hostler.submit.words import pipeline_tables
from hostler_agent.json_values import strings, table

if TYPE_CHECKING:
    from hostler.model.views.runs import RunView
    from hostler.packing import PackedSource
    from hostler.quick.socket import Found

DEFAULT_FILE = "pipeline.toml"
_ENVIRONMENTS = ("VIRTUAL_ENV", "CONDA_PREFIX")
_WORDS = re.compile(r"[\w./+-]+")
_MOST_PROGRAMS = 200
_SHELL_NAMES = ("PATH", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "LD_LIBRARY_PATH")

_HEAD = 16 * 1024
"""Bytes that identify the kind of a file."""
_MOST_NAMES = 100_000
"""The most names that a request may contain."""


def pipeline_body(
    file: Path,
    params: Mapping[str, str],
    environ: Mapping[str, str],
    args: Sequence[str] = (),
    *,
    secrets: Iterable[str] | Mapping[str, str] = (),
) -> JsonTable:
    """The body for a pipeline file, without its source. `args`: the words of `{args}`. `secrets`:
    values, or names of variables that the caller's environment has. Raises NotFoundError or
    InputError."""
    return text_body(pipeline_text(file), file, params, environ, args, secrets=secrets)


def text_body(
    text: str,
    file: Path,
    params: Mapping[str, str],
    environ: Mapping[str, str],
    args: Sequence[str] = (),
    *,
    secrets: Iterable[str] | Mapping[str, str] = (),
) -> JsonTable:
    """The same for the text of a pipeline file, which need not be written."""
    check_params(params)
    own = all_own_secrets(secrets, environ)
    from hostler.submit.line_files import lines_of_files  # what packs code takes time to load

    lines = lines_of_files(text, file.parent)
    check_unseen(own, [text, *params.values(), *args, *texts_in(lines)])
    return {
        "pipeline": text,
        "file": str(file),
        "params": dict(params),
        **({"args": [*args]} if args else {}),
        **lines,
        "env": {**shell_env(environ)},
        **_programs(env_programs([text, *params.values(), *args], environ)),
        **with_own(own),
    }


def pipeline_text(file: Path) -> str:
    """The text of a pipeline file. Raises NotFoundError or InputError."""
    name = str(file)
    if file.is_dir():
        has_pipeline = (file / DEFAULT_FILE).is_file()
        raise InputError(
            f"{name} is a folder, not a pipeline file",
            remedy=folder_remedy(name, has_pipeline=has_pipeline),
        )
    try:
        with file.open("rb") as opened:
            check_pipeline_file(name, opened.read(_HEAD), executable=os.access(file, os.X_OK))
        return read_text(name)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"there is no pipeline file {name}",
            remedy=missing_file(name, program="/" not in name and find_program(name) is not None),
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read: {error}") from error


def command_body(
    words: Sequence[str], options: Mapping[str, Json], environ: Mapping[str, str], folder: Path
) -> JsonTable:
    """The body for one command, without its source. Raises InputError.

    `options` are those of the API (`model.pipeline_file`), but `env` may also be a list of
    NAME=VALUE, or NAME for the value that the caller's environment has, and `each` are names of
    files or globs in `folder`. `secrets` are values by name, or names: of variables that the
    caller's environment has, else of what the person has set. What is left out is as the daemon
    has it.
    """
    command: JsonTable = {"command": [*words], "env": {}, **options}
    named = _own_of(command)
    if isinstance(command["env"], list):
        command["env"] = {**stage_env(strings(command["env"]), environ)}
    if "each" in options:
        command["each"] = [*matching(strings(options["each"]), folder)]
    programs = {} if options.get("image") else env_programs(words, environ)
    brought = _brought(named, command, environ) if named else {}
    return {"command": command, "env": {**shell_env(environ)}, **_programs(programs), **brought}


def _brought(
    named: Iterable[str] | Mapping[str, str], command: JsonTable, environ: Mapping[str, str]
) -> JsonTable:
    """The secrets that a command takes from this machine."""
    own = own_secrets(named, environ)
    check_unseen(own, [*strings(command["command"]), *map(str, table(command["env"]).values())])
    return with_own(own)


def _own_of(command: JsonTable) -> list[str] | dict[str, str]:
    """The submitted part about secrets; the command keeps their names."""
    said = command.get("secrets")
    if not isinstance(said, dict):
        return strings(said)
    command["secrets"] = [*said]
    return {name: str(value) for name, value in said.items()}


def matching(patterns: Iterable[str], folder: Path) -> list[str]:
    """The files of a folder that match, sorted, pattern by pattern. Raises InputError."""
    found: dict[str, None] = {}
    for pattern in patterns:
        is_name = os.path.lexists(folder / pattern)  # though it has signs of a pattern
        names = [pattern] if is_name else _glob(pattern, folder)
        if not names:
            raise InputError(
                f"no file matches {pattern!r}", remedy=f"Check: ls -d {shlex.quote(pattern)}"
            )
        # A name in the place of an argument is no option of the program.
        found |= dict.fromkeys(f"./{name}" if name.startswith("-") else name for name in names)
    for name in found:
        if not is_text(name) or not name.isprintable():
            raise InputError(
                f"the name of the file {name!r} has unprintable characters", remedy="Rename it"
            )
    return list(found)


def _glob(pattern: str, folder: Path) -> list[str]:
    return sorted(glob.glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207


def _programs(found: Mapping[str, str]) -> JsonTable:
    return {"programs": {**found}} if found else {}


def env_programs(texts: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The words of commands that mean a program of this shell's conda or virtual environment, and
    the paths they mean here."""
    prefixes = tuple(
        f"{environ[name].rstrip('/')}/"
        for name in _ENVIRONMENTS
        if environ.get(name, "").startswith("/")
    )
    names = {name for prefix in prefixes for name in _listed(f"{prefix}bin")}
    words = {word for text in texts for word in _WORDS.findall(text)} if prefixes else set()
    found: dict[str, str] = {}
    for word in sorted(word for word in words if word in names or word.startswith(prefixes)):
        path = word if "/" in word else shutil.which(word, path=environ.get("PATH", ""))
        if path and path.startswith(prefixes) and _is_program(path):
            found[word] = path
    return dict(list(found.items())[:_MOST_PROGRAMS])


def _listed(folder: str) -> list[str]:
    try:
        return [entry.name for entry in Path(folder).iterdir()]
    except OSError:
        return []


def _is_program(path: str) -> bool:
    return Path(path).is_file() and os.access(path, os.X_OK)


def shell_env(environ: Mapping[str, str]) -> dict[str, str]:
    """What the shell gives to process stages: where its programs are."""
    found = {name: environ[name] for name in _SHELL_NAMES if environ.get(name)}
    for name, value in found.items():
        _check_value(name, value)
    return found


def _check_value(name: str, value: str) -> None:
    if not is_text(value):
        raise InputError(
            f"the variable {name} of your shell is not UTF-8",
            remedy=f"Correct it, or leave it out: unset {name}",
        )


def stage_env(given: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """--env: NAME=VALUE, or NAME for the shell's own value. Raises InputError."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name:
            raise InputError(f"--env {text!r} has no name", remedy="Write NAME=VALUE or NAME")
        if not equals:
            if name not in environ:
                raise InputError(f"--env {name}: your shell does not set this variable")
            value = environ[name]
            _check_value(name, value)
        found[name] = value
    return found


def wants_snapshot(body: Mapping[str, Json]) -> bool:
    """Whether any stage takes a copy of the code along. A file that cannot be read wants none:
    the daemon will say what is wrong with it."""
    if body.get("command") is not None:
        return table(body["command"]).get("code") == "snapshot"
    document = pipeline_tables(body)
    usual = table(document.get("defaults")).get("code", "snapshot")
    stages = table(document.get("stages")).values()
    return any(isinstance(s, dict) and s.get("code", usual) == "snapshot" for s in stages)


def with_file_names(body: JsonTable, folder: Path) -> JsonTable:
    """The body for a check or a plan: the names of the files instead of the files."""
    include = included(body)
    body = {**body, "source": {"path": str(text_path(folder.absolute()))}}
    if not wants_snapshot(body):
        return body
    command = table(body.get("command"))
    text = " ".join(command) if command else str(body.get("pipeline", ""))
    return body | names_of_files(text, folder, include)


def included(body: Mapping[str, Json]) -> list[str]:
    """Files that git ignores and that are sent anyway."""
    return strings(table(body.get("source")).get("include"))


def check_no_include(body: Mapping[str, Json]) -> None:
    """Raises InputError where files are to be included and nothing is sent. A folder that is used
    itself has them all."""
    code = table(body.get("command")).get("code")
    if included(body) and code != "here":
        raise InputError(
            "--include needs a copy of the code, and none is sent",
            remedy="Use --code snapshot" if code else 'Set code = "snapshot"',
        )


def skipped_lines(packed: PackedSource, most: int = 5) -> list[str]:
    """Files that were left out although git does not ignore them: this note avoids surprises."""
    named = {
        one.path for one in packed.left_out
    }  # those are listed with the option that sends them
    skipped = [entry for entry in packed.skipped if entry.path not in named]
    lines = [f"left out: {entry.path} ({entry.reason})" for entry in skipped[:most]]
    rest = len(skipped) - most
    return [*lines, f"left out: {rest} more"] if rest > 0 else lines


def left_out_lines(packed: PackedSource, most: int = 5) -> list[str]:
    """Files that commands name and that are not sent, with the option that sends them."""
    lines = [
        f"left out, {one.reason}: {one.path} ({format_size(one.size)}); --include "
        f"{shlex.quote(one.include)} sends it"
        for one in packed.left_out[:most]
    ]
    rest = len(packed.left_out) - most
    return [*lines, f"left out: {rest} more that the command names"] if rest > 0 else lines


def names_of_files(text: str, folder: Path, include: Sequence[str] = ()) -> JsonTable:
    """The names of a folder's files, for a check or a plan before they are sent: where the pipeline
    of this text has a use for them."""
    if not any(key in text for key in ("glob", "venv", "setup_files", "conda")):
        return {}
    # No request can carry other names; the daemon reads them from the source itself.
    from hostler.packing import source_names  # takes time to load

    files, links = (list(filter(is_text, names)) for names in source_names(folder, include))
    if "glob" in text or len(files) + len(links) <= _MOST_NAMES:
        return {"files": [*files], "links": [*links]}
    return {}


def code_folder(old: RunView, found: Found, else_: str) -> Path:
    """The folder of a run's code. Raises InputError if it is not on this machine, or if another
    user chose it or its contents."""
    path = old.source.path or ""
    if not path or not Path(path).is_dir():
        raise InputError(
            f"the code of {old.run_id} came from {path or 'nowhere'}, which is not on this machine",
            remedy=f"Run this on the machine that has the folder, or {else_}",
        )
    if old.uid != os.geteuid():
        # Its owner named the folder, and what to send of it that else stays.
        raise InputError(
            f"{old.run_id} is a run of {old.owner}: only {old.owner} can send its code",
            remedy=else_[:1].upper() + else_[1:],
        )
    check_sent(found, Path(path), old.source.include, old.file or "", else_)
    _check_whose(Path(path))
    return Path(path)


def _check_whose(folder: Path) -> None:
    """Raise InputError where the folder, or a link that leads to it, is another user's now, unless
    the person stands in it: it may have been put there after the run."""
    with contextlib.suppress(OSError):
        if Path.cwd().is_relative_to(folder.resolve()):
            return
    links = [step.lstat() for step in (folder, *folder.parents) if step.is_symlink()]
    for found in (folder.stat(), *links):
        if found.st_uid not in (os.geteuid(), 0):
            raise InputError(
                f"{folder} belongs to {owner_name(found)} now: its files would run with your "
                "rights",
                remedy=f"If you trust them, go there first: cd {shlex.quote(str(folder))}",
            )


def current_folder() -> Path:
    """The working folder as the user sees it (symbolic links kept), for `code = "here"`. Raises
    InputError if it was removed meanwhile, or its name is not valid text."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise InputError(
            "the folder that you are in was removed", remedy="Go to another one: cd"
        ) from None
    shown = os.environ.get("PWD", "")
    same = shown.startswith("/") and os.path.realpath(shown) == str(here)
    return text_path(Path(shown) if same else here)


def text_path(folder: Path) -> Path:
    """The folder. Raises InputError if its name is not valid text."""
    if is_text(str(folder)):
        return folder
    raise InputError(
        f"the name of the folder {folder} is not UTF-8", remedy="Rename it, or run from another one"
    )
