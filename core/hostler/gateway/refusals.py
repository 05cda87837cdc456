"""Explains why HAProxy refused a configuration. Pure."""

from __future__ import annotations

import re

from hostler.base.text import clean_line

_BIND = re.compile(
    r"for frontend (\S+): [^\n]*?cannot bind (?:\S+ )?socket \(([^)]{1,100})\)"
    r" for \[([^\]]{1,100})\]"
)
_ALERT = re.compile(r"\[ALERT\]\s*\(\d+\) : (.*)")


def why(said: str) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    bound = _BIND.search(said)
    if bound is not None:
        service = bound[1].removeprefix("p.") if bound[1].startswith("p.") else None
        whose = "" if service is None else f" for {clean_line(service, 80)}"
        text = f"it cannot listen at {bound[3]}{whose}: {bound[2].lower()}"
        other = "the gateway" if service is None else "the service"
        return text, f"end what listens there, or give {other} another port"
    alerts = _ALERT.findall(said)
    lines = alerts or said.strip().splitlines()[-1:]
    return clean_line("; ".join(lines[:2]), 400) or "it said nothing", ""
