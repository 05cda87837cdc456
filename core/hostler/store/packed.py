"""What is read of a run only with the run itself, packed into one value: its stages, its file, its
environment, and the difference to its commit. Pure.

Stages of a run repeat the same keys and mostly the same values: together with the file they are
written from, they take a tenth of their room.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunTexts:
    """The parts, each as text."""

    stages: tuple[str, ...]
    """JSON of each stage, in order."""
    pipeline: str
    """The file as it was submitted."""
    env: str
    """JSON."""
    git_diff: str | None


def pack(texts: RunTexts) -> bytes:
    """All parts as one compressed value."""
    head = json.dumps([texts.pipeline, texts.env, texts.git_diff])
    # JSON has no line breaks of its own, and what escapes the rest is ASCII.
    return zlib.compress("\n".join((head, *texts.stages)).encode("ascii"))


def unpack(packed: bytes) -> RunTexts:
    """The parts of what `pack` made."""
    head, *stages = zlib.decompress(packed).decode("ascii").split("\n")
    pipeline, env, git_diff = json.loads(head)
    return RunTexts(tuple(stages), pipeline, env, git_diff)
