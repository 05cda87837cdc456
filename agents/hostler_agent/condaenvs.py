"""Finds a conda environment by name, also where a login without a terminal has no `conda`: which
folders and files are searched, and the command that builds one.

Conda is usually set up in ~/.bashrc, which returns early in a shell without a terminal. So
environments are found as conda finds them: by the folders of the installations that this login
uses, and by the list of all environments that conda and mamba keep in ~/.conda. Conda itself is run
only if these files do not name the environment.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional

BASE = "base"
_RC_FILES = (".bashrc", ".bash_profile", ".profile", ".zshrc")
_MENTIONED = re.compile(
    r"((?:~|\$HOME|\$\{HOME\})?/[^'\"\s:;=()]+)/(?:bin|condabin|etc/profile\.d/(?:conda|mamba)\.sh)\b"
)
"""Finds paths of installations in these files: lines of `conda init`, or folders on PATH."""
_MAMBA_ROOT = re.compile(r"^\s*export MAMBA_ROOT_PREFIX=['\"]?(/[^'\"\n;]+)", re.MULTILINE)
_HOMES = (
    "miniforge3", "miniconda3", "anaconda3", "mambaforge", "miniconda", "anaconda", "miniforge",
    "micromamba", ".local/share/mamba", "conda",
)  # fmt: skip
_SYSTEM = (
    "/opt/conda", "/opt/miniforge3", "/opt/miniconda3", "/opt/anaconda3", "/opt/mambaforge",
    "/usr/local/miniconda3", "/usr/local/anaconda3",
)  # fmt: skip
"""Only root can write there."""
_OURS = re.compile(r"[0-9a-f]{64}|venv")
"""Names of Hostler's own environments, which conda lists as well."""
_MOST_BYTES = 1024 * 1024
_MOST_FOUND = 2000
_MOST_MENTIONED = 100
_MOST_NAMED = 10
_UNSET = "***unset***"
"""The value that `conda env config vars unset` writes."""


class Found(NamedTuple):
    """A conda environment."""

    prefix: str
    root: Optional[str]
    """The installation that it may belong to."""


