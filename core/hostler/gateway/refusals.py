"""Explains why HAProxy refused a configuration. Pure."""

from __future__ import annotations

import re

from hostler.base.text import clean_line
from hostler.model.addresses import is_port

_BIND = re.compile(
    r"for frontend (\S+): [^\n]*?cannot bind (?:\S+ )?socket \(([^)]{1,100})\)"
    r" for \[([^\]]{1,100})\]"
)
_ALERT = re.compile(r"\[ALERT\]\s*\(\d+\) : (.*)")


def port_of(said: str) -> int | None:
    """The port of a service at which HAProxy could not listen; None: something else is wrong."""
    bound = _BIND.search(said)
    parts = bound[1].split(".", 2) if bound is not None else []
    return int(parts[1]) if parts[:1] == ["p"] and is_port(parts[1]) else None


def why(said: str) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    bound = _BIND.search(said)
    if bound is not None:
        service = bound[1].split(".", 2)[-1] if bound[1].startswith("p.") else None
        whose = "" if service is None else f" for {clean_line(service, 80)}"
        text = f"it cannot listen at {bound[3]}{whose}: {bound[2].lower()}"
        other = "the gateway" if service is None else "the service"
        return text, f"end the program that listens there, or give {other} another port"
    alerts = _ALERT.findall(said)
    lines = alerts or said.strip().splitlines()[-1:]
    return clean_line("; ".join(lines[:2]), 400) or "it printed nothing", ""
