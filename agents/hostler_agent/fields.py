"""Reads fields of requests (texts, numbers, seconds, lists), and refuses wrong ones by name."""

from __future__ import annotations

from typing import List, Optional

from hostler_agent.folders import Refusal
from hostler_agent.json_values import Message, integer, number


def text(message: Message, key: str) -> str:
    """A required text."""
    value = message.get(key)
    if not isinstance(value, str):
        raise Refusal("%s should be a text" % key, "InputError")
    return value


def optional_text(message: Message, key: str) -> Optional[str]:
    """A text; None if missing or null."""
    return None if message.get(key) is None else text(message, key)


def whole(message: Message, key: str, default: int = 0) -> int:
    """A whole number, not negative."""
    value = default if message.get(key) is None else integer(message[key])
    if value is None or value < 0:
        raise Refusal("%s should be a whole number, not negative" % key, "InputError")
    return value


def seconds(message: Message, key: str, default: float = 0.0) -> float:
    """A time to wait, less than eleven days."""
    value = number(message.get(key, default))
    if value is None or not 0 <= value < 1e6:
        raise Refusal("%s should be a number of seconds" % key, "InputError")
    return value


def optional_number(message: Message, key: str) -> Optional[float]:
    """A number; None if missing or null."""
    value = number(message.get(key))
    if value is None and message.get(key) is not None:
        raise Refusal("%s should be a number" % key, "InputError")
    return value


def texts(message: Message, key: str) -> List[str]:
    """A required list of texts."""
    value = message.get(key)
    if isinstance(value, list):
        found = [item for item in value if isinstance(item, str)]
        if len(found) == len(value):
            return found
    raise Refusal("%s should be a list of texts" % key, "InputError")
