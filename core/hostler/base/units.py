"""Formats and parses sizes and durations ("24GiB", "2h30m"), ages, counts and ranges of host names
(1000 at most). Pure, and on the quick path.
"""

from __future__ import annotations

import re

KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4

_MOST = 2.0**70
"""Larger numbers (infinity, or a number from a hostile daemon) are not read as a size or
duration."""
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)\s*", re.IGNORECASE)
_FACTORS = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """Bytes in a size such as "24GiB", "512MiB" or "1.5T".

    A unit is required, since "24" alone is as often meant in GiB as in bytes. "24G" and "24GB" are
    read as GiB, as people mean when they speak of GPU memory.
    Raises ValueError with a message fit for a person.
    """
    match = _SIZE.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise ValueError(f"{text!r} is not a size: write a number and a unit, like 24GiB")
    return int(float(match[1]) * _FACTORS[match[2].lower()])


def format_size(size: float | None) -> str:
    """A size for people: "79.6 GiB", "512 MiB", "-" for None, "?" for an invalid size."""
    if size is None:
        return "-"
    if not -_MOST < size < _MOST:
        return "?"
    for name, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(size) >= factor:
            number = size / factor
            text = f"{number:.1f}" if number < 100 else f"{number:.0f}"
            return f"{text.removesuffix('.0')} {name}"
    return f"{int(size)} B"


def parse_duration(text: str) -> float:
    """Seconds in a duration such as "90s", "2h30m", "1d" or "250ms".

    Raises ValueError with a message fit for a person.
    """
    compact = text.replace(" ", "").lower()
    parts = _DURATION_PART.findall(compact)
    if not parts or "".join(n + u for n, u in parts) != compact:
        raise ValueError(f"{text!r} is not a duration: write it like 90s, 30m or 2h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def format_duration(seconds: float | None) -> str:
    """A duration for people, two units at most: "3h12m", "41s", "0.4s", "-" for None, "?" for what
    is no duration."""
    if seconds is None:
        return "-"
    if not -_MOST < seconds < _MOST:
        return "?"
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 10:
        return f"{seconds:.1f}s".replace(".0s", "s")
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return _two(whole // 60, "m", whole % 60, "s")
    if whole < 86400:
        return _two(whole // 3600, "h", whole % 3600 // 60, "m")
    return _two(whole // 86400, "d", whole % 86400 // 3600, "h")


def format_age(seconds: float) -> str:
    """A duration for people in whole seconds; negative durations count as zero."""
    is_known = -_MOST < seconds < _MOST
    return format_duration(max(0, int(seconds)) if is_known else seconds)


def format_value(value: object) -> str:
    """A parameter or matrix value as TOML writes it: "true", "0.1"; text without its quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small:02d}{small_unit}" if small else f"{big}{big_unit}"


MAX_HOSTS = 1000

_RANGES = re.compile(r"\[([^\[\]]*)\]")
_RANGE_PART = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")


def expand_hosts(pattern: str) -> tuple[str, ...]:
    """Names in a pattern: "gpu[01-03,07]" is gpu01, gpu02, gpu03, gpu07; zeros in front are kept.

    Several brackets multiply. Raises ValueError for an empty or backward range, stray brackets, a
    name that appears twice, or more than `MAX_HOSTS` names.
    """
    pieces = _RANGES.split(pattern)  # text and ranges in turn
    if any(mark in text for text in pieces[::2] for mark in "[]"):
        raise ValueError(f"{pattern!r} has a bracket without its counterpart")
    names = [pieces[0]]
    for inside, after in zip(pieces[1::2], pieces[2::2], strict=True):
        numbers = _range_numbers(pattern, inside)
        if len(names) * len(numbers) > MAX_HOSTS:
            raise ValueError(f"{pattern!r} is more than {MAX_HOSTS} hosts")
        names = [name + number + after for name in names for number in numbers]
    if len(set(names)) != len(names):
        raise ValueError(f"{pattern!r} names a host twice")
    return tuple(names)


def _range_numbers(pattern: str, inside: str) -> list[str]:
    numbers: list[str] = []
    for part in inside.split(","):
        match = _RANGE_PART.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{pattern!r}: [{inside}] is not a range: write it like [01-12]")
        first, last = match[1], match[2] or match[1]
        if int(last) < int(first):
            raise ValueError(f"{pattern!r}: the range {part.strip()} goes backwards")
        if int(last) - int(first) >= MAX_HOSTS:
            raise ValueError(f"{pattern!r} is more than {MAX_HOSTS} hosts")
        width = len(first)
        numbers += [str(number).zfill(width) for number in range(int(first), int(last) + 1)]
    return numbers


def counted(number: int, thing: str) -> str:
    """ "1 host", "2 hosts"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def requeued_text(count: int) -> str:
    """ "requeued 3 times", "requeued once"; "" for never."""
    if not count:
        return ""
    return "requeued once" if count == 1 else f"requeued {count} times"
