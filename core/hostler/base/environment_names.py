"""Checks names of modules and conda environments (50 modules at most) before they become arguments
of programs on hosts.
"""

from __future__ import annotations

import re

from hostler.base.readers import read_line, read_relative, read_words
from hostler.base.several import of_list, read_all
from hostler.base.text import shown

CONDA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,199}")
MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+:@/=,~-]{0,199}")
MAX_MODULES = 50
_MAX_PATH = 1000
_FILES = (".yml", ".yaml")


def is_file(conda: str) -> bool:
    """Whether it names a file from which an environment is built."""
    return conda.endswith(_FILES)


def read_conda(value: object) -> str:
    """The name of an environment, the path of its folder on the host, or a file of the source."""
    text = read_line(value, "the name of a conda environment")
    if is_file(text):
        return read_relative(text)
    if text.startswith(("/", "~/")):
        if ".." in text.split("/") or len(text) > _MAX_PATH:
            raise ValueError(f"{shown(text)} should be a path without ..")
        if text.rstrip("/") in ("", "~"):
            raise ValueError(f"{shown(text)} should be the folder of a conda environment")
        return text.rstrip("/")
    if not CONDA.fullmatch(text):
        raise ValueError(
            f"{shown(text)} should be the name of a conda environment, its path on the host "
            "(/... or ~/...), or a file of the source (environment.yml)"
        )
    return text


def read_modules(value: object) -> tuple[str, ...]:
    """Names of modules, in the order in which they are loaded."""
    names = () if value == [] else tuple(read_all(read_words(value), _module, of_list))
    if len(names) > MAX_MODULES:
        raise ValueError(f"should be at most {MAX_MODULES} modules")
    return tuple(dict.fromkeys(names))


def _module(text: str) -> str:
    if not MODULE.fullmatch(text):
        hint = ": one name for each item of the list" if " " in text else ""
        raise ValueError(f"{shown(text)} should be the name of a module, as cuda/12.4{hint}")
    return text
