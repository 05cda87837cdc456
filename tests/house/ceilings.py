"""The numbers that must not grow, and `lower`, which takes them down to the present ones."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).with_name("ceilings.toml")


def read_ceilings(text: str) -> dict[str, int]:
    """Measure -> ceiling."""
    return {name: int(value) for name, value in tomllib.loads(text).items()}


def lower(text: str, values: Mapping[str, float]) -> str:
    """The file with every ceiling at the present number, where that is smaller: never raised."""
    for name, ceiling in read_ceilings(text).items():
        now = min(ceiling, int(values[name]))
        text = re.sub(rf"^{name} = {ceiling}\b", f"{name} = {now}", text, flags=re.MULTILINE)
    return text
