"""Checks for `hostler doctor` whether this machine can fetch packages: hosts named in [packages],
pip, the folder of wheels."""

from __future__ import annotations

import importlib.util
import sys

from hostler.base.errors import InputError
from hostler.base.text import first_of
from hostler.model.config import Config
from hostler.wheels.folder import listing


def not_ready(config: Config) -> tuple[str, str] | None:
    """The problem, and the remedy."""
    packages = config.packages
    unknown = [name for name in packages.hosts if config.host(name) is None]
    if unknown:
        said = f"`hosts` under [packages] has hosts that are not configured: {first_of(unknown, 5)}"
        return said, "correct `hosts` under [packages] in config.toml"
    if not any(map(importlib.util.find_spec, ("pip", "ensurepip"))):
        said = f"there is no pip for {sys.executable}"
        return said, "install it: the package python3-pip, or python3-venv"
    try:
        if packages.wheels is not None:
            listing(packages.wheels)
    except InputError as error:
        return error.message, error.remedy
    return None
