"""Replaces `{params.x}`, `{matrix.x}`, `{stage.name}` and `{args}` in texts before a table is
checked, and says in which keys.

`{{params.x}}` stands for that text itself; any other brace is left as it is, so that awk programs,
JSON and `${HOME}` need no escaping.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from hostler.base.json_types import Json, JsonTable
from hostler.base.keys import keys_of
from hostler.base.text import clean_line, shown
from hostler.base.units import format_value
from hostler.model.pipeline_file import StageTable, is_line
from hostler.model.pipelines import Scalar
from hostler.spec.problems import Path, Problems
from hostler.spec.shell_quotes import EXPANDED, open_at

PLACE = re.compile(r"\{\{([A-Za-z_][\w.-]*)\}\}|(?<!\$)\{([A-Za-z_][\w.-]*)\}", re.ASCII)

_AS_THEY_ARE = frozenset({"when", "pass", "matrix", "kind", "runtime", "secrets", "secret_files"})


def _fillable(table: type, path: Path = ()) -> Iterator[Path]:
    for name, key in keys_of(table).items():
        if key.kind.fillable:
            yield (*path, name)
        for inner in key.kind.tables:
            yield from _fillable(inner, (*path, name))


_TYPED = frozenset(_fillable(StageTable))
"""Keys whose value is no text: there a single placeholder becomes its number."""

TAKE_OUT = "write it without the quotes: Hostler quotes its value"
ASSIGN = "assign it to a variable before: x={params.x}; and write $x there"


ARGS = "args"
"""`{args}` in a command: the words after `--` of `hostler run FILE`, each a separate word."""
_ALL_ARGS = f"{{{ARGS}}}"


class Split(list[Json]):
    """Arguments that were written as one text: problems are reported for the whole text."""


def takes_args(command: Json) -> bool:
    """Whether a command has a place for the words after `--`."""
    words = command if isinstance(command, list) else [command]
    texts = [word for word in words if isinstance(word, str)]
    return any(match[2] == ARGS for text in texts for match in PLACE.finditer(text))


def depends_on_matrix(value: object) -> bool:
    """Whether a value differs from cell to cell."""
    if isinstance(value, str):
        return "{matrix." in value or "{stage." in value
    if isinstance(value, dict):
        return any(depends_on_matrix(item) for item in value.values())
    return isinstance(value, list) and any(depends_on_matrix(item) for item in value)


class Filler:
    """Fills the placeholders of one table with the values of one cell."""

    def __init__(
        self,
        names: Mapping[str, Scalar],
        path: Path,
        problems: Problems,
        args: Sequence[str] = (),
    ) -> None:
        self._names = names
        self._path = path
        self._problems = problems
        self._args = args

    def table(self, table: JsonTable) -> JsonTable:
        """A stage's table, filled. A shell line gets its values quoted for the shell."""
        filled: JsonTable = {}
        for key, value in table.items():
            if key in _AS_THEY_ARE:
                filled[key] = value
            elif key == "command" and is_line(table) and isinstance(value, str):
                filled[key] = self._shell_line(value)
            elif key == "command" and isinstance(value, list) and _ALL_ARGS in value:
                filled[key] = self._command(value)
            else:
                filled[key] = self.value(value, (key,))
        return filled

    def _command(self, words: list[Json]) -> Json:
        """Arguments, with the words of `{args}` in its place."""
        found: list[Json] = []
        for index, word in enumerate(words):
            place: Path = ("command",) if isinstance(words, Split) else ("command", index)
            found += self._args if word == _ALL_ARGS else [self.value(word, place)]
        return found

    def value(self, value: Json, path: Path = ()) -> Json:
        """Any value, filled at all depths; keys of tables stay unchanged."""
        if isinstance(value, str):
            if "{" not in value:
                return value
            return self._alone(value) if path in _TYPED else self._text(value, path)
        if isinstance(value, dict):
            return {key: self.value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, Split):
            return [self._text(str(item), path) for item in value]
        if isinstance(value, list):
            return [self.value(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _alone(self, text: str) -> Scalar:
        match = PLACE.fullmatch(text)
        if match is not None and match[2] in self._names:
            return self._names[match[2]]
        return self._text(text, ())

    def _text(self, text: str, path: Path) -> str:
        return PLACE.sub(lambda match: self._replacement(match, path), text)

    def _replacement(self, match: re.Match[str], path: Path) -> str:
        if match[1] is not None:
            return f"{{{match[1]}}}"
        name = match[2]
        if name in self._names:
            return format_value(self._names[name])
        self._unknown(name, path)
        return match[0]

    def _unknown(self, name: str, path: Path) -> None:
        if name == ARGS:
            self._problems.add(
                (*self._path, *path),
                f"{_ALL_ARGS} must be an argument of `command` of its own",
                f"write it alone, as {shown(f'python train.py {_ALL_ARGS}')}",
            )
            return
        near = self._problems.guess(name, self._names)
        known = ", ".join(f"{{{name}}}" for name in list(self._names)[:6]) or "none"
        hint = near or f"known: {known}"
        place = clean_line(name, 60)
        self._problems.add(
            (*self._path, *path),
            f"unknown placeholder {{{place}}}",
            f"{hint}; for the text itself write {{{{{place}}}}}",
        )

    def _shell_line(self, line: str) -> str:
        """Each value becomes one word, whatever its content: so placeholders must be outside
        quotes."""
        parts, end = [], 0
        for match, open_quote in zip(PLACE.finditer(line), open_at(line, PLACE), strict=True):
            parts.append(line[end : match.start()])
            end = match.end()
            if match[2] == ARGS:
                text = " ".join(self._args)
                parts.append(shlex.join(self._args))
            else:
                text = self._replacement(match, ("command",))
                if match[1] is not None or match[2] not in self._names:
                    parts.append(text)
                    continue
                parts.append(shlex.quote(text))
            if open_quote == EXPANDED and parts[-1] != text:
                self._misplaced(f"{match[0]} is in a here-document or arithmetic", ASSIGN)
            elif open_quote and open_quote != EXPANDED:
                self._misplaced(f"{match[0]} is inside quotes", TAKE_OUT)
        return "".join([*parts, line[end:]])

    def _misplaced(self, what: str, hint: str) -> None:
        self._problems.add((*self._path, "command"), f"{what} of a shell line", hint)
