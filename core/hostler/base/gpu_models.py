"""Names of GPU models: short names, nominal memory, and whether a card matches a requested name
("A100", "L4|A10") or size. Pure.
"""

from __future__ import annotations

import fnmatch
from functools import lru_cache

from hostler.base.units import GIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERANCE = 0.93
"""A card sold as 80 GiB reports 79.6: requested sizes are nominal, and compared with this
tolerance."""

_NOMINAL_GIB = (4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 144, 180,
                192, 288)  # fmt: skip
_VENDOR_WORDS = ("nvidia", "tesla", "geforce", "rtx", "gtx", "quadro", "graphics", "device")
_PREFIX = "pro"
"""This word before a number means another model: RTX PRO 6000 is not RTX 6000."""
_SUFFIXES = ("ti", "super", "ada", "d", "laptop")
"""These words after a number mean another model, too."""


def nominal_gib(memory_total: int | None) -> int | None:
    """The size a card is sold with, in GiB."""
    if not memory_total:
        return None
    size = memory_total / GIB
    for nominal in _NOMINAL_GIB:
        if nominal * TOLERANCE <= size <= nominal:
            return nominal
    return round(size)


def short_model(name: str | None, memory_total: int | None = None) -> str:
    """ "A100-80G" for "NVIDIA A100-SXM4-80GB"; "-" where the name is not known."""
    words = (name or "").replace("_", " ").split()
    kept = [w for w in words if w.lower() not in _VENDOR_WORDS]
    if not kept:
        return "-"
    whole = 2 if kept[0].lower() == _PREFIX and len(kept) > 1 else 1
    model = "".join(kept[:whole]).split("-")[0]
    for word in kept[whole:]:
        if word.lower() not in _SUFFIXES:
            break
        model += word
    size = nominal_gib(memory_total)
    return f"{model}-{size}G" if size else model


def card_matches(
    name: str | None, memory_total: int | None, models: Sequence[str], memory: int | None
) -> bool | None:
    """Whether a GPU is of the models and has the requested memory; None: the GPU does not report
    it."""
    told = (model_matches(name, memory_total, models), memory_matches(memory_total, memory))
    return False if False in told else None if None in told else True


def memory_matches(memory_total: int | None, memory: int | None) -> bool | None:
    """Whether a GPU's nominal memory is enough; None: its size is not known."""
    if memory is None:
        return True
    return None if memory_total is None else memory_total >= memory * TOLERANCE


def split_count(model: str) -> tuple[str, int | None]:
    """("L4", 8) for "L4:8"; without a count the name alone. Raises ValueError if the text after the
    colon is no count."""
    name, colon, count = model.rpartition(":")
    if not colon:
        return model, None
    if not (name and count.isascii() and count.isdecimal() and 0 < len(count) <= 4 and int(count)):
        raise ValueError("should be a name, or a name with a number of GPUs like L4:8")
    return name, int(count)


def alternatives(models: Sequence[str], gpus: int) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """How many GPUs of which models, each of these being enough: names with the same count
    together, in the order in which the counts are written. `gpus`: of names without a count."""
    found: dict[int, list[str]] = {}
    for model in models:
        name, count = split_count(model)
        found.setdefault(gpus if count is None else count, []).append(name)
    return tuple((count, tuple(names)) for count, names in found.items())


def is_glob(pattern: str) -> bool:
    """Whether a pattern has a `*`: such a pattern means several models."""
    return "*" in pattern


def model_matches(
    name: str | None, memory_total: int | None, patterns: Sequence[str]
) -> bool | None:
    """Whether a GPU fits any pattern; None: its name is not known. No patterns: everything fits.

    A pattern is whole words of the name in their order, in small or capital letters: "A10" is no
    A100 and no A10G. The memory counts as a word ("A100 80GB"), and the short name of tables is one
    too ("3080Ti-12G"). With a `*` it is a glob, which begins where a word begins.
    """
    if not patterns:
        return True
    if not name:
        return None
    return any(_matches(name, memory_total, pattern) for pattern in patterns)


@lru_cache(4096)  # a lab has few models, and each plan asks for every card
def _matches(name: str, memory_total: int | None, pattern: str) -> bool:
    lower, wanted = name.lower(), pattern.lower()
    if "*" in wanted:
        return any(fnmatch.fnmatchcase(rest, wanted) for rest in _from_each_word(lower))
    if wanted in (short_model(name, memory_total).lower(), short_model(name).lower()):
        return True
    asked, there = _words(wanted), iter([*_words(lower), f"{nominal_gib(memory_total)}g"])
    return bool(asked) and all(word in there for word in asked)


def _words(text: str) -> list[str]:
    """Letters and digits that stand together; "80GB" and "80GiB" as "80g"."""
    words = "".join(c if c.isalnum() else " " for c in text).split()
    return [_size(word) or word for word in words]


def _size(word: str) -> str | None:
    digits = word.removesuffix("b").removesuffix("i").removesuffix("g")
    return f"{digits}g" if digits != word and digits.isdigit() else None


def _from_each_word(text: str) -> list[str]:
    starts = [
        at for at in range(len(text)) if text[at].isalnum() and not text[at - 1 : at].isalnum()
    ]
    return [text, *(text[at:] for at in starts)]
