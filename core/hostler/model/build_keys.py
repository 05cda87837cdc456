"""Keys of a stage that builds an image (`context`, `dockerfile`, `target`, `tag`, `args`), and what
each may be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hostler.base.json_types import Json
from hostler.base.keys import Kind, Shape, toml_key
from hostler.base.readers import kind_of, read_line
from hostler.base.several import of_all, read_all
from hostler.base.text import shown
from hostler.base.value_kinds import RELATIVE, WORKDIR

_ARG = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,62})?")
_MOST_ARGS = 100
_LONGEST = 64 * 1024


def _read_context(value: Json) -> object:
    path = WORKDIR.read(value)
    if str(path).startswith("/"):
        raise ValueError(f"{shown(str(path))} should be a folder of the source")
    return path


def _read_target(value: Json) -> object:
    text = read_line(value, "a name in quotes")
    if not _TARGET.fullmatch(text):
        raise ValueError(f"{shown(text)} is not the name of a stage in a Dockerfile")
    return text


def _read_tag(value: Json) -> object:
    text = read_line(value, "a name in quotes")
    if not is_tag(text):
        raise ValueError(f"{shown(text)} is not a name for a built image: like train, or train:3")
    return text


def is_tag(name: str) -> bool:
    """Whether a built image may have this name: no name of a registry, which has a slash."""
    return _TAG.fullmatch(name) is not None


def _read_args(value: Json) -> object:
    if not isinstance(value, Mapping):
        raise ValueError(f"should be a table of texts, is {kind_of(value)}")
    if len(value) > _MOST_ARGS:
        raise ValueError(f"should have at most {_MOST_ARGS} entries, has {len(value)}")
    return dict(read_all(value.items(), lambda item: _read_arg(*item), of_all))


def _read_arg(name: str, value: Json) -> tuple[str, str]:
    if not _ARG.fullmatch(name):
        raise ValueError(f"{shown(name)} is not the name of an ARG: use A-Z a-z 0-9 _")
    if name.upper().startswith("BUILDKIT_"):
        raise ValueError(f"{shown(name)}: arguments named BUILDKIT_... change the builder itself")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{name} should be text: put the value in quotes")
    text = str(value)
    if "\0" in text or len(text) > _LONGEST:
        raise ValueError(f"{name} is too long, or has a NUL in it")
    return name, text


_TEXT = {"type": "string"}
CONTEXT = toml_key(
    Kind(_read_context, {**_TEXT}),
    "Of a build: folder of the source that it gets, without what `.dockerignore` in it names. "
    "Default: all of the source.",
)
DOCKERFILE = toml_key(RELATIVE, "Of a build: path below `context`. Default: `Dockerfile`.")
TARGET = toml_key(
    Kind(_read_target, {**_TEXT}), "Of a build: stage of the Dockerfile. Default: the last."
)
TAG = toml_key(
    Kind(_read_tag, {**_TEXT, "pattern": f"^{_TAG.pattern}$"}),
    'Of a build: a name by which your later runs can use the image: `image = "train"`.',
)
ARGS = toml_key(
    Kind(
        _read_args,
        {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
        Shape.TEXT_TABLE,
    ),
    "Of a build: values of `ARG`s of the Dockerfile. They stay in the image's history.",
)
