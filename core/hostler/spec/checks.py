"""Which keys of a stage do not go together, mounts, hosts and files that do not exist, wrong `when`
and `pass`, and what `runtime = "auto"` means.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from hostler.base.environment_names import is_file
from hostler.base.errors import InputError
from hostler.base.keys import keys_of
from hostler.base.readers import FromSubmitter
from hostler.base.secret_rules import MAX_NAMES
from hostler.base.text import first_of, shown
from hostler.base.units import format_duration
from hostler.decide.expressions import check, names_in
from hostler.decide.lifecycle import LIFECYCLES
from hostler.model.addresses import ServiceAddress, address_of, path_of
from hostler.model.pipeline_file import StageTable
from hostler.model.pipelines import Resources
from hostler.model.time_limits import OnTimeout
from hostler.spec.drafts import Context, Draft
from hostler.spec.problems import Path, Problems


def check_together(
    table: StageTable,
    own: frozenset[str],
    path: Path,
    problems: Problems,
    wrong: frozenset[str] = frozenset(),
) -> None:
    """Note keys that are not allowed together. Checks that depend on a `wrong` key are skipped."""
    for depends, where, message, hint in _together(table, own):
        if wrong.isdisjoint(depends.split()):
            problems.add((*path, *where), message, hint)


def _together(table: StageTable, own: frozenset[str]) -> Iterator[tuple[str, Path, str, str]]:
    """Each with the keys it depends on, the key it is reported for, a sentence and a hint."""
    runtime = runtime_of(table)
    if table.runtime == "docker" and table.image is None:
        yield "runtime image", ("runtime",), "docker needs an image", 'add image = "..."'
    if table.runtime == "process" and table.image is not None:
        message = "a process has no image: remove `image` or `runtime`"
        yield "runtime image", ("runtime",), message, ""
    if runtime == "docker" and table.venv is not None:
        message = "is only for processes; for containers, install the packages in the image"
        yield "runtime image venv", ("venv",), message, ""
    yield from _of_environments(table, runtime)
    yield from _of_setup(table, own)
    if runtime == "process" and (table.workdir or "").startswith("/"):
        message = "should be relative: only a container may start in another folder"
        yield "runtime image workdir", ("workdir",), message, ""
    if runtime == "process" and isinstance(table.mounts, Mapping) and table.mounts:
        message = "names paths in a container; a process sees the folders of its host as they are"
        yield "runtime image mounts", ("mounts",), message, "list the names, or add `image`"
    if table.shell and len(table.command) != 1:
        yield "shell command", ("command",), "should be one text, since `shell` is set", ""
    yield from _of_kind(table)
    yield from _of_its_kind(table, own)
    yield from _of_port(table, runtime)
    yield from _of_gpus(table.resources, own)
    yield from _of_secrets(table)
    yield from _of_time(table, own)
    if table.max_parallel is not None and "max_parallel" in own and "matrix" not in own:
        yield "max_parallel", ("max_parallel",), "is for stages with a matrix", ""


def _of_gpus(asked: Resources, own: frozenset[str]) -> Iterator[tuple[str, Path, str, str]]:
    """Keys that have no effect without GPUs, and models without a number."""
    counts = dict(asked.alternatives)
    if any(counts) and 0 in counts:
        name = counts[0][0]
        message = f"{shown(name)} has no number of GPUs, and `gpus` is 0"
        yield "resources", ("resources", "gpu_model"), message, f"like {shown(f'{name}:1')}"
    for key in keys_of(Resources).values():
        if key.needs and not any(counts) and f"resources.{key.name}" in own:
            message = f"needs a GPU, and `{key.needs}` is 0"
            yield "resources", ("resources", key.name), message, ""


def _of_setup(table: StageTable, own: frozenset[str]) -> Iterator[tuple[str, Path, str, str]]:
    """The setup before the command."""
    if table.setup is not None and table.venv is not None:
        message = "a command has one environment: remove `venv` or `setup`"
        hint = f"setup = {shown(f'pip install -r {table.venv}')} does the same"
        yield "setup venv", ("setup",), message, hint
    for key in ("setup_files", "setup_timeout"):
        if key in own and table.setup is None and not is_file(table.conda or ""):
            yield f"setup conda {key}", (key,), "is for stages with `setup`", ""


def _of_secrets(table: StageTable) -> Iterator[tuple[str, Path, str, str]]:
    """With a secret also in `env`, it is unclear which of the two a process sees."""
    for name in table.secrets:
        if name in table.env and not isinstance(table.env[name], FromSubmitter):
            message = f"{name} is a variable in `env`, too"
            yield "secrets env", ("secrets",), message, "remove it from one of them"
    names = {*table.secrets, *table.secret_files}
    names |= {n for n, value in table.env.items() if isinstance(value, FromSubmitter)}
    if len(names) > MAX_NAMES:
        message = f"a stage takes at most {MAX_NAMES} secrets, not {len(names)}"
        yield "secrets secret_files env", ("secrets",), message, ""


def _of_time(table: StageTable, own: frozenset[str]) -> Iterator[tuple[str, Path, str, str]]:
    """Keys about the time before and at the time limit. Inherited keys without a use are
    ignored."""
    # For a single command --timeout means something else.
    limit, like = table.timeout, 'add timeout = "12h"; hostler run -- CMD: --time-limit 12h'
    if table.warn is not None and limit is None and "warn" in own:
        yield "warn timeout", ("warn",), "the stage has no time limit to warn of", like
    if table.warn is not None and limit is not None and table.warn.before >= limit:
        message = f"should be less than `timeout`, which is {format_duration(limit)}"
        yield "warn timeout", ("warn", "before"), message, ""
    if table.on_timeout is not OnTimeout.REQUEUE or "on_timeout" not in own:
        return
    if limit is None:
        yield "on_timeout timeout", ("on_timeout",), "the stage has no time limit", like
    if table.checkpoint is None:
        message = "the next attempt continues from the checkpoint, but the stage names none"
        hint = 'add checkpoint = "ckpt/"; hostler run -- CMD: --checkpoint ckpt/'
        yield "on_timeout checkpoint", ("on_timeout",), message, hint


def _of_environments(table: StageTable, runtime: str) -> Iterator[tuple[str, Path, str, str]]:
    """Environments of hosts for processes."""
    for key, is_named in (("conda", table.conda is not None), ("modules", table.modules != ())):
        if is_named and runtime == "docker":
            message = "is only for processes; a container uses the software in its image"
            yield f"runtime image {key}", (key,), message, f"remove `{key}`, or `image`"
    for key, file in (("slurm_output", table.slurm_output), ("slurm_error", table.slurm_error)):
        if file is not None and runtime == "docker":
            message = "is only for processes; the log of a container is in `hostler logs`"
            yield f"runtime image {key}", (key,), message, f"remove `{key}`"
    if table.conda is not None and table.venv is not None:
        message = "a command has one environment: remove `conda` or `venv`"
        yield "conda venv", ("conda",), message, ""


def _of_kind(table: StageTable) -> Iterator[tuple[str, Path, str, str]]:
    """Keys that only one kind of stage has, and that it needs."""
    for kind, lifecycle in LIFECYCLES.items():
        for key, example in lifecycle.keys.items():
            value = getattr(table, keys_of(StageTable)[key].attribute)
            if table.kind == kind and not value:
                yield f"kind {key}", (), f"a {kind} needs `{key}`", f"like {example}"
            if table.kind != kind and value is not None:
                yield f"kind {key}", (key,), f"is for {kind}s", f'add kind = "{kind}"'
        for key in lifecycle.optional:
            if table.kind != kind and getattr(table, key) is not None:
                yield f"kind {key}", (key,), f"is for {kind}s", f'add kind = "{kind}"'


def _of_its_kind(table: StageTable, own: frozenset[str]) -> Iterator[tuple[str, Path, str, str]]:
    """Keys that a kind needs or allows, and that other kinds have, too."""
    lifecycle = LIFECYCLES[table.kind]
    if lifecycle.has_workload and not table.command:
        yield "kind command", ("command",), "is missing", ""
    if lifecycle.takes is None:
        return
    for key in sorted(own - lifecycle.takes):
        message = f"means nothing for a {table.kind}: remove it"
        hint = f"its own keys: {', '.join(lifecycle.optional)}"
        yield "kind", tuple(key.split(".")), message, hint


def _of_port(table: StageTable, runtime: str) -> Iterator[tuple[str, Path, str, str]]:
    """Where a service listens: a container on a port of its own choice, a process on the one
    that it is given."""
    if table.health is None:
        return
    if runtime == "docker" and table.port is None:
        message = "a service in a container needs `port`, on which it listens there"
        yield "runtime image kind health", (), message, "like port = 8000"
    if runtime == "process" and table.port is not None:
        message = "is for containers: a process gets a free port of its host in $HOSTLER_PORT"
        yield "runtime image port", ("port",), message, "remove `port`"


def check_expressions(draft: Draft, needed: Mapping[str, None], context: Context) -> None:
    """Check `when` and `pass` against the names they will have."""
    table, path = draft.checked[0], ("stages", draft.base)
    if table.when is not None:
        own = _own_names(draft, table.when, context)
        known = [*own, *(f"{base}.*" for base in needed)]
        for problem in check(table.when, known):
            context.problems.add((*path, "when"), problem)
    passes = table.conditions or ()
    alone = len(passes) == 1 and "pass" not in draft.places
    for index, expression in enumerate(passes):
        at = (*path, "pass") if alone else (*path, "pass", draft.place("pass", index))
        problems = check(expression) or _unknown_in_pass(
            expression, _own_names(draft, expression, context)
        )
        for problem in problems:
            context.problems.add(at, problem)


def check_mounts(draft: Draft, context: Context) -> None:
    """Check that config.toml has the mounts that a stage names, which may differ by cell."""
    if context.mounts is None:
        return
    inherited = "mounts" not in draft.own
    path: Path = ("defaults", "mounts") if inherited else ("stages", draft.base, "mounts")
    known = ", ".join(sorted(context.mounts)) or "none"
    for name in dict.fromkeys(name for table in draft.checked for name in _mounted(table)):
        if name not in context.mounts:
            context.problems.add(
                path,
                f"the config has no mount {shown(name)}",
                context.problems.guess(name, context.mounts)
                or f"known: {known}; add it under [mounts] in config.toml",
            )


def _mounted(table: StageTable) -> Iterable[str]:
    return table.mounts.values() if isinstance(table.mounts, Mapping) else table.mounts


def check_hosts(draft: Draft, context: Context) -> None:
    """Check that config.toml has a host for each name and pattern that a stage asks for."""
    if context.hosts is None:
        return
    inherited = "resources.host" not in draft.own
    top: Path = ("defaults",) if inherited else ("stages", draft.base)
    asked = dict.fromkeys(name for table in draft.checked for name in table.resources.hosts)
    for name in unmatched(asked, context.hosts):
        context.problems.add(
            (*top, "resources", "host"),
            f"there is no host {shown(name)}",
            context.problems.guess(name, context.hosts) or known_hosts(context.hosts),
        )


def unmatched(asked: Iterable[str], hosts: Iterable[str]) -> list[str]:
    """Those of the names and patterns that no host has."""
    names = list(hosts)
    return [glob for glob in asked if not any(fnmatchcase(name, glob) for name in names)]


def known_hosts(hosts: Iterable[str], most: int = 20) -> str:
    """ "known: gpu1, gpu2" for a hint."""
    return f"known: {first_of(list(hosts), most) or 'none'}"


def check_files(draft: Draft, context: Context) -> None:
    """Check that the source includes the file of `venv` or `conda`, if the source is sent. A file
    under `inputs/` comes from another stage."""
    if context.holds is None or not draft.wrong.isdisjoint({"code", "runtime", "image", "workdir"}):
        return
    wanted = dict.fromkeys(
        (key, posixpath.normpath(posixpath.join(table.workdir or "", name)))
        for table in draft.checked
        if table.code == "snapshot" and runtime_of(table) == "process"
        for key, name in (("venv", table.venv), ("conda", table.conda))
        if name is not None and (key == "venv" or is_file(name))
    )
    for key, name in wanted:
        if not name.startswith("inputs/") and not context.holds(name):
            context.problems.add(
                ("stages", draft.base, key),
                f"the source has no file {shown(name)}",
                "files that git or .hostlerignore ignores are not sent",
            )


def check_addresses(drafts: Iterable[Draft], context: Context) -> None:
    """Check that no two services of a file would get the same requests."""
    tables = ((draft.base, table) for draft in drafts for table in draft.checked[:1])
    services = [(base, table.address) for base, table in tables if table.health is not None]
    if all(address is None for _, address in services):
        return
    taken: list[tuple[str, ServiceAddress]] = []
    for base, given in services:
        try:
            address = address_of(given) if given is not None else path_of(base)
        except InputError:
            continue  # a name that no gateway can serve
        other = next((name for name, known in taken if known.overlaps(address)), None)
        if other is not None:
            said = f"{address} is the address of stage {other}, too"
            context.problems.add(("stages", base, "address"), said, "give each one of its own")
        taken.append((base, address))


def check_setup_files(draft: Draft, context: Context) -> None:
    """Check the same for the files that `setup_files` names."""
    if context.holds is None or not draft.wrong.isdisjoint({"code", "runtime", "image"}):
        return
    wanted = dict.fromkeys(
        name
        for table in draft.checked
        for name in table.setup_files or ()
        if table.code == "snapshot" and runtime_of(table) == "process"
    )
    for name in wanted:
        if not name.startswith("inputs/") and not context.holds(name):
            context.problems.add(
                ("stages", draft.base, "setup_files"),
                f"the source has no file {shown(name)}",
                "files that git or .hostlerignore ignores are not sent",
            )


def _own_names(draft: Draft, expression: str, context: Context) -> list[str]:
    """The names of params and matrix; if the matrix is wrong, those that the expression uses."""
    own = [f"params.{key}" for key in context.params]
    if draft.cells:
        return own + [f"matrix.{key}" for key in draft.cells[0]]
    used = names_in(expression) if not check(expression) else []
    return own + [name for name in used if name.startswith("matrix.")]


def _unknown_in_pass(expression: str, own: list[str]) -> list[str]:
    """A gate's own metrics may have any name; all other names are known."""
    names = names_in(expression)
    problems = [
        "`live` (numbers of the release that runs) is not supported yet"
        for name in names
        if name.startswith("live.")
    ]
    bad = [name for name in names if name.startswith(("params.", "matrix.")) and name not in own]
    known = ", ".join(own[:8]) or "none"
    return problems + [f"unknown name {shown(name)} (known: {known})" for name in bad]


def runtime_of(table: StageTable) -> str:
    """ "docker" or "process": what `auto` means for this table."""
    needed = LIFECYCLES[table.kind].runtime
    if needed is not None or table.runtime != "auto":
        return needed or table.runtime
    return "docker" if table.image is not None else "process"
