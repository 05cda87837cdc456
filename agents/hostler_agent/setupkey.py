"""The cache key of a `setup` environment (owner, text, Python, files): which changed files cause a
new build, and which setups are not shared.

Values of secrets never count: a user who sees the name could find the values by trial.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from hostler_agent.venv import (
    INCLUDES,
    MOST_FILES,
    CannotBuild,
    argument_of,
    is_local,
    lines_of,
    text_of,
)

NAMES = re.compile(
    r".*requirements.*\.(txt|in)|constraints.*\.txt|pyproject\.toml|setup\.(py|cfg)|Pipfile"
    r"|.+\.lock|.+[-.]lock\.(ya?ml|json)|environment.*\.ya?ml"
)
FOLDERS = ("", "requirements")
"""The folders that are searched for such files: the folder itself, and this subfolder."""
_REQUIREMENTS = (".txt", ".in")
_COMMANDS = re.compile(r"[\n;&|]")
_EDITABLE = ("-e", "--editable")
_MOST_TEXT = 32 * 1024
"""Longest text of a setup, in characters; pipeline files allow no longer one."""
PROJECTS = re.compile(
    r"\b(uv\s+sync|poetry\s+install|pdm\s+(install|sync)|setup\.py\s+(develop|install))\b"
)
"""Commands that install the project of the working folder itself."""
WITHOUT_PROJECT = re.compile(r"--no-(root|self|install-project)\b")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_SETTINGS = ("PIP_", "UV_")
"""Variables that begin like this name sources of packages."""


class Asked(NamedTuple):
    """The inputs that decide which environment a setup gets."""

    text: str
    files: Optional[Sequence[str]]
    """Files relative to `root`; None: the usual files, and the files that the text names."""
    root: str
    """The folder of the code."""
    cwd: str
    """The folder where the setup starts."""
    context: Sequence[str]
    """Owner, Python, architecture and other properties of the host."""
    env: Mapping[str, str]
    """Variables, without those that hold secrets."""
    conda: str = ""
    """The file from which a conda environment is built, relative to `cwd`; "": a virtual
    environment."""


class Key(NamedTuple):
    """The name of an environment, and whether it can be shared."""

    name: str
    local: bool
    """Whether it also depends on other files of the working folder, so that no other attempt may
    use it."""


def key_of(asked: Asked) -> Key:
    """Compute the key of a setup. Raises CannotBuild if a file of the key cannot be read."""
    digest = hashlib.sha256(b"hostler setup 1")
    settings = [
        "%s=%s" % item for item in sorted(asked.env.items()) if item[0].startswith(_SETTINGS)
    ]
    for part in (*asked.context, asked.text, asked.conda, *settings):
        data = os.fsencode(part)
        digest.update(b"%d:" % len(data) + data)
    local = _is_bound(asked)
    for path, text in _read(asked).items():
        name = os.fsencode(os.path.relpath(path, asked.root))
        digest.update(b"%d:" % len(name) + name + b"%d:" % len(text) + text)
        if path.endswith(_REQUIREMENTS):
            plain = _filled(text, asked.env)
            local = local or any(
                argument_of(line, INCLUDES) is None and is_local(line) for line in lines_of(plain)
            )
        elif asked.conda and path.endswith((".yml", ".yaml")):
            local = local or any(map(_is_own, text.decode("utf-8", "replace").splitlines()))
    return Key(digest.hexdigest(), local)


def _is_own(line: str) -> bool:
    """Whether a line for pip in a file for conda installs something from the working folder."""
    plain = line.split(" #")[0].strip()
    item = plain[1:].strip().strip("'\"") if plain.startswith("-") else ""
    included = argument_of(item, INCLUDES) if item.startswith("-") else None
    return (
        bool(item) and included is None and (item[0] in "-./" or "file:" in item) and is_local(item)
    )


def _is_bound(asked: Asked) -> bool:
    """Whether the text uses files of the working folder that are not in the key."""
    if installs_folder(asked.text):
        return True
    if PROJECTS.search(asked.text) and not WITHOUT_PROJECT.search(asked.text):
        return True
    found = words(asked.text)
    if any(word.split("[")[0] in (".", "./") for word in found):
        return True
    return asked.files is None and any(
        _is_folder(*pair, asked) for pair in zip(["", *found], found)
    )


def _is_folder(before: str, word: str, asked: Asked) -> bool:
    """Whether a word is a folder of the code. A plain name counts only after `cd`: for pip it is a
    package."""
    if not word or word.startswith(("-", "/", "$", "~")):
        return False
    if "/" not in word and before not in ("cd", "pushd"):
        return False
    return os.path.isdir(os.path.join(asked.cwd, word.split("[")[0]))


def installs_folder(text: str) -> bool:
    """Whether a command is `pip install -e` or similar. Compares words, in linear time: the time of
    a pattern would grow with the square of the text's length."""
    for command in _COMMANDS.split(text.replace("\\\n", " ")):
        said = command.split()
        rest = said[said.index("install") :] if "install" in said else ()
        if any(word.partition("=")[0] in _EDITABLE for word in rest):
            return True
    return False


def words(text: str) -> List[str]:
    """The words of a shell text, without the operators between commands. The time of `shlex` grows
    with the square of a word's length, so a longer text is split at spaces only."""
    if len(text) > _MOST_TEXT:
        return [word.strip("();&|") for word in text.split()]
    try:
        found = shlex.split(text, comments=True)
    except ValueError:  # the shell will report the error
        found = text.split()
    return [word.strip("();&|") for word in found]


def _read(asked: Asked) -> Dict[str, bytes]:
    """Read all files of the key, and those that they include, by path."""
    waiting = sorted(_wanted(asked))
    found: Dict[str, bytes] = {}
    while waiting:
        path = os.path.normpath(waiting.pop(0))
        if path in found:
            continue
        if len(found) >= MOST_FILES:
            raise CannotBuild("more than %d files count: name them in setup_files" % MOST_FILES)
        found[path] = text_of(path)
        if path.endswith(_REQUIREMENTS):
            for line in lines_of(_filled(found[path], asked.env)):
                included = argument_of(line, INCLUDES)
                if included and "://" not in included:
                    waiting.append(os.path.join(os.path.dirname(path), included))
    return {path: found[path] for path in sorted(found)}


def _wanted(asked: Asked) -> Iterator[str]:
    if asked.conda:
        yield os.path.join(asked.cwd, asked.conda)
    if asked.files is not None:
        for name in asked.files:
            yield os.path.join(asked.root, name)
        return
    for folder in {asked.root, asked.cwd}:
        for below in FOLDERS:
            yield from _usual(folder, below)
    for word in words(asked.text):
        path = os.path.join(asked.cwd, word.split("=")[-1])
        if word and not word.startswith(("/", "$", "~")) and os.path.isfile(path):
            yield path


def _usual(folder: str, below: str) -> Iterator[str]:
    try:
        names = os.listdir(os.path.join(folder, below))
    except OSError:
        return
    for name in names:
        inside = os.path.join(below, name)
        if NAMES.fullmatch(inside) and os.path.isfile(os.path.join(folder, inside)):
            yield os.path.join(folder, inside)


def _filled(text: bytes, env: Mapping[str, str]) -> str:
    plain = text.decode("utf-8", "replace")
    return _VARIABLE.sub(lambda found: env.get(found[1]) or found[0], plain)
