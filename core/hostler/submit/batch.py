"""Makes a submission from a Slurm batch script: largest size, its folder, exported variables,
and notes about srun, modules and nested sbatch."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import HostlerError, InputError
from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import keys_of
from hostler.model.pipelines import Resources
from hostler.sbatch.header import interpreter_of, is_batch_script, late_lines
from hostler.sbatch.job import BatchJob, read_job
from hostler.sbatch.pipeline import Script, literal, pipeline_of, text_of, variables_of
from hostler.submit.batch_variables import unset_slurm_variables
from hostler.submit.body import current_folder, env_programs, shell_env, stage_env, text_path
from hostler.submit.secrets import check_unseen, own_secrets, with_own
from hostler_agent.json_values import strings

_LARGEST = 4 * 1024 * 1024
_NO_ENV = ("NONE", "NIL")
_CALLED = re.compile(
    r"(?:^|[;&|(`])[ 	]*(?:exec[ 	]+|time[ 	]+)?"
    r"(sbatch|squeue|scancel)(?=[ 	]|$)",
    re.MULTILINE,
)
_CONTAINER = " --container-"
_SRUN = re.compile(r"\bsrun\b")
_MODULE = re.compile(r"(?:^|[\s;&|({`])(?:module|ml)[ \t]+\w", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class BatchScript:
    """A parsed batch script, and the folder where it would start."""

    file: Path
    text: str
    job: BatchJob
    interpreter: tuple[str, ...]
    submit_dir: Path
    folder: Path
    """The folder of the code: the folder of the submission, or another one that `--chdir` names."""
    workdir: str | None

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user before the script runs."""
        return (*self.job.notes, *_script_notes(self.text))

    def unset_variables(self, code: str, options: Mapping[str, Json]) -> Iterator[str]:
        """A line on Slurm variables that it uses and that are not set."""
        known = variables_of(_tables(self, code, options, os.environ))
        return unset_slurm_variables(self.commands, known)

    @property
    def start(self) -> str:
        """The folder where it starts, by its name on this machine."""
        return str(self.folder / (self.workdir or ""))

    @property
    def commands(self) -> str:
        """The text without its comments."""
        return _COMMENT.sub("", self.text)

    @property
    def nested_notes(self) -> tuple[str, ...]:
        """Notes for a script that may not submit others."""
        called = dict.fromkeys(_CALLED.findall(self.commands))
        said = f"the script calls {', '.join(called)}, which work only with --nested"
        return (said,) if called else ()


def _script_notes(text: str) -> Iterator[str]:
    if late := late_lines(text):
        yield f"line {late[0]}: #SBATCH behind the first command is ignored, as by sbatch"
    commands = _COMMENT.sub("", text)
    if any(map(_starts_container, commands.replace("\\\n", " ").split("\n"))):
        yield (
            "srun starts no container here, and fails with the script's --container option: name "
            "the image by `hostler run --image`, and remove the option"
        )


def _starts_container(line: str) -> bool:
    before, option, _ = line.partition(_CONTAINER)
    return bool(option) and _SRUN.search(before) is not None


