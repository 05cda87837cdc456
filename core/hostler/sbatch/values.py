"""Reads values as Slurm writes them: times, sizes, arrays, GPU counts and types (MIG and shards
refused), and model names of cards. Readers raise ValueError."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hostler.base.readers import MAX_BYTES, MAX_SECONDS
from hostler.base.text import shown
from hostler.base.units import GIB, KIB, MIB, TIB
from hostler.model.pipeline_file import MAX_STAGES

_NUMBER = r"([0-9]{1,9})"
_WITH_DAYS = re.compile(rf"{_NUMBER}-{_NUMBER}(?::{_NUMBER}(?::{_NUMBER})?)?")
_WITHOUT = re.compile(rf"{_NUMBER}(?::{_NUMBER}(?::{_NUMBER})?)?")
_MEMORY = re.compile(r"([0-9]{1,12})([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": MIB, "k": KIB, "m": MIB, "g": GIB, "t": TIB}
_PART = re.compile(rf"{_NUMBER}(?:-{_NUMBER}(?::{_NUMBER})?)?")
_GPU = re.compile(r"(?:gres[:/])?gpu(?:[:=](.+))?")
_TYPED = re.compile(rf"(?:([A-Za-z0-9][\w.+-]*?):)?{_NUMBER}|(?![0-9]+$)([A-Za-z0-9][\w.+-]*)")
_SOCKETS = re.compile(r"\(S:[0-9,-]*\)")
"""Sockets of GPUs, as `scontrol show` writes them after their number."""
_SLICE = re.compile(r"(?:.*[_-])?[0-9]g\.[0-9]+gb", re.IGNORECASE)
"""A part of a GPU (MIG)."""
_MEMORY_OF = re.compile(r"[_-]([0-9]{2,3})gb?$", re.IGNORECASE)
_SHARES = ("shard", "mps")
_WHOLE = "a script gets whole GPUs; write --gres=gpu:1"
_VENDOR = re.compile(r"^(?:geforce|quadro|rtx|gtx|tesla)[_-]?(?=[a-z]*[0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Array:
    """The tasks of a job array."""

    ids: tuple[int, ...]
    """In ascending order, each once, as in Slurm."""
    step: int = 1
    at_once: int | None = None
    """None: no limit."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """A number of GPUs, optionally of one model."""

    count: int = 0
    model: str = ""
    others: tuple[str, ...] = ()
    """Other generic resources of the same option."""


def read_time(text: str) -> float | None:
    """Seconds of a time limit; None for no limit."""
    if text.upper() in ("UNLIMITED", "INFINITE", "-1"):
        return None
    if match := _WITH_DAYS.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    elif match := _WITHOUT.fullmatch(text):
        days = 0
        parts = [int(part) for part in match.groups() if part is not None]
        hours = parts.pop(0) if len(parts) == 3 else 0
        minutes, seconds = (*parts, 0)[:2]
    else:
        raise ValueError(f"{shown(text)} is not a time: write it like 90, 2:30:00 or 1-12:00")
    found = float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    if found > MAX_SECONDS:
        raise ValueError(f"{shown(text)} is longer than ten years: write 0 for no limit")
    return found or None


def read_memory(text: str) -> int:
    """Bytes; a bare number is in MiB."""
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{shown(text)} is not a size: write it like 16G or 4000M, with K, M, G or T"
        )
    size = int(match[1]) * _UNITS[match[2].lower()]
    if size > MAX_BYTES:
        raise ValueError(f"{shown(text)} is more than a host can have")
    return size


def read_number(text: str) -> int:
    """A whole number from 1."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise ValueError(f"{shown(text)} is not a whole number from 1")
    return int(text)


def read_array(text: str) -> Array:
    """The tasks of "0-15", "0,6,16-32", "0-15:4%2". A large array is never expanded."""
    listed, percent, most = text.partition("%")
    ranges = [_range(part, text) for part in listed.split(",")]
    if sum(map(len, ranges)) > MAX_STAGES:
        raise ValueError(f"{shown(text)} has more than {MAX_STAGES:,} tasks")
    ids = sorted({number for found in ranges for number in found})
    return Array(tuple(ids), ranges[0].step, read_number(most) if percent else None)


def _range(part: str, text: str) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{shown(text)} is not an array: write it like 0-15, 1,3,5 or 0-15:4%2")
    first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
    if last < first or step < 1:
        raise ValueError(f"{shown(text)}: the range {part} is empty")
    return range(first, last + 1, step)


def read_gpus(text: str) -> Gpus:
    """GPUs of `--gpus`: "4", "a100:4", "a100", "gpu:4"."""
    found = [_typed(part) for part in _SOCKETS.sub("", text).split(",")]
    models = {gpus.model for gpus in found}
    if len(models) > 1:
        raise ValueError(f"{shown(text)}: all GPUs of a script must be of one model")
    return Gpus(sum(gpus.count for gpus in found), found[0].model)


def read_gres(text: str) -> Gpus:
    """GPUs of `--gres`: "gpu", "gpu:2", "gpu:a100:4", "gres/gpu:1", "none"."""
    listed = _SOCKETS.sub("", text).split(",")
    parts = [part for part in listed if part and part.lower() != "none"]
    matches = {part: _GPU.fullmatch(part) for part in parts}
    wanted = [match[1] or "1" for match in matches.values() if match is not None]
    others = tuple(part.split(":")[0] for part, match in matches.items() if match is None)
    if share := next((name for name in others if name in _SHARES), None):
        raise ValueError(f"{shown(text)}: {share} is a part of a GPU, and {_WHOLE}")
    found = read_gpus(",".join(wanted)) if wanted else Gpus()
    return Gpus(found.count, found.model, others)


def _typed(text: str) -> Gpus:
    match = _TYPED.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown(text)} is not a number of GPUs: write it like 2 or a100:2")
    kind = match[1] or match[3] or ""
    if _SLICE.fullmatch(kind):
        raise ValueError(f"{shown(text)} is a part of a GPU (MIG), and {_WHOLE}")
    return Gpus(int(match[2] or 1), model_of(kind))


def model_of(kind: str) -> str:
    """A type of GPU in Slurm, in words that Hostler finds in the card's name: "rtx3090" is 3090,
    "a100_80gb" and "a100-80g" are an A100 80GB. "gpu" is none."""
    if kind.lower() == "gpu":
        return ""
    named = _MEMORY_OF.sub(r" \1gb", _VENDOR.sub("", kind))
    return named.replace("_", " ")
