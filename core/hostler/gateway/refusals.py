"""Explains why HAProxy refused a configuration: recognises its messages, and ports that it could
not bind. Pure."""

from __future__ import annotations

import re

from hostler.base.text import clean_line
from hostler.model.addresses import is_port

_BIND = re.compile(
    r"for frontend (\S+): [^\n]*?cannot bind (?:\S+ )?socket \(([^)]{1,100})\)"
    r" for \[([^\]]{1,100})\]"
)
_ALERT = re.compile(r"\[ALERT\]\s*\(\d+\) : (.*)")


def ports_of(said: str) -> dict[int, str]:
    """The ports of services at which HAProxy could not listen, and why; HAProxy names all of them
    at once."""
    found = ((bound[1].split(".", 2), _words(bound)) for bound in _BIND.finditer(said))
    return {
        int(part[1]): text
        for part, text in found
        if len(part) == 3 and part[0] == "p" and is_port(part[1])
    }


def why(said: str) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    bound = _BIND.search(said)
    if bound is not None:
        other = "the service" if bound[1].startswith("p.") else "the gateway"
        return _words(bound), f"end the program that listens there, or give {other} another port"
    alerts = _ALERT.findall(said)
    lines = alerts or said.strip().splitlines()[-1:]
    return clean_line("; ".join(lines[:2]), 400) or "it printed nothing", ""


def _words(bound: re.Match[str]) -> str:
    service = bound[1].split(".", 2)[-1] if bound[1].startswith("p.") else None
    whose = "" if service is None else f" for {clean_line(service, 80)}"
    return f"it cannot listen at {bound[3]}{whose}: {bound[2].lower()}"
