"""Pipeline files for the submit form: which files and folders are listed (and how many),
completion, parameters, priority."""

from __future__ import annotations

import itertools
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import InputError, NotFoundError
from hostler.base.units import format_value

_LIMIT = 1024 * 1024
_MOST_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder to open, or a file to choose."""

    path: Path
    is_folder: bool
    note: str = ""


def entries(folder: Path) -> list[Entry]:
    """The parent folder, folders and TOML files, by name. Raises InputError."""
    try:
        found = sorted(folder.iterdir(), key=lambda path: path.name.lower())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    shown = [path for path in found if not path.name.startswith(".")]
    folders = [Entry(path, True) for path in shown if path.is_dir()]
    files = [Entry(path, False, _note(path)) for path in shown if path.suffix == ".toml"]
    above = [] if folder.parent == folder else [Entry(folder.parent, True, "up")]
    return [*files[:_MOST_ENTRIES], *above, *folders[:_MOST_ENTRIES]]


def _note(path: Path) -> str:
    """The kind of a file: the pipeline's name, or why it is not a pipeline."""
    try:
        document = _document(path)
    except (InputError, NotFoundError):
        return "cannot be read"
    stages = document.get("stages")
    if not isinstance(stages, dict):
        return "no pipeline"
    return f"{document.get('name', '')}, {len(stages)} stage{'' if len(stages) == 1 else 's'}"


def completed(text: str) -> str:
    """The path as far as it is the only one that begins so: folders and TOML files."""
    typed = Path(text or ".").expanduser()
    folder, begin = (typed, "") if text.endswith("/") or not text else (typed.parent, typed.name)
    try:
        names = [
            path.name + ("/" if path.is_dir() else "")
            for path in folder.iterdir()
            if path.name.startswith(begin)
            and (path.is_dir() or path.suffix == ".toml")
            and (begin.startswith(".") or not path.name.startswith("."))
        ]
    except OSError:
        return text
    common = _common_start(names)
    if len(common) <= len(begin):
        return text
    return text[: len(text) - len(begin)] + common


def _common_start(names: Sequence[str]) -> str:
    """The common beginning of all of them."""
    first, last = (min(names), max(names)) if names else ("", "")
    pairs = zip(first, last, strict=False)
    same = [a for a, _ in itertools.takewhile(lambda two: two[0] == two[1], pairs)]
    return "".join(same)


def params_of(file: Path) -> dict[str, str]:
    """The parameters that a pipeline declares, with their defaults as text. Raises InputError."""
    params = _document(file).get("params", {})
    if not isinstance(params, Mapping):
        raise InputError(f"{file}: params is not a table", remedy="See docs/pipeline.md")
    return {str(name): format_value(value) for name, value in params.items()}


def changed(defaults: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Only values that differ from the file's."""
    return {name: values[name] for name in defaults if values.get(name) != defaults[name]}


def run_args(
    file: Path, params: Mapping[str, str], title: str, priority: str, ends: Sequence[str]
) -> list[str]:
    """The arguments of `hostler run`."""
    args = ["run", str(file)]
    for name, value in params.items():
        args += ["-p", f"{name}={value}"]
    if title:
        args += ["--title", title]
    if priority not in ("", "0"):
        args += ["--priority", priority]
    return [*args, *ends]


def command_text(args: Sequence[str]) -> str:
    """The command as a user would type it."""
    return shlex.join(["hostler", *args])


def priority_of(text: str) -> int:
    """The typed priority. Raises InputError."""
    try:
        return int(text or "0")
    except ValueError:
        raise InputError(f"{text!r} is not a priority", remedy="Type 0 or less") from None


def _document(file: Path) -> Mapping[str, object]:
    try:
        with file.open("rb") as opened:
            data = opened.read(_LIMIT + 1)
        return tomllib.loads(data.decode("utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {file}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
