"""`--each`: a cell for each value, with `{}` in the command replaced, and refused where a shell or
interpreter would read it as code.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hostler.base.errors import PipelineError, Problem
from hostler.base.json_types import JsonTable
from hostler.base.readers import MAX_ARGUMENT
from hostler.base.text import shown
from hostler.base.units import format_value
from hostler.model.pipelines import Scalar, Stage
from hostler.spec.expansion import MAX_EXPANDED, TOO_LARGE
from hostler.spec.placeholders import TAKE_OUT
from hostler.spec.shell_quotes import open_at

SWEEP_KEYS = frozenset({"each", "array", "max_parallel"})
"""The options that make cells of a command, or affect them."""
_PLACE = re.compile(r"\{\{\}\}|\{\}")
"""`{{}}` is the text `{}`."""
_READERS = (
    (re.compile(r"(?:a|ba|c|da|fi|k|lk|mk|rba|tc|ya|z)?sh"), re.compile(r"-[a-zA-Z]*c")),
    (re.compile(r"(?:i?python|pypy)[\d.]*"), re.compile(r"-[a-zA-Z]*c")),
    (re.compile(r"perl|ruby|node|Rscript|julia|lua"), re.compile(r"-[a-zA-Z]*[eE]")),
)
"""Programs that take an argument for code, and the option that says so."""
_VALUED = re.compile(r"[-+][a-zA-Z]*[oO]|-[WX]|--rcfile|--init-file")
"""Options of these programs whose value is a separate word."""
_NO_CODE = re.compile(r"[\w@%+=:,./-]*")
_AS_ARGUMENT = """bash -c 'train "$1"' - {}"""


@dataclass(frozen=True, slots=True)
class Sweep:
    """The values of a command's cells: texts of `each`, or numbers of `array`."""

    each: tuple[str, ...] = ()
    array: tuple[int, ...] = ()
    max_parallel: int | None = None

    @classmethod
    def of(cls, options: JsonTable) -> Sweep:
        """Read it from a command's options, and remove it from them."""
        each, array = options.pop("each", None), options.pop("array", None)
        most = options.pop("max_parallel", None)
        return cls(
            tuple(item for item in each if isinstance(item, str)) if isinstance(each, list) else (),
            tuple(n for n in array if isinstance(n, int)) if isinstance(array, list) else (),
            most if isinstance(most, int) else None,
        )

    @property
    def values(self) -> tuple[Scalar, ...]:
        """One per cell."""
        return self.each or self.array

    def keys(self) -> JsonTable:
        """The keys that it adds to the stage's table. Cells are independent: a failed one ends no
        other."""
        if not self.values:
            return {}
        axis: JsonTable = {"each" if self.each else "array": [*self.values]}
        most: JsonTable = {} if self.max_parallel is None else {"max_parallel": self.max_parallel}
        return {"matrix": axis, "fail_fast": False, **most}

    def check(self, command: Sequence[str], *, shell: bool) -> None:
        """Raises PipelineError for values that the command cannot take."""
        problems = [*_problems(self, command, shell=shell)]
        if problems:
            raise PipelineError("the command cannot be used", problems=problems[:1])


def filled(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The cells of a command, each with its value in its words."""
    return tuple(_with_value(stage) for stage in stages)


def _with_value(stage: Stage) -> Stage:
    text = format_value(next(iter(stage.cell.values())))
    # A shell's line takes a value as one word, whatever it holds.
    put = shlex.quote(text) if stage.shell else text
    return replace(stage, command=tuple(_fill(word, put) for word in stage.command))


def _fill(word: str, value: str) -> str:
    return _PLACE.sub(lambda match: "{}" if match[0] == "{{}}" else value, word)


def _problems(sweep: Sweep, command: Sequence[str], *, shell: bool) -> Iterator[Problem]:
    if sweep.each and sweep.array:
        yield Problem("each", "cannot be combined with `array`", hint="remove one of them")
    if sweep.max_parallel is not None and not sweep.values:
        yield Problem("max_parallel", "is allowed only with `each` or `array`")
    for value in sweep.each:
        if not value.isprintable():
            yield Problem("each", f"{shown(value)} has a control character")
    places = [_places(word) for word in command]
    if sweep.each and not any(places):
        yield Problem(
            "each", "no word of the command has a {}", hint="write {} where each value goes"
        )
    longest = max((len(format_value(value)) for value in sweep.values), default=0)
    sizes = [len(word) + count * longest for word, count in zip(command, places, strict=True)]
    if max(sizes, default=0) > MAX_ARGUMENT or len(sweep.values) * sum(sizes) > MAX_EXPANDED:
        yield Problem("command", TOO_LARGE, hint="put long commands into a file of the source")
    if shell and _stands_in_quotes(" ".join(command)):
        yield Problem(
            "command", "{} is inside quotes of a shell command",
            hint=TAKE_OUT,
        )  # fmt: skip
    if not shell:
        yield from _read_as_code(sweep, command)


def _places(word: str) -> int:
    return sum(1 for match in _PLACE.finditer(word) if match[0] == "{}")


def _stands_in_quotes(line: str) -> bool:
    marks = zip(_PLACE.finditer(line), open_at(line, _PLACE), strict=True)
    return any(mark and match[0] == "{}" for match, mark in marks)


def _read_as_code(sweep: Sweep, command: Sequence[str]) -> Iterator[Problem]:
    """A value in a line for `bash -c` is read by bash: a name may hold anything."""
    readers = [n for n in range(len(command)) if any(map(_places, _code_words(command, n)))]
    for value in sweep.each if readers else ():
        if not _NO_CODE.fullmatch(value):
            program = _program(command[readers[0]])
            yield Problem(
                "each", f"{program} would read {shown(value)} as code: it has special characters",
                hint="pass it as an argument, like: " + _AS_ARGUMENT,
            )  # fmt: skip


def _code_words(command: Sequence[str], place: int) -> list[str]:
    """Words that a shell or interpreter at this place may read as code: those after the option for
    code, up to the first word that is no option."""
    name = _program(command[place])
    flag = next((flag for program, flag in _READERS if program.fullmatch(name)), None)
    found: list[str] = []
    is_code = is_value = False
    for word in command[place + 1 :] if flag is not None else ():
        found += [word] if is_code else []
        if not is_value and word not in ("-", "--") and word[:1] not in ("-", "+"):
            break
        is_value = not is_value and _VALUED.fullmatch(word) is not None
        is_code = is_code or (flag is not None and flag.match(word) is not None)
    return found


def _program(word: str) -> str:
    return word.rpartition("/")[2]
