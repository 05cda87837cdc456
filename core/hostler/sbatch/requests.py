"""Parses and limits requests of stages: which options of `sbatch`, `squeue`, `scancel` and
`scontrol requeue` work inside a stage. Read strictly: a host may send anything."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hostler.base.errors import InputError
from hostler.base.text import shown
from hostler.sbatch.header import command_options, interpreter_of, remedy_for
from hostler.sbatch.job import BatchJob, read_job

LARGEST = 96 * 1024
_MOST_WORDS = 1000
_LONGEST_QUERY = 16 * 1024
"""Characters of the words of `squeue` or `scancel`, which are read at once."""
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
_ID = re.compile(r"[0-9]{1,10}(?:,[0-9]{1,10})*", re.ASCII)
_AGAIN = "See docs/slurm.md for what the commands inside a stage support"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its words, and the text of a script."""

    words: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class NestedScript:
    """The request of an `sbatch` inside a stage."""

    folder: str
    """The folder of the call: relative to the working folder, or absolute."""
    name: str
    args: tuple[str, ...]
    text: str
    interpreter: tuple[str, ...]
    job: BatchJob
    is_parsable: bool
    after: tuple[tuple[int, bool], ...]
    """Numbers of jobs, each with whether any end of the job is enough."""


@dataclass(frozen=True, slots=True)
class QueueQuery:
    """The request of a `squeue`."""

    jobs: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    layout: str | None = None
    has_header: bool = True


def read_request(data: bytes) -> Asked:
    """The words and the text of a request. Raises InputError."""
    if len(data) > LARGEST:
        raise InputError("the request is larger than 96 KiB", remedy="Submit a shorter script")
    count, found, rest = data.partition(b"\0")
    parts = rest.split(b"\0")
    try:
        number = int(count) if _NUMBER.fullmatch(count.decode("ascii")) else 0
        if not found or not 0 < number <= _MOST_WORDS or len(parts) != number + 1:
            raise ValueError
        *words, text = (part.decode("utf-8") for part in parts)
    except ValueError:
        raise InputError(
            "the request cannot be read: arguments and script must be UTF-8 without NUL",
            remedy="Use the commands that Hostler puts before PATH",
        ) from None
    return Asked(tuple(words), text)


def read_sbatch(asked: Asked) -> NestedScript:
    """Raises InputError."""
    _, folder, kept, *rest = [*asked.words, "", "", ""][: max(len(asked.words), 4)]
    count = int(kept) if _NUMBER.fullmatch(kept) else -1
    if not 0 <= count < len(rest) or not rest[0]:
        raise InputError("the request of sbatch cannot be read", remedy=_AGAIN)
    name, *args = rest[: len(rest) - count]
    options = command_options(rest[len(rest) - count :])
    job = read_job(asked.text, options)
    _check_exports(job)
    return NestedScript(
        folder=_folder(folder, job.chdir),
        name=posixpath.basename(name) or "script",
        args=tuple(args),
        text=asked.text,
        interpreter=interpreter_of(asked.text),
        job=job,
        is_parsable=any(option.name == "parsable" for option in options),
        after=(*_waits(job.after, only_end=False), *_waits(job.after_any, only_end=True)),
    )


def read_squeue(words: Sequence[str]) -> QueueQuery:
    """Raises InputError."""
    found = _options(words, {"j": "jobs", "n": "name", "t": "states", "o": "format", "u": "user",
                             "p": "partition", "h": "noheader", "l": "long"},
                     valued=("jobs", "name", "states", "format", "user", "partition", "job"),
                     flags=("noheader", "me", "long", "array", "all"))  # fmt: skip
    return QueueQuery(
        jobs=_ids(found.get("jobs", found.get("job", ""))),
        names=tuple(filter(None, found.get("name", "").split(","))),
        states=tuple(filter(None, found.get("states", "").upper().split(","))),
        layout=found.get("format"),
        has_header="noheader" not in found,
    )


def read_scancel(words: Sequence[str]) -> QueueQuery:
    """The jobs to cancel, by number or by name. Raises InputError."""
    _check_length(words)
    plain = [word for word in words if not word.startswith("-")]
    by_name = next((i for i, word in enumerate(words) if word in ("-n", "--name", "--jobname")), -1)
    if by_name >= 0 and by_name + 1 < len(words):
        plain.remove(words[by_name + 1])
    found = _options([word for word in words if word not in plain],
                     {"n": "name", "Q": "quiet", "v": "verbose"},
                     valued=("name", "jobname"), flags=("quiet", "verbose"))  # fmt: skip
    names = tuple(filter(None, found.get("name", found.get("jobname", "")).split(",")))
    jobs = tuple(number for word in plain for number in _ids(word))
    if not jobs and not names:
        raise InputError("name the jobs to cancel", remedy="scancel NUMBER, or scancel --name NAME")
    return QueueQuery(jobs=jobs, names=names)


def read_scontrol(words: Sequence[str]) -> tuple[int, ...]:
    """The numbers of the jobs to requeue. Raises InputError."""
    _check_length(words)
    what, *jobs = [*words, ""][: max(len(words), 1)]
    if what != "requeue":
        raise InputError(f"scontrol {shown(what)} is not supported", remedy=_AGAIN)
    numbers = tuple(number for word in jobs for number in _ids(word))
    if not numbers:
        raise InputError("name the jobs to requeue", remedy="scontrol requeue NUMBER")
    return numbers


def _options(
    words: Sequence[str], short: dict[str, str], *, valued: Sequence[str], flags: Sequence[str]
) -> dict[str, str]:
    _check_length(words)
    found, left = {}, list(words)
    while left:
        word = left.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        else:
            name, value = short.get(word[1:2], "") if word[:1] == "-" else "", word[2:]
            equals = value
        if name not in valued and name not in flags:
            raise InputError(f"{shown(word)} is not supported", remedy=_AGAIN)
        if name in valued and not equals:
            if not left:
                raise InputError(f"{shown(word)} has no value", remedy=_AGAIN)
            value = left.pop(0)
        elif name in flags and value and not word.startswith("--"):
            left.insert(0, f"-{value}")
        found[name] = value
    return found


def _check_length(words: Sequence[str]) -> None:
    if sum(map(len, words)) > _LONGEST_QUERY:
        raise InputError(
            f"the arguments are longer than {_LONGEST_QUERY // 1024} KiB in total",
            remedy="Name fewer jobs at once",
        )


def _ids(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    if not _ID.fullmatch(text):
        raise InputError(
            f"{shown(text)} is not a job number",
            remedy="Use the number that sbatch --parsable prints; a single task of an array cannot "
            "be named",
        )
    return tuple(int(part) for part in text.split(","))


def _waits(names: Sequence[str], *, only_end: bool) -> list[tuple[int, bool]]:
    return [(number, only_end) for name in names for number in _ids(name)]


def _check_exports(job: BatchJob) -> None:
    """A name alone would take its value from a shell that is not here."""
    for part in job.export:
        if part and "=" not in part and part not in ("ALL", "NONE", "NIL"):
            raise InputError(
                f"--export={shown(part)} names no value", remedy=f"Write {part}=VALUE, or ALL"
            )


def _folder(called_in: str, chdir: str | None) -> str:
    if chdir is not None and "%" in chdir:
        raise InputError(
            f"--chdir={chdir}: names with % are not supported", remedy=remedy_for(chdir)
        )
    return posixpath.normpath(posixpath.join(called_in or ".", chdir or "."))