class Conda:
    """The conda installations and environments that one shell's variables lead to."""

    def __init__(self, env: Mapping[str, str], home: Optional[str] = None) -> None:
        self._env = env
        self._home = home or env.get("HOME") or os.path.expanduser("~")
        self.roots = list(dict.fromkeys(filter(_is_root, self._all_roots())))

    def find(self, name: str) -> Optional[Found]:
        """Find the environment of that name or path by reading files; None if they do not contain
        it."""
        if name.startswith(("/", "~/")):
            path = os.path.join(self._home, name[2:]) if name.startswith("~") else name
            return Found(path, self._root()) if is_environment(path) else None
        if name == BASE:
            return next((Found(root, root) for root in self.roots if is_environment(root)), None)
        for folder in self._folders():
            path = os.path.join(folder, name)
            if is_environment(path):
                return Found(path, self._root_of(path))
        for path in self._listed():
            if os.path.basename(path) == name and is_environment(path):
                return Found(path, self._root_of(path))
        return None

    def ask(self, name: str, seconds: float) -> Optional[Found]:
        """Find the environment by running conda, whose settings may name other folders; None if
        there is none."""
        executable = self.program()
        if executable is None or "/" in name or seconds <= 0:
            return None
        for path in filter(_is_beyond_others, _told(executable, self._env, seconds)):
            if os.path.basename(path) == name and is_environment(path):
                return Found(path, self._root_of(path))
        return None

    def names(self) -> List[str]:
        """Names of the existing environments, for people."""
        found: Dict[str, None] = {BASE: None} if any(map(is_environment, self.roots)) else {}
        for folder in self._folders():
            for name in sorted(_entries(folder)):
                if is_environment(os.path.join(folder, name)):
                    found[name] = None
        for path in self._listed():
            is_ours = _OURS.fullmatch(os.path.basename(path))
            if path not in self.roots and not is_ours and is_environment(path):
                found[os.path.basename(path)] = None
        return list(found)

    def problem(self, name: str) -> str:
        """Why the environment was not found. The text continues the words "this host"."""
        if name.startswith(("/", "~/")):
            return "has no conda environment at %s: there is no folder conda-meta in it" % name
        known = self.names()
        if not known and not self.roots:
            return "has no conda environment called %s, and no conda was found" % name
        shown = ", ".join(known[:_MOST_NAMED]) or "none"
        more = ", and %d more" % (len(known) - _MOST_NAMED) if len(known) > _MOST_NAMED else ""
        return "has no conda environment called %s; conda has %s%s" % (name, shown, more)

    def _root(self) -> Optional[str]:
        return self.roots[0] if self.roots else None

    def _root_of(self, prefix: str) -> Optional[str]:
        inside = (root for root in self.roots if prefix.startswith(root + "/"))
        return next(inside, self._root())

    def _all_roots(self) -> Iterator[str]:
        for program in (self._env.get("CONDA_EXE"), self._on_path("conda"), self._on_path("mamba")):
            if program:
                yield os.path.dirname(os.path.dirname(program))
        if self._env.get("MAMBA_ROOT_PREFIX"):
            yield os.path.normpath(self._env["MAMBA_ROOT_PREFIX"])
        for name in _RC_FILES:
            text = _text(os.path.join(self._home, name))
            yield from map(self._expanded, _MENTIONED.findall(text)[:_MOST_MENTIONED])
            yield from _MAMBA_ROOT.findall(text)
        yield from (os.path.join(self._home, name) for name in _HOMES)
        yield from _SYSTEM

    def _on_path(self, name: str) -> Optional[str]:
        for folder in self._env.get("PATH", "").split(os.pathsep):
            path = os.path.join(folder, name)
            if folder.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
                return os.path.realpath(path)
        return None

    def program(self) -> Optional[str]:
        """The program that makes and lists environments (conda, mamba or micromamba); None if there
        is none."""
        inside = [os.path.join(root, "bin", "conda") for root in self.roots]
        known = [self._env.get("CONDA_EXE"), self._on_path("conda"), *inside]
        known += [self._env.get("MAMBA_EXE"), self._on_path("micromamba"), self._on_path("mamba")]
        return next((path for path in known if path and os.access(path, os.X_OK)), None)

    def _folders(self) -> List[str]:
        """Folders of environments, in the order in which conda searches them."""
        said = self._env.get("CONDA_ENVS_PATH") or self._env.get("CONDA_ENVS_DIRS") or ""
        found = [path for path in said.split(os.pathsep) if path.startswith("/")]
        for rc in [os.path.join(self._home, ".condarc"), *(r + "/.condarc" for r in self.roots)]:
            found += [self._expanded(path) for path in envs_dirs(_text(rc))]
        found += [os.path.join(root, "envs") for root in self.roots]
        found.append(os.path.join(self._home, ".conda", "envs"))
        return list(dict.fromkeys(found))

    def _expanded(self, path: str) -> str:
        for mark in ("~/", "$HOME/", "${HOME}/"):
            if path.startswith(mark):
                return os.path.join(self._home, path[len(mark) :])
        return path

    def _listed(self) -> List[str]:
        lines = _text(os.path.join(self._home, ".conda", "environments.txt")).splitlines()
        found = [line.strip().rstrip("/") for line in lines[:_MOST_FOUND] if line.startswith("/")]
        return [path for path in found if _is_beyond_others(path)]


def creation(program: str, prefix: str, file: str) -> List[str]:
    """The command that builds an environment from a file."""
    if os.path.basename(program) == "micromamba":
        return [program, "create", "--yes", "--quiet", "--prefix", prefix, "--file", file]
    return [program, "env", "create", "--quiet", "--prefix", prefix, "--file", file]


def is_environment(path: str) -> bool:
    """Whether conda, mamba or micromamba made this environment."""
    return os.path.isdir(os.path.join(path, "conda-meta"))


