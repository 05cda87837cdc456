"""Reads pipeline.toml, or a single command, into a Pipeline: expanded and checked, all problems
together; how a run of a command is called.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from hostler.base.errors import PipelineError
from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import keys_of
from hostler.base.readers import kind_of
from hostler.base.text import shown
from hostler.decide.lifecycle import LIFECYCLES, unfolded
from hostler.model.pipeline_file import MAX_STAGES, HeadTable, PipelineTable, SharedKeys, StageTable
from hostler.model.pipelines import Pipeline, Resources, Scalar, Stage
from hostler.spec.checks import (
    check_addresses,
    check_expressions,
    check_files,
    check_hosts,
    check_mounts,
    check_setup_files,
)
from hostler.spec.drafts import Context, Draft
from hostler.spec.each import SWEEP_KEYS, Sweep, filled
from hostler.spec.expansion import TOO_LARGE, Room
from hostler.spec.graph import UNLINKED, Linker, Links, Node, note_cycles
from hostler.spec.matrix import Glob, Lines
from hostler.spec.params import read_params
from hostler.spec.placeholders import ARGS, Filler, takes_args
from hostler.spec.problems import Path, Problems, as_options, validate
from hostler.spec.stages import build_stages, read_draft
from hostler.spec.toml import load

_RUNNERS = re.compile(
    r"python[\d.]*|ipython3?|ba?sh|zsh|perl|rscript|node|julia|env|nice|time|uv|conda|torchrun|"
    r"accelerate|deepspeed|srun|stdbuf"
)
_SCRIPT = re.compile(r"[^=]*\.(?:py|sh|r|jl|pl|js)", re.IGNORECASE)
_LONGEST = 40


def read_pipeline(
    text: str,
    *,
    file: str,
    params: Mapping[str, str] | None = None,
    glob: Glob | None = None,
    lines: Lines | None = None,
    args: Sequence[str] = (),
    mounts: Collection[str] | None = None,
    holds: Callable[[str], bool] | None = None,
    hosts: Sequence[str] | None = None,
) -> Pipeline:
    """The pipeline that a TOML text describes, expanded for the given parameters.

    `file` is its name for messages. `glob` gives the files of the source that match a pattern, for
    `matrix = { x = { glob = "data/*.csv" } }`; None: there is no source. `lines` are those of the
    files that `{ lines = "args.txt" }` names, `args` the words of `{args}`, which become the
    parameter of that name, quoted as for a shell. `mounts` are
    the names under [mounts] in config.toml; None: any. `hosts` are those of the config; None: any.
    `holds` says whether the source may have a
    file; None: nothing is known of it.
    Raises PipelineError with every problem found, each with key, line and, where there is one, the
    nearest thing that would be right.
    """
    values, problems = load(text, file, PipelineError)
    return _read(values, problems, params or {}, glob, lines or {}, mounts, holds, hosts, args=args)


def command_pipeline(
    command: Sequence[str],
    *,
    holds: Callable[[str], bool] | None = None,
    **options: Json,
) -> Pipeline:
    """The pipeline of one stage, `run`, that `hostler run -- COMMAND` means; without a name it is
    called like its program.

    `options` are keys of a stage and of its resources, as in a pipeline file, and `name`, `each`
    and `array`. With `shell` the words of the command are joined to one line. Braces in the
    command are text, not placeholders; but with `each` or `array`, which make a cell for each
    value, `{}` is that value and `{{}}` the text `{}`. `holds` is as in `read_pipeline`. Raises
    PipelineError.
    """
    given: JsonTable = {key: value for key, value in options.items() if value not in (None, {})}
    shell = bool(given.get("shell"))
    sweep = Sweep.of(given) if given.keys() & SWEEP_KEYS else None
    if sweep is not None:
        sweep.check(command, shell=shell)
    words = " ".join(command).split() if shell else command
    called = given.pop("name", None) or program_name(words)
    line: Json = " ".join(command) if shell else [*command]
    stage: Json = {"command": line, **_stage_keys(given), **(sweep.keys() if sweep else {})}
    values: JsonTable = {"name": called, "stages": {"run": stage}}
    try:
        read = _read(values, Problems("the command", ""), {}, None, {}, holds=holds, literal=True)
    except PipelineError as error:
        raise PipelineError(error.message, problems=as_options(error.problems)) from error
    return replace(read, stages=filled(read.stages)) if sweep and sweep.values else read


def program_name(command: Sequence[str]) -> str:
    """The name of the program, or, for commands like `python3 train.py --lr 3e-5`, of the script;
    valid as a pipeline name."""
    if not command:
        return "run"
    first = _plain(command[0])
    if not _RUNNERS.fullmatch(first):
        return first
    words = [word for word in command[1:] if _SCRIPT.fullmatch(word)]
    if "-m" in command[:-1]:
        words.insert(0, command[command.index("-m") + 1])
    return _plain(words[0]) if words else first


def _plain(word: str) -> str:
    base = word.strip().rsplit("/", 1)[-1].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", base).strip("._-")[:_LONGEST] or "run"


def _stage_keys(given: JsonTable) -> JsonTable:
    """A stage's table with the given keys of it and of its resources. An empty list is ignored,
    except for `keep`."""
    said = {key: value for key, value in given.items() if value != [] or key == "keep"}
    resources = {key: said.pop(key) for key in keys_of(Resources) if key in said}
    return {**said, "resources": resources}


def _read(
    values: JsonTable,
    problems: Problems,
    given: Mapping[str, str],
    glob: Glob | None,
    lines: Lines,
    mounts: Collection[str] | None = None,
    holds: Callable[[str], bool] | None = None,
    hosts: Sequence[str] | None = None,
    *,
    args: Sequence[str] = (),
    literal: bool = False,
) -> Pipeline:
    top = {key: value for key, value in values.items() if key not in ("defaults", "stages")}
    head = validate(HeadTable, top, (), problems, known=PipelineTable)
    declared = head.params if head else _usable_params(values.get("params"))
    params = read_params(declared, given, problems) if given else {**declared}
    room = Room(args)
    if "defaults" in values and not room.take(values["defaults"], params):
        problems.add(("defaults",), TOO_LARGE)
        values = {**values, "defaults": {}}
    context = Context(
        params=params,
        room=room,
        defaults=_defaults(values.get("defaults", {}), params, problems),
        problems=problems,
        glob=glob,
        lines=lines,
        args=args,
        literal=literal,
        mounts=frozenset(mounts) if mounts is not None else None,
        holds=holds,
        hosts=tuple(hosts) if hosts is not None else None,
    )
    drafts = _drafts(values.get("stages"), context)
    stages = _link(drafts, context)
    if args:
        _check_args(args, values.get("stages"), declared, problems)
        params[ARGS] = shlex.join(args)
    problems.raise_any(PipelineError)
    assert head is not None  # else there was a problem
    return Pipeline(name=head.name, stages=stages, params=params, title=head.title or "")


def _check_args(
    args: Sequence[str], stages: Json, declared: Mapping[str, Scalar], problems: Problems
) -> None:
    """Words after `--` need a place, and a name that no parameter has."""
    tables = stages.values() if isinstance(stages, dict) else ()
    commands = [table.get("command") for table in tables if isinstance(table, dict)]
    if not any(map(takes_args, commands)):
        told = (
            f"no command of the file has {{args}}, the place of {shown(args[0])} and what follows"
        )
        problems.add(("stages",), told, "add {args} to a command, or leave FILE out to run one")
    if ARGS in declared:
        told = "is the parameter that holds the words behind `--`"
        problems.add(("params", ARGS), told, "give your parameter another name")


def _usable_params(value: Json) -> dict[str, Scalar]:
    """The valid parameters of a file with an invalid top: so that stages are reported only for
    their own problems."""
    if not isinstance(value, dict):
        return {}
    return {key: item for key, item in value.items() if isinstance(item, (str, int, float))}


def _defaults(value: Json, params: Mapping[str, Scalar], problems: Problems) -> JsonTable:
    """The valid keys of [defaults]; placeholders are filled stage by stage."""
    if not isinstance(value, dict):
        problems.add(("defaults",), f"should be a table, is {kind_of(value)}")
        return {}
    if not value:
        return {}
    path: Path = ("defaults",)
    names = {f"params.{key}": item for key, item in params.items()}
    validate(SharedKeys, Filler(names, path, problems).table(value), path, problems)
    return {key: item for key, item in value.items() if not problems.has((*path, key))}


def _drafts(value: Json, context: Context) -> list[Draft]:
    problems = context.problems
    if not isinstance(value, dict) or not value:
        problems.add(("stages",), "a pipeline needs a stage: write [stages.NAME] and its keys")
        return []
    drafts: list[Draft] = []
    count = 0
    for base, table in value.items():
        before = context.room.cells
        drafts.append(read_draft(base, table, context))
        count += max(context.room.cells - before, 1)
        if count > MAX_STAGES:
            problems.add(("stages",), f"has more than {MAX_STAGES} stages after expansion")
            return []
    return drafts


def _link(drafts: list[Draft], context: Context) -> tuple[Stage, ...]:
    """The stages with their needs resolved; problems with references are noted."""
    nodes = {draft.base: _node(draft) for draft in drafts}
    builders = {d.base for d in drafts if d.checked and LIFECYCLES[d.checked[0].kind].makes_image}
    refer = bool(builders) or any(t.needs or t.inputs for draft in drafts for t in draft.checked)
    linker = Linker(nodes, context.problems) if refer else None
    linked: list[tuple[Draft, list[Links]]] = []
    for draft in drafts:
        node = nodes[draft.base]
        links = [
            linker.link(node, index, table.needs, table.inputs, _built(table, builders))
            if linker
            else UNLINKED
            for index, table in enumerate(draft.checked)
        ]
        linked.append((draft, links))
        if draft.checked:
            check_expressions(draft, node.needed, context)
            check_mounts(draft, context)
            check_hosts(draft, context)
            check_files(draft, context)
            check_setup_files(draft, context)
            _check_nested(draft, builders, context)
    check_addresses(drafts, context)
    if refer:
        note_cycles(nodes, context.problems)
    if context.problems:
        return ()
    return unfolded([stage for draft, links in linked for stage in build_stages(draft, links)])


def _built(table: StageTable, builders: Collection[str]) -> str | None:
    """The image of a stage if a stage of the file builds it: it has priority over an image of a
    registry with the same name."""
    base = (table.image or "").partition(".")[0]
    return table.image if base in builders else None


def _check_nested(draft: Draft, builders: Collection[str], context: Context) -> None:
    """Runs that a stage submits have its image, but not the stage that builds it."""
    table = draft.checked[0]
    if table.nested and _built(table, builders) is not None:
        message = "cannot be an image that this run builds, where `nested` is set"
        context.problems.add(
            ("stages", draft.base, "image"), message, "build it by a run before, and name it"
        )


def _node(draft: Draft) -> Node:
    known = bool(draft.checked) and "outputs" not in draft.wrong
    return Node(
        draft.base,
        draft.names if draft.cells else (draft.base,),
        draft.cells,
        draft.has_matrix,
        frozenset(draft.checked[0].outputs) if known else None,
        draft.places.get("needs"),
    )
