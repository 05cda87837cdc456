"""Takes a submission's secrets from the submitter's environment; warns of values that should be
secrets; base/secret_rules.py has the names that look like one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hostler.base.errors import InputError
from hostler.base.json_types import JsonTable
from hostler.base.secret_rules import (
    check_secret_value,
    is_masked,
    looks_secret,
    read_secret_name,
)
from hostler.base.text import clean_line

_WORDS = "a command line must not contain the value: other users see it in the list of processes"


def own_secrets(
    given: Iterable[str] | Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Their values: given directly, or from variables of the caller's environment; missing
    variables are left out. Raises InputError, without any value in it."""
    values = given if isinstance(given, Mapping) else environ
    found: dict[str, str] = {}
    for name in given:
        _check_name(name)
        if name in values:
            found[name] = _checked(name, values[name])
    return found


def all_own_secrets(
    given: Iterable[str] | Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """The same. Raises InputError also if the environment does not have one."""
    found = own_secrets(given, environ)
    for name in given:
        if name not in found:
            raise unset(name)
    return found


def check_unseen(own: Mapping[str, str], texts: Iterable[str]) -> None:
    """Raises InputError if the value of a secret is in texts that are stored and shown, for example
    because a shell has put it into the command."""
    all_text = "\0".join(texts)
    for name, value in own.items():
        if is_masked(value) and value.strip() in all_text:
            raise InputError(
                f"the value of the secret {name} is in the command, a variable, the pipeline file "
                "or the lines of a matrix, which are stored and visible to all users",
                remedy=f"Let the command read the variable {name} itself, and use single quotes: "
                f"'${name}'. In double quotes your shell replaces the name by the value",
            )


def unset(name: str) -> InputError:
    """Why a secret cannot be taken from the caller's environment."""
    return InputError(
        f"--secret {name}: your shell does not set this variable",
        remedy=f"Set it for this shell (read -rs {name}; export {name}), or keep it with the "
        f"daemon: hostler secret set {name}",
    )


def with_own(own: Mapping[str, str]) -> JsonTable:
    """The part of a body with the secrets; empty if there are none, so that earlier daemons accept
    it."""
    return {"secrets": {**own}} if own else {}


def check_params(params: Mapping[str, str]) -> None:
    """Raises InputError for a parameter with the name of a secret: parameters are visible to all
    users."""
    for name, value in params.items():
        if looks_secret(name, value):
            variable = name.upper().replace("-", "_").replace(".", "_")
            raise InputError(
                f"-p {clean_line(name, 60)}: this looks like a secret, and parameters are stored "
                "and visible to all users",
                remedy=f'Use --secret {variable}, and secrets = ["{variable}"] in the pipeline '
                "file; or rename the parameter",
            )


def told_variables(
    given: Iterable[str],
    environ: Mapping[str, str],
    option: str = "--env",
    instead: str = "--secret {name} is not",
) -> list[str]:
    """A warning for each NAME=VALUE, or NAME of the environment, that has the name of a secret."""
    lines = []
    for text in given:
        name, equals, value = text.partition("=")
        if looks_secret(name, value if equals else environ.get(name, "")):
            name = clean_line(name, 60)
            lines.append(
                f"{option} {name} is stored and visible to all users, like other variables; "
                + instead.format(name=name)
            )
    return lines


def _check_name(name: str) -> None:
    if "=" in name:
        short = clean_line(name.partition("=")[0], 60)
        raise InputError(
            f"--secret {short}: {_WORDS}",
            remedy=f"Write only the name, --secret {short}: the value is taken from your shell's "
            "variable. Other users may have seen the value that you typed: replace it at its "
            "issuer",
        )
    try:
        read_secret_name(name)
    except ValueError as error:
        raise InputError(f"--secret: {error}") from None


def _checked(name: str, value: str) -> str:
    try:
        check_secret_value(value)
    except ValueError as error:
        raise InputError(f"--secret {name}: {error}") from None
    return value
