"""Turns one stage's table into stages: valid stage names, defaults applied, placeholders filled,
shell operators in a command without a shell refused.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TypedDict

from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import keys_of
from hostler.base.readers import MAX_COMMAND_LINE, PLAIN, FromSubmitter, split_command
from hostler.base.text import shown
from hostler.decide.lifecycle import LIFECYCLES
from hostler.model.pipeline_file import StageTable, is_line
from hostler.model.pipelines import OnLost, Resources, Scalar, Stage
from hostler.model.services import Service
from hostler.spec.checks import check_together, runtime_of
from hostler.spec.drafts import Context, Draft, mended, places_of
from hostler.spec.expansion import TOO_LARGE
from hostler.spec.graph import Links
from hostler.spec.matrix import Cell, read_matrix
from hostler.spec.placeholders import Filler, Split, depends_on_matrix
from hostler.spec.problems import Path, Problems, validate

_BASE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RESERVED = ("params", "matrix")
MAX_NAME = 63
_OTHERWISE = frozenset(
    {
        "name",
        "base",
        "shell",
        "runtime",
        "workdir",
        "conditions",
        "resources",
        "needs",
        "inputs",
        "env",
        "mounts",
        "secrets",
        "secret_files",
        "context",
        "args",
        "on_lost",
        "keep",
    }
)
_SAME = tuple(
    {field.name for field in fields(Stage)}
    & {field.name for field in fields(StageTable)} - _OTHERWISE
)
"""Fields of a stage that are the same as in its table."""
_OPERATORS = frozenset({";", "&&", "||", "|", "&", ">", ">>", "<", "<<", "2>", "2>&1", "&>"})


def read_draft(base: str, value: Json, context: Context) -> Draft:
    """Read one table under [stages]. Problems are noted; the draft then has no tables."""
    path: Path = ("stages", base)
    problems = context.problems
    _check_name(base, path, problems)
    if not isinstance(value, dict):
        problems.add(path, f"should be a table: write [stages.{base}] above its keys")
        return Draft(base, (), (), False, frozenset())
    own = frozenset(value) | _own_resources(value)
    merged = _split(_merge(value, context.defaults), path, problems)
    has_matrix = "matrix" in value
    cells = _cells(value["matrix"], path, context) if has_matrix else ({},)
    filled = {key: item for key, item in merged.items() if key != "matrix"}
    grows = has_matrix or not context.literal
    if cells and grows and not context.room.take(filled, context.params, cells):
        problems.add(path, TOO_LARGE, "put long commands into a file of the source")
        return Draft(base, (), (), has_matrix, own)
    if cells is None:
        kept = _without_matrix(merged)
        _table(kept, {}, own, path, context)
        left_out = frozenset(merged) - frozenset(kept)
        return _with_rest(Draft(base, (), (), True, own), kept, left_out, context)
    tables = _tables(merged, cells, own, path, context)
    if problems.has(path):
        return _with_rest(Draft(base, cells, (), has_matrix, own), merged, frozenset(), context)
    if has_matrix and len(f"{base}.{len(cells) - 1}") > MAX_NAME:
        problems.add(path, f"the names of its cells are longer than {MAX_NAME} characters")
    return Draft(base, cells, tables, has_matrix, own)


def _cells(value: Json, path: Path, context: Context) -> tuple[Cell, ...] | None:
    path = (*path, "matrix")
    if not context.room.take(value, context.params):
        context.problems.add(path, TOO_LARGE)
        return None
    filler = Filler(_names(context.params, {}), path, context.problems)
    filled = value if context.literal else filler.value(value)
    return read_matrix(filled, path, context.problems, context.glob, context.lines, context.room)


def _check_name(base: str, path: Path, problems: Problems) -> None:
    if base in _RESERVED:
        problems.add(path, f"{shown(base)} cannot be a stage: expressions use this name")
    elif not _BASE.fullmatch(base):
        problems.add(
            path,
            f"{shown(base)} cannot name a stage: start with a small letter or digit, followed by "
            "at most 62 of a-z 0-9 _ -",
            "dots are for cells" if "." in base else "",
        )


def _own_resources(table: JsonTable) -> frozenset[str]:
    resources = table.get("resources")
    return (
        frozenset(f"resources.{key}" for key in resources)
        if isinstance(resources, dict)
        else (frozenset())
    )


def _merge(own: JsonTable, defaults: JsonTable) -> JsonTable:
    """The stage's keys over the defaults; `env` and `resources` are merged key by key.

    A default for the other runtime is dropped: a stage that says `runtime = "process"` has no
    inherited image, and one in an image no inherited `venv`, `conda`, `modules` or `setup`. A
    `venv` of the stage replaces an inherited `conda` or `setup`, and vice versa.
    """
    merged = {**defaults, **own}
    for key in ("env", "resources"):
        usual, said = defaults.get(key), own.get(key)
        if isinstance(usual, dict) and isinstance(said, dict):
            merged[key] = {**usual, **said}
    if own.get("runtime") == "process" and "image" not in own:
        merged.pop("image", None)
    if "image" in own and "runtime" not in own:
        merged.pop("runtime", None)
    merged = _of_its_kind(merged, own)
    for key in ("venv", "conda", "modules", "setup") if "image" in merged else ():
        if key not in own:
            merged.pop(key, None)
    for key, other in (("venv", "conda"), ("conda", "venv"), ("venv", "setup"), ("setup", "venv")):
        if key in own and other not in own:
            merged.pop(other, None)
    return merged


def _of_its_kind(merged: JsonTable, own: JsonTable) -> JsonTable:
    """The table without inherited keys that have no meaning for the kind."""
    kind = own.get("kind")
    lifecycle = LIFECYCLES.get(kind) if isinstance(kind, str) else None
    if lifecycle is None or lifecycle.takes is None:
        return merged
    takes = lifecycle.takes - lifecycle.inherits_not
    kept = {key: item for key, item in merged.items() if key in own or key in takes}
    resources, said = kept.get("resources"), own.get("resources")
    if isinstance(resources, dict):
        own_names = said if isinstance(said, dict) else {}
        kept["resources"] = {
            name: item
            for name, item in resources.items()
            if name in own_names or f"resources.{name}" in takes
        }
    return kept


def _split(table: JsonTable, path: Path, problems: Problems) -> JsonTable:
    """The command as arguments before placeholders are filled: a value is never split.

    A shell line stays one text, even if it was written as a list of one.
    """
    command = table.get("command")
    if is_line(table):
        if isinstance(command, list) and len(command) == 1:
            return {**table, "command": command[0]}
    elif isinstance(command, str):
        operator = shell_operator(command)
        if operator is not None:
            problems.add(
                (*path, "command"),
                f"{operator!r} works only in a shell, and this command runs without one",
                "add shell = true; or write a list of arguments to pass it on",
            )
        try:
            return {**table, "command": Split(split_command(command))}
        except ValueError as error:
            problems.add((*path, "command"), str(error))
    return table


def shell_operator(command: str) -> str | None:
    """The first operator outside quotation marks that only a shell understands: it would become an
    argument of the first program, which is never intended."""
    if len(command) > MAX_COMMAND_LINE:
        return None  # told by the reader of the text, as is an open quotation mark
    try:
        words = shlex.split(command, posix=False)
    except ValueError:
        return None
    for word in words:
        if word in _OPERATORS:
            return word
        if word.endswith(";") and not word.endswith("\\;") and not set(word) & {"'", '"'}:
            return ";"
    return None


def _without_matrix(table: JsonTable) -> JsonTable:
    """The checkable part of a stage whose matrix is wrong."""
    kept = {key: item for key, item in table.items() if not depends_on_matrix(item)}
    kept.pop("matrix", None)
    return {"command": ["true"], **kept} if "command" in table else kept


def _names(params: Mapping[str, Scalar], cell: Cell, stage: str | None = None) -> dict[str, Scalar]:
    return {
        **({} if stage is None else {"stage.name": stage}),
        **{f"params.{key}": value for key, value in params.items()},
        **{f"matrix.{key}": value for key, value in cell.items()},
    }


def _tables(
    merged: JsonTable,
    cells: tuple[Cell, ...],
    own: frozenset[str],
    path: Path,
    context: Context,
) -> tuple[StageTable, ...]:
    """The checked table of each cell, () when one is wrong."""
    first = _table(merged, cells[0], own, path, context, 0)
    if first is None:
        return ()
    if len(cells) == 1 or not depends_on_matrix(merged):
        return (first,) * len(cells)
    tables = [first]
    for index, cell in enumerate(cells[1:], 1):
        table = _table(merged, cell, own, path, context, index)
        if table is None:
            return ()
        tables.append(table)
    return tuple(tables)


def _table(
    merged: JsonTable,
    cell: Cell,
    own: frozenset[str],
    path: Path,
    context: Context,
    index: int = 0,
) -> StageTable | None:
    filled = _filled(merged, cell, path, context, context.problems, index)
    table = validate(StageTable, filled, path, context.problems)
    if table is None or context.problems.has(path):
        return None
    check_together(table, own, path, context.problems)
    return None if context.problems.has(path) else table


def _filled(
    merged: JsonTable,
    cell: Cell,
    path: Path,
    context: Context,
    problems: Problems,
    index: int = 0,
) -> JsonTable:
    filled = dict(merged)
    if not context.literal:
        name = f"{path[1]}.{index}" if "matrix" in merged else f"{path[1]}"
        names = _names(context.params, cell, name)
        filled = Filler(names, path, problems, context.args).table(merged)
    if is_line(filled) and isinstance(filled.get("command"), str):
        filled["command"] = [filled["command"]]
    return filled


def _with_rest(
    draft: Draft, merged: JsonTable, left_out: frozenset[str], context: Context
) -> Draft:
    """The draft of an invalid table with its valid part: one mistake must not hide others."""
    path: Path = ("stages", draft.base)
    bad = context.problems.paths(path)
    unheard = Problems("", "")  # what is wrong was told already
    cell = draft.cells[0] if draft.cells else {}
    filled = _filled(merged, cell, path, context, unheard)
    wrong = left_out | {str(at[len(path)]) for at in bad if len(at) > len(path)}
    right = mended(filled, path, bad)
    right.pop("matrix", None)
    command: JsonTable = {"command": ["true"]} if "command" in filled else {}
    table = validate(StageTable, {**command, **right}, path, unheard)
    if table is None:
        return draft
    check_together(table, draft.own, path, context.problems, wrong)
    places: dict[str, tuple[int, ...]] = {
        key: places_of(value, (*path, key), bad) if key in right else ()
        for key in ("needs", "pass")
        if key in wrong and isinstance(value := filled.get(key), list)
    }
    return replace(draft, rest=table, wrong=wrong, places=places)


def build_stages(draft: Draft, links: list[Links]) -> list[Stage]:
    """The stages of a draft, one per cell, with their dependencies."""
    stages: list[Stage] = []
    template: Stage | None = None
    last: StageTable | None = None
    for name, cell, table, link in zip(draft.names, draft.cells, draft.tables, links, strict=True):
        if template is None or table is not last:
            template, last = _stage(draft.base, table), table
        stages.append(
            replace(
                template,
                name=name,
                cell=cell,
                needs=link.needs,
                needs_ended=link.needs_ended,
                inputs=link.inputs,
                spread=link.spread,
                built_by=link.image,
            )
        )
    return stages


def _stage(base: str, table: StageTable) -> Stage:
    same = {name: getattr(table, name) for name in _SAME}
    return Stage(
        **same,
        name=base,
        base=base,
        shell=bool(table.shell),
        plain_shell=table.shell == PLAIN,
        runtime=runtime_of(table),
        workdir=None if table.workdir == "." else table.workdir,
        conditions=table.conditions or (),
        resources=_resources(table.resources),
        mounts=table.mounts if isinstance(table.mounts, tuple) else (),
        mount_targets=table.mounts if isinstance(table.mounts, Mapping) else {},
        context=table.context or ".",
        args=table.args or {},
        service=_service(table),
        on_lost=OnLost.RESTART if table.health is not None else table.on_lost,
        keep=() if table.health is not None else table.keep,
        **_env_and_secrets(table),
    )


def _service(table: StageTable) -> Service | None:
    if table.health is None:
        return None
    usual = Service(table.health)
    return Service(
        table.health,
        table.replicas if table.replicas is not None else usual.replicas,
        table.port,
        table.startup if table.startup is not None else usual.startup,
        table.until,
        table.warmup,
        table.drain if table.drain is not None else usual.drain,
        table.maxconn if table.maxconn is not None else usual.maxconn,
        table.address or usual.address,
        bool(table.sticky),
    )


class _Given(TypedDict):
    """The content of a process's environment and of its folder of secrets."""

    env: Mapping[str, str]
    secrets: tuple[str, ...]
    secret_files: tuple[str, ...]
    from_submitter: tuple[str, ...]


def _env_and_secrets(table: StageTable) -> _Given:
    """A variable from the submission is a secret like others, except that only the submission may
    set it."""
    given = tuple(n for n, value in table.env.items() if isinstance(value, FromSubmitter))
    secrets = tuple(dict.fromkeys((*table.secrets, *given)))
    return {
        "env": {n: value for n, value in table.env.items() if isinstance(value, str)},
        "secrets": secrets,
        "secret_files": tuple(n for n in table.secret_files if n not in secrets),
        "from_submitter": given,
    }


def _resources(asked: Resources) -> Resources:
    """Without keys that have no effect, such as an inherited GPU memory if no GPU is requested."""
    if not asked.gpus:  # each model says how many, or there are none
        asked = replace(asked, gpus=asked.alternatives[0][0])
    keys = keys_of(Resources).values()
    idle = {k.attribute: k.default for k in keys if k.needs and not getattr(asked, k.needs)}
    with_defaults: Callable[..., Resources] = functools.partial(replace, asked)
    return with_defaults(**idle) if idle else asked
