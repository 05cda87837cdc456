"""The patterns by which a command or script chooses GPUs itself (CUDA_VISIBLE_DEVICES), and the
words of the warning. Pure.

A process sees all GPUs of its host, so such a number is that of any card: under Slurm it counted
those of the job.
"""

from __future__ import annotations

import re

VARIABLES = "_VISIBLE_DEVICES"
"""Part of the names of all variables that choose GPUs."""
_NAME = r"(?<![\w${])((?:CUDA|NVIDIA)_VISIBLE_DEVICES)"
_EQUALS = r"(?:=|[\"']\][ \t]*=[ \t]*|[ \t]+)"
"""Of a shell; of `os.environ["..."]` in Python; of `setenv` in csh."""
_VALUE = r"[\"']?(\d[\d,]*|(?:GPU|MIG)-[\w-]+|all\b|\$\(*\{?\w+)"
_ASSIGNED = re.compile(_NAME + _EQUALS + _VALUE)
_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#.*$", re.MULTILINE)
_GIVEN = re.compile(
    r"\$\{?(?:CUDA_VISIBLE_DEVICES|HOSTLER_GPU)|environ\b.{0,6}CUDA_VISIBLE_DEVICES"
)
"""The code reads which GPUs Hostler assigned, so its variables may come from there."""


def own_gpus(text: str) -> str | None:
    """The first assignment by which it chooses GPUs itself, like "CUDA_VISIBLE_DEVICES=0"; None:
    there is none. Choosing none, or some of the given ones, does not count."""
    if VARIABLES not in text:
        return None
    text = _COMMENT.sub("", text)
    has_given = _GIVEN.search(text) is not None  # once: there may be thousands of assignments
    for name, value in _ASSIGNED.findall(text):
        if not value.startswith("$"):
            return f"{name}={value}"
        if not has_given:
            return name if "(" in value else f"{name}={value.replace('{', '')}"
    return None


def told_of(assignment: str, where: str) -> str:
    """The meaning of this assignment, and the remedy."""
    return (
        f"{assignment} in {where} counts all GPUs of the host, not those that Hostler gives: "
        "remove it"
    )
