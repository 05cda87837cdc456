"""Runs git safely in an untrusted folder: options that are switched off (hooks, filters,
monitors), the time limit, the environment.

A repository's own config can name programs: hooks, filters, monitors, the other end of a promisor
remote. Each is switched off here, for every command.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hostler.base.errors import InputError
from hostler.base.programs import find_program, safe_environ

_TIMEOUT_S = 60.0
_OFF = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.sshCommand=false",
    "core.gitProxy=",
    "core.askPass=",
    "core.pager=cat",
    "credential.helper=",
    "diff.external=",
    "protocol.allow=never",
    "safe.bareRepository=explicit",
    "submodule.recurse=false",
    "core.splitIndex=false",  # else a copy of the index puts its other half into the repository
    "gc.auto=0",
    "maintenance.auto=false",
)
_KEPT_VARIABLES = ("GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
_CONFIG_VARIABLES = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
"""The user's own choice of config. All other variables of git could lead it elsewhere."""
_OWN_SCOPES = ("local", "worktree")
_FILTER_KEYS = ("clean", "smudge", "process", "required")


@dataclass(frozen=True, slots=True)
class Git:
    """git in one folder, unable to run anything that its repository names."""

    folder: Path
    options: tuple[str, ...] = ()
    """-c options that switch the repository's filters off."""

    def run(
        self, *arguments: str, data: bytes = b"", more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end. Raises FileNotFoundError without git, InputError after a
        minute."""
        with start(self, *arguments, more=more) as process:
            try:
                out, err = process.communicate(data, timeout=_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise InputError(
                    f"git {arguments[0]} did not end within a minute in {self.folder}"
                ) from error
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def must(self, *arguments: str) -> bytes:
        """The output of a command. Raises InputError if it fails."""
        answer = self.run(*arguments)
        if answer.returncode != 0:
            said = answer.stderr.decode(errors="replace").strip()
            raise InputError(f"git {arguments[0]} failed in {self.folder}: {said}")
        return answer.stdout

    def line(self, *arguments: str) -> str | None:
        """The single output line of a command; None if there is none."""
        return os.fsdecode(self.run(*arguments).stdout).strip() or None

    def head(self, limit: int, *arguments: str, more: Mapping[str, str] | None = None) -> bytes:
        """The first bytes of a command's output within a minute."""
        with start(self, *arguments, more=more) as process:
            clock = threading.Timer(_TIMEOUT_S, process.kill)
            clock.start()
            try:
                assert process.stdout is not None  # it was asked for
                data = process.stdout.read(limit)
            finally:
                clock.cancel()
                process.kill()
                process.communicate()
        return data


def git_in(folder: Path) -> Git:
    """git for a folder, with the filters of its repository switched off. Raises FileNotFoundError
    without git, InputError for a filter that cannot be switched off."""
    plain = Git(folder)
    return Git(folder, _without_filters(plain))


def start(
    git: Git, *arguments: str, more: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command. Raises FileNotFoundError without git."""
    program = find_program("git")
    if program is None:
        raise FileNotFoundError("git")
    switched = [word for option in _OFF for word in ("-c", option)]
    return subprocess.Popen(
        [program, "--no-pager", "-C", str(git.folder), *switched, *git.options, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**_environment(), **(more or {})},
    )


def _without_filters(git: Git) -> tuple[str, ...]:
    """Options that set each filter in the repository's config to the value of the user's own
    config, or to nothing."""
    answer = git.run("config", "--list", "-z", "--show-scope")
    if answer.returncode != 0:
        return _without_filters_unscoped(git)
    fields = answer.stdout.split(b"\0")
    trusted: dict[str, str] = {}
    own: dict[str, str] = {}
    for scope, entry in zip(fields[::2], fields[1::2], strict=False):
        key, _, value = os.fsdecode(entry).partition("\n")
        if scope.decode() in _OWN_SCOPES:
            own[key] = own.get(key, "") + "\n" + value
        else:
            trusted[key] = value
    return _overridden(own, trusted)


def _without_filters_unscoped(git: Git) -> tuple[str, ...]:
    """As above with a git before 2.26, which does not report the scope of a setting: all filters
    are switched off."""
    listed = git.run("config", "--list", "-z").stdout.split(b"\0")
    entries = [os.fsdecode(entry).partition("\n") for entry in listed]
    values: dict[str, str] = {}
    for key, _, value in entries:
        values[key] = values.get(key, "") + "\n" + value
    return _overridden(values, {})


def _overridden(own: Mapping[str, str], trusted: Mapping[str, str]) -> tuple[str, ...]:
    names = {key.removeprefix("filter.").rpartition(".")[0] for key in own if _is_filter(key)}
    # git-lfs runs its extensions, which any config may name. It reads `git config -l` by lines, so
    # that a value of two lines names one as well, and some versions heed no capitals.
    extended = any("lfs.extension." in f"{key}\n{value}".lower() for key, value in own.items())
    options = _without_hooks(own)
    for name in sorted(names | ({"lfs"} if extended else set())):
        _check_name("filter", name)
        for part in _FILTER_KEYS:
            key = f"filter.{name}.{part}"
            usual = "false" if part == "required" else ""
            value = usual if extended and name == "lfs" else trusted.get(key, usual)
            options += ["-c", f"{key}={value}"]
    return tuple(options)


def _without_hooks(own: Mapping[str, str]) -> list[str]:
    """From git 2.54 on a config names hooks as well, wherever `core.hooksPath` leads."""
    options: list[str] = []
    for name in sorted({key[5:].rpartition(".")[0] for key in own if key.startswith("hook.")}):
        if name:
            _check_name("hook", name)
            options += ["-c", f"hook.{name}.enabled=false", "-c", f"hook.{name}.event="]
    return options


def _check_name(kind: str, name: str) -> None:
    if "=" in name or "\n" in name:
        raise InputError(
            f"the repository's config has a {kind} {name!r} that cannot be switched off",
            remedy="remove it from .git/config",
        )


def _is_filter(key: str) -> bool:
    return key.startswith("filter.") and key.rpartition(".")[2] in _FILTER_KEYS


def _environment() -> dict[str, str]:
    env = {name: value for name, value in safe_environ().items() if not name.startswith("GIT_")}
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    for name in _CONFIG_VARIABLES:
        value = os.environ.get(name)
        if value is not None and (name == "GIT_CONFIG_NOSYSTEM" or os.path.isabs(value)):  # noqa: PTH117
            kept[name] = value
    return {
        **env,
        **kept,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",  # a git that does not know the line above fetches nothing
        "GIT_PAGER": "cat",
        # A filter of the person's own may be `python -m ...`, run in this folder.
        "PYTHONSAFEPATH": "1",
        "LC_ALL": "C",
    }
