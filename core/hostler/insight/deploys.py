"""What differs between a new release and the live one, key by key, in words: which keys count as
code, which values are hidden, how long texts are cut. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from hostler.base.json_types import Json
from hostler.base.secret_rules import looks_secret
from hostler.base.text import clean_line
from hostler.model.codec import to_json
from hostler.model.pipelines import Scalar, Stage
from hostler.model.runs import Source

_WIDTH = 60
_HIDDEN = "(not shown)"
_NOT_COMPARED = frozenset({"name", "base", "from_submitter"})
"""Fields that the file alone does not determine."""
_OF_CODE = ("image", "venv", "setup")
"""Keys whose change affects more than the configuration of a release."""


@dataclass(frozen=True, slots=True)
class Version:
    """The contents of a release."""

    stages: tuple[Stage, ...]
    source: Source
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs. None: the key is missing."""

    key: str
    """`serve.env.A`, `params.lr`, `code`."""
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.key}: {self.after} (new)"
        if self.key == "code" and self.after is None:  # not sent yet, so nobody has compared it
            return f"code: the current files of this folder; the live release has {self.before}"
        if self.after is None:
            return f"{self.key}: no longer {self.before}"
        return f"{self.key}: {self.before} -> {self.after}"


def changes(live: Version, new: Version) -> list[Change]:
    """All keys that differ, code first, then parameters, then stages in the order of the file."""
    return [
        *_of_tables("", _code(live.source), _code(new.source)),
        *_of_tables("params.", _texts(live.params), _texts(new.params)),
        *_of_stages(live.stages, new.stages),
    ]


def needs_no_build(found: Iterable[Change]) -> bool:
    """Whether only the configuration changes: the code and its environment stay the same."""
    keys = [change.key for change in found]
    return not any(key == "code" or _is_of_code(key) for key in keys)


def _is_of_code(key: str) -> bool:
    stage, _, name = key.partition(".")
    return not name or (stage != "params" and name in _OF_CODE)


def told(found: Iterable[Change]) -> list[str]:
    """A line for each change; without changes, one line that says so."""
    lines = [str(change) for change in found]
    return lines or ["nothing changes: the new release is the same as the live one"]


def _code(source: Source) -> dict[str, str]:
    if source.digest is None and source.git_commit is None:
        return {}
    commit = (source.git_commit or "")[:12]
    # Two trees with changes have one commit.
    content = (source.digest or "")[:12] if source.git_dirty or not commit else ""
    dirty = "with uncommitted changes" if source.git_dirty else ""
    return {"code": " ".join(filter(None, (commit, dirty, content)))}


def _of_stages(live: Iterable[Stage], new: Iterable[Stage]) -> Iterator[Change]:
    """Replicas and cells of one stage are compared as one: they are identical except for their
    names."""
    before, after = _by_base(live), _by_base(new)
    for base in dict.fromkeys((*after, *before)):
        if base not in before:
            yield Change(base, None, f"a stage of kind {after[base].kind}")
        elif base not in after:
            yield Change(base, f"a stage of kind {before[base].kind}", None)
        else:
            yield from _of_tables(f"{base}.", _keys(before[base]), _keys(after[base]))


def _by_base(stages: Iterable[Stage]) -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    for stage in stages:
        found.setdefault(stage.base, replace(stage, name=stage.base, cell={}))
    return found


def _keys(stage: Stage) -> dict[str, str]:
    """Every key, including those of its tables, as text. A key that is missing in a file is
    compared as its default."""
    return _texts({k: v for k, v in to_json(stage).items() if k not in _NOT_COMPARED})


def _texts(values: Mapping[str, Json], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= _texts(value, f"{name}.")
        elif value is not None:
            found[name] = _text(value)
    return found


def _text(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return " ".join(map(_text, value)) or "(empty)"
    return str(value)


def _of_tables(
    prefix: str, before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[Change]:
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        if old != new:
            yield Change(f"{prefix}{clean_line(key, _WIDTH)}", _shown(key, old), _shown(key, new))


def _shown(key: str, value: str | None) -> str | None:
    """Other people may see it on the screen, or in a CI log."""
    if value is None:
        return None
    name = key.rpartition(".")[2]
    return _HIDDEN if looks_secret(name, value) else clean_line(value, _WIDTH)
