"""Checks `index` and `hosts` of [packages]: addresses of a package index, and the hosts that use
it."""

from __future__ import annotations

import re

from hostler.base.readers import read_line, read_some
from hostler.base.several import of_list, read_all
from hostler.base.text import shown
from hostler.base.units import expand_hosts

_PLAIN = re.compile(r"[!-~]+")
_HERE = ("localhost", "127.0.0.1", "::1")


def read_index(value: object) -> str:
    """An address in the form of pip's `--index-url`. Only an index on this machine may be used
    without TLS: whoever could change an answer would choose what runs on the hosts."""
    import urllib.parse  # few configurations have one

    text = read_line(value, "an address in quotes")
    try:
        parts = urllib.parse.urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{shown(text)} is not an address") from error
    if not _PLAIN.fullmatch(text) or parts.scheme not in ("https", "http") or not host:
        raise ValueError(f"{shown(text)} should be like https://pypi.org/simple")
    if "@" in parts.netloc:
        raise ValueError("should have no login or password: every reader of the file would see it")
    if parts.query or parts.fragment:
        raise ValueError(f"{shown(text)} should have no ? and no #")
    if parts.scheme == "http" and host not in _HERE:
        raise ValueError(f"{shown(text)} should begin with https://")
    return text.rstrip("/")


def read_host_names(value: object) -> tuple[str, ...]:
    """Names of hosts; ranges are expanded."""
    found = read_all(read_some(value), expand_hosts, of_list)
    return tuple(dict.fromkeys(name for names in found for name in names))
