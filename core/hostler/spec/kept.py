"""Values that say what is kept of a stage: declared outputs, and globs of other files."""

from __future__ import annotations

from typing import Annotated

from hostler.spec.values import plain, read_relative, read_some

_STRING = {"type": "string"}


def read_output(value: object) -> str:
    """A path below the working folder. One that ends in "/" is a folder, made before the start."""
    path = read_relative(value)
    return f"{path}/" if isinstance(value, str) and value.rstrip().endswith("/") else path


def read_globs(value: object) -> list[str]:
    """Globs below the working folder, or none."""
    return [read_relative(each) for each in read_some(value)]


Output = Annotated[str, *plain(read_output, _STRING)]
Globs = Annotated[
    list[str],
    *plain(read_globs, {"anyOf": [_STRING, {"type": "array", "items": _STRING}]}),
]
