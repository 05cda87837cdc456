"""Type-checked access to parsed JSON: values of the wrong type become None or empty.

For files and for Docker's answers. `fields` reads requests; the daemon has its own checks for
hosts.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Union

Json = Union[None, bool, int, float, str, List["Json"], Dict[str, "Json"]]
"""Any JSON value."""
Message = Dict[str, Json]
"""A received object."""
Outgoing = Mapping[str, object]
"""An object to send, with any values that `json` can write: tuples and typed dictionaries, too."""

_MOST = 2**63


def string(value: Json) -> Optional[str]:
    """A text; None for anything else."""
    return value if isinstance(value, str) else None


def integer(value: Json) -> Optional[int]:
    """A whole number of at most 64 bits; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) < _MOST else None


def number(value: Json) -> Optional[float]:
    """A number of at most 64 bits, not NaN; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= _MOST else None


def table(value: Json) -> Dict[str, Json]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: Json) -> List[Json]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def strings(value: Json) -> List[str]:
    """The texts in a list."""
    return [item for item in items(value) if isinstance(item, str)]


def tables(value: Json) -> List[Dict[str, Json]]:
    """The objects in a list."""
    return [item for item in items(value) if isinstance(item, dict)]
