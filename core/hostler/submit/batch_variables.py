"""Finds variables that a batch script uses but does not get, and variables of Slurm that Hostler
does not set; names never reported (HOME, SHELL, LC_...). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from hostler.base.secret_rules import looks_secret

_USED = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_SET = re.compile(
    r"(?:^|[\s;&|(])(?:for[ \t]+([A-Za-z_]\w*)[ \t]+in\b|([A-Za-z_]\w*)\+?=)",
    re.MULTILINE | re.ASCII,
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_LOGIN = frozenset(
    {
        "HOME", "HOST", "HOSTNAME", "LANG", "LANGUAGE", "LOGNAME", "MAIL", "OLDPWD", "PWD",
        "SHELL", "SHLVL", "TERM", "TMPDIR", "TZ", "UID", "USER", "_",
    }
)  # fmt: skip
"""Variables that a shell has on every host."""
_SLURM = re.compile(r"\$\{?(SLURMD?_\w+)(?!\w|:?[-+=])", re.ASCII)
"""Only variables without a default."""
_TASK = "SLURM_ARRAY_TASK_ID"
_OF_STEPS = (
    "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_STEP_ID", "SLURM_STEPID", "SLURM_GTIDS",
    "SLURM_RESTART_COUNT", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_STEP_NODELIST",
)  # fmt: skip
"""Variables that srun sets, or whose absence has a meaning."""
_BEGINNINGS = ("BASH", "CUDA_VISIBLE", "HOSTLER_", "LC_", "SLURM", "XDG_")
"""Prefixes of variables that the shell, or Hostler, sets itself."""
_MOST = 8
"""Names in one line."""


def may_use_secrets(commands: str) -> bool:
    """Whether any word of a script has the name of a secret."""
    return any(looks_secret(word, "") for word in set(_WORD.findall(commands)))


def unpassed_variables(
    commands: str, passed: Iterable[str], environ: Mapping[str, str], stored: Iterable[str]
) -> Iterator[str]:
    """A line on variables that a script uses, the submitter has, and the script does not receive.
    `commands`: the script without its comments. `stored`: names of the submitter's secrets."""
    known = {name for pair in _SET.findall(commands) for name in pair} | {*passed}
    words = dict.fromkeys(_WORD.findall(commands))
    used = dict.fromkeys(_USED.findall(commands))
    secret = [name for name in words if name in stored and name not in known]
    mine = [name for name in used if name in environ and name not in known and not _is_usual(name)]
    secret += [name for name in mine if looks_secret(name, environ[name]) and name not in secret]
    plain = [name for name in mine if name not in secret]
    if secret:
        yield f"the script uses {_list(secret)}, which it does not get: {_flags('secret', secret)}"
    if plain:
        yield (
            f"the script uses {_list(plain)} of your shell, which it does not get: "
            f"{_flags('env', plain)}"
        )


def unset_slurm_variables(commands: str, known: Iterable[str]) -> Iterator[str]:
    """A line on Slurm variables that a script uses, and that neither Hostler nor the script
    sets."""
    assigned = {name for pair in _SET.findall(commands) for name in pair}
    usual = {*known, *assigned, *_OF_STEPS}
    used = dict.fromkeys(_SLURM.findall(commands))
    missing = [name for name in used if name not in usual]
    if _TASK in missing:
        missing.remove(_TASK)
        yield f"the script uses {_TASK}, and has no --array: give it one, as in --array 0-9"
    if missing:
        values = " ".join(f"--env {name}=VALUE" for name in missing[:_MOST])
        yield f"the script uses {_list(missing)}, which Hostler does not set: {values}"


def _is_usual(name: str) -> bool:
    return name in _OF_LOGIN or name.startswith(_BEGINNINGS)


def _list(names: list[str]) -> str:
    more = len(names) - _MOST
    return ", ".join(names[:_MOST]) + (f" and {more} others" if more > 0 else "")


def _flags(option: str, names: list[str]) -> str:
    return " ".join(f"--{option} {name}" for name in names[:_MOST])
