"""The default name of a run of one command."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RUNNERS = re.compile(
    r"python[\d.]*|ipython3?|ba?sh|zsh|perl|rscript|node|julia|env|nice|time|uv|conda|torchrun|"
    r"accelerate|deepspeed|srun|stdbuf"
)
_SCRIPT = re.compile(r"[^=]*\.(?:py|sh|r|jl|pl|js)", re.IGNORECASE)
_LONGEST = 40


def program_name(command: Sequence[str]) -> str:
    """The program, or of `python3 train.py --lr 3e-5` and its like the script; as a pipeline may be
    called."""
    if not command:
        return "run"
    first = _plain(command[0])
    if not _RUNNERS.fullmatch(first):
        return first
    words = [word for word in command[1:] if _SCRIPT.fullmatch(word)]
    if "-m" in command[:-1]:
        words.insert(0, command[command.index("-m") + 1])
    return _plain(words[0]) if words else first


def _plain(word: str) -> str:
    base = word.strip().rsplit("/", 1)[-1].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", base).strip("._-")[:_LONGEST] or "run"