def is_batch_file(file: Path) -> bool:
    """Whether a file is a batch script. A pipe is not: it can be read only once."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as opened:
            return is_batch_script(file.name, opened.read(_LARGEST))
    except OSError:
        return False  # the reader of pipelines says what is wrong


def read_batch_script(name: str) -> BatchScript | None:
    """The batch script of this name; None if the file is not one. Raises InputError for a script
    that cannot be run here."""
    file = Path(name)
    if not is_batch_file(file):
        return None
    with file.open("rb") as opened:
        data = opened.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise InputError(f"{name} is larger than 4 MiB", remedy="A batch script is a short text")
    try:
        return _read(file, data.decode("utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8", remedy="Save it as UTF-8") from None
    except InputError as error:
        raise InputError(f"{name}: {error.message}", remedy=error.remedy) from None


def _read(file: Path, text: str) -> BatchScript:
    interpreter, job, here = interpreter_of(text), read_job(text), current_folder()
    folder, workdir = _places(here, job.chdir)
    return BatchScript(file, text, job, interpreter, here, folder, workdir)


def _places(here: Path, chdir: str | None) -> tuple[Path, str | None]:
    """The folder of the code, and the folder below it where the script starts."""
    if not chdir:
        return here, None
    if "%" in chdir:
        raise InputError(
            f"--chdir={chdir}: names with % are not supported", remedy="Name an existing folder"
        )
    target = Path(os.path.normpath(here / chdir))
    if not target.is_dir():
        raise InputError(
            f"--chdir={chdir}: there is no such folder", remedy="Create it, or correct it"
        )
    if target.is_relative_to(here):
        below = str(target.relative_to(here))
        return here, None if below == "." else below
    return text_path(target), None


def batch_text(script: BatchScript, code: str, options: Mapping[str, Json]) -> str:
    """The text of the equivalent pipeline file. `options`: those of a single command, by the names
    of the API. Raises InputError."""
    return text_of(_tables(script, code, options, os.environ))


def batch_body(
    script: BatchScript, code: str, options: Mapping[str, Json], args: Sequence[str],
    environ: Mapping[str, str], secrets: Sequence[str] = (),
) -> JsonTable:  # fmt: skip
    """The body of a submission, without its source. Raises InputError."""
    pipeline = text_of(_tables(script, code, options, environ))
    own = own_secrets(secrets, environ)
    check_unseen(own, [pipeline, *args, *_plain_values(script, options, environ)])
    clean = "ALL" not in script.job.export
    programs = {} if clean else env_programs([*script.interpreter, *args], environ)
    waits = {"after": script.job.after, "after_any": script.job.after_any}
    return {
        "pipeline": pipeline,
        "file": script.file.name,
        "params": {},
        **({"args": [*args]} if args else {}),
        **({} if clean else {"env": {**shell_env(environ)}}),
        **({"programs": {**programs}} if programs else {}),
        **{name: [*runs] for name, runs in waits.items() if runs},
        **with_own(own),
    }


def _plain_values(
    script: BatchScript, options: Mapping[str, Json], environ: Mapping[str, str]
) -> list[str]:
    """What the text of the pipeline file holds in another spelling, escaped."""
    exported = _exported(script.job, environ).values()
    return [*exported, *_said_env(options, environ).values(), script.job.name or ""]


def _tables(
    script: BatchScript, code: str, options: Mapping[str, Json], environ: Mapping[str, str]
) -> JsonTable:
    made = Script(
        name=script.file.name,
        interpreter=script.interpreter,
        path=_path(script, code),
        submit_dir=str(script.submit_dir),
        code=code,
        workdir=script.workdir,
        env=_exported(script.job, environ),
        calls_modules=_MODULE.search(_COMMENT.sub("", script.text)) is not None,
    )
    return pipeline_of(script.job, made, _stage_keys(options, environ))


def _path(script: BatchScript, code: str) -> str:
    """The path of the script, relative to the folder where it starts. Raises InputError if a copy
    of the code would lack it."""
    file = Path(os.path.normpath(script.submit_dir / script.file))
    start = script.folder / (script.workdir or "")
    if file.is_relative_to(script.folder):
        path = os.path.relpath(file, start)
        return f"./{path}" if path.startswith("-") else path  # no option of the interpreter
    if code == "here":
        return str(file)
    raise InputError(
        f"{script.file} is outside of {script.folder}, the folder whose copy is sent to the host",
        remedy=f"Submit it from its own folder: cd {shlex.quote(str(file.parent))}",
    )


def _exported(job: BatchJob, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that `--export` names. A variable that the shell does not have is left out, as
    in Slurm."""
    named = [part for part in job.export if part and part not in ("ALL", *_NO_ENV)]
    try:
        return stage_env([part for part in named if "=" in part or part in environ], environ)
    except HostlerError as error:
        raise InputError(f"--export: {error.message}", remedy="Write NAME or NAME=VALUE") from None


def _stage_keys(options: Mapping[str, Json], environ: Mapping[str, str]) -> JsonTable:
    """The options of a command as keys of a stage."""
    said = dict(options)
    if isinstance(said.get("env"), list):
        values = _said_env(options, environ)
        said["env"] = {name: literal(value) for name, value in values.items()}
    resources = {key: said.pop(key) for key in keys_of(Resources) if key in said}
    return {**said, **({"resources": resources} if resources else {})}


def _said_env(options: Mapping[str, Json], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `--env`."""
    said = options.get("env")
    return stage_env(strings(said), environ) if isinstance(said, list) else {}
