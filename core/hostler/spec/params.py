"""Parameters: defaults of the file, replaced by `-p` of the command line, converted to the
default's kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from hostler.base.readers import MAX_ARGUMENT
from hostler.base.text import shown
from hostler.model.pipelines import Scalar
from hostler.spec.problems import Problems

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def read_params(
    defaults: Mapping[str, Scalar], given: Mapping[str, str], problems: Problems
) -> dict[str, Scalar]:
    """The defaults, replaced by the given texts, each converted to its default's type."""
    values = dict(defaults)
    for name, text in given.items():
        if name not in defaults:
            known = ", ".join(list(defaults)[:10]) or "none"
            hint = problems.guess(name, defaults) or f"known: {known}"
            problems.add(("params",), f"there is no parameter {shown(name)}", hint)
            continue
        try:
            values[name] = convert(text, defaults[name])
        except ValueError as error:
            problems.add(("params", name), str(error))
    return values


def convert(text: str, default: Scalar) -> Scalar:
    """A text from the command line as a value of the default's type. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"{shown(text)} should be text")
    if len(text) > MAX_ARGUMENT or "\0" in text:
        raise ValueError("is too long or has a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{shown(text)} is not valid Unicode") from error
    if isinstance(default, bool):
        return _flag(text)
    if isinstance(default, int):
        return _whole(text)
    return _number(text) if isinstance(default, float) else text


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"{shown(text)} should be true or false")
    return word in _TRUE


def _whole(text: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} should be a whole number, as its default is") from error
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{shown(text)} is too large")
    return number


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} should be a number, as its default is") from error
    if not math.isfinite(number):
        raise ValueError(f"{shown(text)} should be a finite number")
    return number
