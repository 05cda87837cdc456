"""Packs the agent into one archive (which modules are left out), and makes the one constant command
that starts it on a host."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import re
import zipfile
from functools import lru_cache
from typing import List, NamedTuple, Tuple

_FORBIDDEN = ("'", "\\", "!", "~", '"""', "\t")
_LEFT_OUT = ("bundle.py", "bootstrap.py")


class Bundle(NamedTuple):
    """The archive of one agent version."""

    hash: str
    """SHA-256 of `data`, in hex: the version's name on every host."""
    data: bytes
    """The zip file."""


@lru_cache(maxsize=1)
def build() -> Bundle:
    """This package's modules and the installed pynvml as a zip file, byte for byte repeatable.

    Raises FileNotFoundError when pynvml is not installed as one source file.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(_sources()):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o100600 << 16
            archive.writestr(info, data)
    data = buffer.getvalue()
    return Bundle(hashlib.sha256(data).hexdigest(), data)


def command(hash: str) -> str:
    """The remote command that starts the agent with this hash; the same for every host and user.

    It holds only the bootstrap and the hash, no input from a person or a host.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", hash):
        raise ValueError("%r is not a SHA-256 in hex" % hash)
    return "exec python3 -I -S -c '%s' %s" % (_bootstrap(), hash)


@lru_cache(maxsize=1)
def _bootstrap() -> str:
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "bootstrap.py"), encoding="utf-8") as file:
        source = file.read()
    lines = []
    for line in source[source.index("\nimport ") + 1 :].splitlines():
        code = line.split("  # ")[0].rstrip()
        if code and not code.lstrip().startswith("#"):
            indent = len(code) - len(code.lstrip())
            lines.append(" " * (indent // 4) + code.lstrip())
    text = "~".join(lines)
    for bad in _FORBIDDEN:
        if bad in text.replace("~", "\n"):
            raise ValueError("the bootstrap may not hold %r" % bad)
    return 'exec("""%s""".replace("~",chr(10)))' % text


def _sources() -> List[Tuple[str, bytes]]:
    folder = os.path.dirname(os.path.abspath(__file__))
    found = [("pynvml.py", _read(_pynvml()))]
    for name in os.listdir(folder):
        if name.endswith(".py") and name not in _LEFT_OUT:
            found.append(("hostler_agent/" + name, _read(os.path.join(folder, name))))
    return found


def _pynvml() -> str:
    spec = importlib.util.find_spec("pynvml")
    if spec is None or spec.origin is None or not spec.origin.endswith("pynvml.py"):
        raise FileNotFoundError("pynvml.py is not installed (package nvidia-ml-py)")
    return spec.origin


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
