"""Logins of `docker login` on the daemon's machine, for the registries that a Dockerfile names.

A host's Docker gets only the logins of these registries, as for a pull. All functions block: a
login may come from a program (credsStore).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import docker.auth
import docker.errors

from hostler.base.errors import InputError
from hostler.base.secret import Secret
from hostler.base.text import clean_line
from hostler.model.images import HUB, registry

_HUB_URL = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class Login:
    """A name and password, or a token without a name."""

    username: str
    password: Secret


def logins_for(images: Iterable[str]) -> dict[str, Login]:
    """Registry -> login. Raises InputError if Docker's configuration cannot be read."""
    try:
        known = docker.auth.load_config()
        found = {name: known.resolve_authconfig(name) for name in set(map(registry, images))}
    except (docker.errors.DockerException, OSError, ValueError) as error:
        raise InputError(
            f"logins of registries cannot be read: {clean_line(str(error), 200)}",
            remedy="check ~/.docker/config.json where the daemon runs, or run docker login there",
        ) from error
    logins = {name: _login(entry or {}) for name, entry in found.items()}
    return {name: login for name, login in logins.items() if login is not None}


def _login(entry: Mapping[str, str | None]) -> Login | None:
    said = {key.lower(): value for key, value in entry.items() if value}
    secret = said.get("identitytoken") or said.get("password")
    if secret is None:
        return None
    name = "" if "identitytoken" in said else said.get("username") or ""
    return Login(name, Secret(secret))


def header_of(logins: Mapping[str, Login]) -> dict[str, str]:
    """The header with the logins for the classic builder."""
    if not logins:
        return {}
    told = {_HUB_URL if name == HUB else name: _entry(each) for name, each in logins.items()}
    return {"X-Registry-Config": base64.urlsafe_b64encode(json.dumps(told).encode()).decode()}


def _entry(login: Login) -> dict[str, str]:
    if not login.username:
        return {"identitytoken": login.password.reveal()}
    return {"username": login.username, "password": login.password.reveal()}