def _is_beyond_others(path: str) -> bool:
    """Whether only this user or root can have made the folder. Conda keeps removed environments in
    its list, and in a folder like /tmp any user can make one of the same name."""
    try:
        if os.stat(path).st_uid in (0, os.getuid()):
            return True
        while path != "/":
            path = os.path.dirname(path)
            if os.stat(path).st_mode & stat.S_IWOTH:
                return False
    except OSError:
        return False
    return True


def _is_root(path: str) -> bool:
    return path not in ("", "/") and (
        is_environment(path) or os.path.isdir(os.path.join(path, "envs"))
    )


def envs_dirs(text: str) -> List[str]:
    """The folders under `envs_dirs` in a .condarc. Only this small part of YAML is read."""
    found: List[str] = []
    inside = False
    for line in text.splitlines():
        plain = line.split(" #")[0].rstrip()
        if re.match(r"envs_(?:dirs|path)\s*:", plain):
            rest = plain.split(":", 1)[1].strip()
            found += [_unquoted(item) for item in rest.strip("[]").split(",")] if rest else []
            inside = not rest
        elif inside and plain.lstrip().startswith("- "):
            found.append(_unquoted(plain.lstrip()[2:]))
        elif plain.strip():
            inside = False
    return [path for path in found if path]


def _unquoted(text: str) -> str:
    return text.strip().strip("'\"")


def variables(prefix: str) -> Dict[str, Optional[str]]:
    """Variables that `conda env config vars set` and packages set in the environment; None: unset
    it."""
    found: Dict[str, Optional[str]] = {}
    folder = os.path.join(prefix, "etc", "conda", "env_vars.d")
    for name in sorted(_entries(folder)):
        found.update(_texts(_json(os.path.join(folder, name))))
    state = _json(os.path.join(prefix, "conda-meta", "state"))
    found.update(_texts(state.get("env_vars") if isinstance(state, dict) else None))
    return {name: None if value == _UNSET else value for name, value in found.items()}


def scripts(prefix: str) -> List[str]:
    """The scripts of an environment's packages that an activation runs."""
    folder = os.path.join(prefix, "etc", "conda", "activate.d")
    names = sorted(name for name in _entries(folder) if name.endswith(".sh"))
    return [os.path.join(folder, name) for name in names]


def activated(env: Mapping[str, str], name: str, found: Found) -> Dict[str, str]:
    """The variables after an activation, before it runs the scripts of packages."""
    result = {key: value for key, value in env.items() if not key.startswith("CONDA_PREFIX_")}
    folders = [os.path.join(found.prefix, "bin")]
    if found.root is not None:
        folders += filter(os.path.isdir, [os.path.join(found.root, "condabin")])
        program = os.path.join(found.root, "bin", "conda")
        if os.path.isfile(program):
            result["CONDA_EXE"] = program
            result["CONDA_PYTHON_EXE"] = os.path.join(found.root, "bin", "python")
    called = found.prefix if "/" in name else name
    result["PATH"] = os.pathsep.join([*folders, env.get("PATH") or os.defpath])
    result["CONDA_PREFIX"], result["CONDA_DEFAULT_ENV"] = found.prefix, called
    result["CONDA_SHLVL"], result["CONDA_PROMPT_MODIFIER"] = "1", "(%s) " % called
    for gone in ("VIRTUAL_ENV", "PYTHONHOME"):
        result.pop(gone, None)
    for key, value in variables(found.prefix).items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


def _told(executable: str, env: Mapping[str, str], seconds: float) -> List[str]:
    """Paths of the environments that conda lists."""
    try:
        said = subprocess.run(
            [executable, "env", "list", "--json"], env=dict(env), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds,
        )  # fmt: skip
        listed = json.loads(said.stdout[:_MOST_BYTES])
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    paths = listed.get("envs") if isinstance(listed, dict) else None
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


def _text(path: str) -> str:
    """The text of a file of the login; "" if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _json(path: str) -> object:
    try:
        return json.loads(_text(path))
    except ValueError:
        return None


def _texts(value: object) -> Dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {str(k): v for k, v in value.items() if isinstance(v, str) and "=" not in k}


def _entries(folder: str) -> List[str]:
    try:
        return os.listdir(folder)[:_MOST_FOUND]
    except OSError:
        return []
