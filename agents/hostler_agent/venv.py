"""Builds the virtual environment of a `venv` requirements file once, under a lock, then executes
the command in it; how pip is called, and why that failed.

The shim runs it as a separate program, so that its output goes to the job's log, and the files that
it reads and the processes that it starts belong to the stage:
`python3 -I -S venv.py VENVS OWN REQUIREMENTS WHEELS -- COMMAND...`. VENVS is the folder of
environments that jobs share; their names depend on the requirements. OWN is an environment of this
job alone, for requirements that name files of its working folder, which other jobs must not import.
WHEELS is "", or the folder of wheels that the daemon has fetched: then only these are installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

READY = ".hostler-ready"
FAILED = 125
"""Exit status: the command was not started. The last line of the log says why."""
MOST_FILES = 100
_MOST_BYTES = 4 * 1024 * 1024
WHEELS_LIST = "wheels.json"
"""The file with their names and digests, in the folder of wheels that the daemon has fetched."""
INCLUDES = ("-r", "--requirement", "-c", "--constraint")
_INDEX = "https://pypi.org/simple"
_PATIENCE = 5.0
_FOLDERS = ("-e", "--editable", "-f", "--find-links")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def main(arguments: List[str]) -> None:
    """Build the environment and run the command. Ends the process with FAILED if it cannot be
    built."""
    venvs, own, requirements, wheels, _, *command = arguments
    try:
        if wheels:
            folder = fetched(venvs, wheels, requirements)
        else:
            wanted = read(requirements, os.environ)
            folder = own if wanted.local else os.path.join(venvs, wanted.key)
            ready(folder, requirements, Pip(["-r", requirements], os.environ))
    except (OSError, CannotBuild) as error:
        say("no virtual environment from %s: %s" % (os.path.basename(requirements), error))
        sys.exit(FAILED)
    env = activated(os.environ, folder)
    try:
        os.execvpe(command[0], command, env)  # noqa: S606 - the job's own command
    except OSError as error:
        say("%s: %s" % (command[0], error.strerror))
        sys.exit(127)


class CannotBuild(Exception):
    """The environment cannot be built; the message says why and what to do."""


class Wanted(NamedTuple):
    """The checked content of the requirements."""

    key: str
    """Equal only for equal texts of all files, equal settings of pip, and the same Python."""
    local: bool
    """Whether the requirements name local packages: `-e .`, or a wheel."""


class Pip(NamedTuple):
    """How packages are installed."""

    arguments: List[str]
    env: Mapping[str, str]
    wheel: str = ""
    """A wheel of pip itself, for a Python without pip; "": the Python has pip."""


def fetched(venvs: str, wheels: str, requirements: str) -> str:
    """Build the environment with exactly these wheels, and then remove the wheels. Returns its
    folder. Raises OSError, CannotBuild."""
    with open(os.path.join(wheels, WHEELS_LIST), encoding="ascii") as file:
        listed = json.load(file)
    folder = environment_of(venvs, listed)
    files = [os.path.join(wheels, name) for name, _digest in listed]
    # Indexes in pip's settings here are not needed, and could add other packages.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    env["PIP_CONFIG_FILE"] = os.devnull
    # If no line of the file is for this host, pip gets the file itself.
    words = ["--no-deps", *files] if files else ["-r", requirements]
    own = [file for file in files if os.path.basename(file).startswith("pip-")]
    try:
        ready(folder, requirements, Pip(["--no-index", *words], env, *own[:1]))
    finally:
        shutil.rmtree(wheels, ignore_errors=True)
    return folder


def environment_of(venvs: str, listed: Sequence[Sequence[str]]) -> str:
    """The folder of the environment with exactly these wheels, by their names and digests in
    order."""
    about = json.dumps([sys.version, sys.executable, listed])
    return os.path.join(venvs, hashlib.sha256(b"wheels " + about.encode()).hexdigest())


def read(requirements: str, env: Mapping[str, str]) -> Wanted:
    """Read the file, and all files that it includes by -r and -c, as pip does with these variables.
    The variables count, too: they can name another index, or load another compiler. Raises
    CannotBuild."""
    digest = hashlib.sha256((sys.version + sys.executable).encode())
    for name in sorted(env):
        if name.startswith("PIP_") or name == "LOADEDMODULES":
            digest.update(b"%s=%s\0" % (os.fsencode(name), os.fsencode(env[name])))
    waiting, seen, local = [os.path.abspath(requirements)], set(), False
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        if len(seen) > MOST_FILES:
            raise CannotBuild("it includes more than %d files" % MOST_FILES)
        text = text_of(path)
        digest.update(b"%d:" % len(text) + text)
        plain = text.decode("utf-8", "replace")
        filled = _VARIABLE.sub(lambda found: env.get(found[1]) or found[0], plain)
        if filled != plain:
            digest.update(filled.encode("utf-8", "surrogateescape"))
        for line in lines_of(filled):
            included = argument_of(line, INCLUDES)
            if included is None:
                local = local or is_local(line)
            elif "://" not in included:
                waiting.append(os.path.join(os.path.dirname(path), included))
    return Wanted(digest.hexdigest(), local)


def text_of(path: str) -> bytes:
    """The text of a plain file. Raises CannotBuild."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # opening a FIFO would block
    try:
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CannotBuild("%s is not a plain file" % path)
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise CannotBuild("%s: %s" % (path, error.strerror)) from error
    if len(data) > _MOST_BYTES:
        raise CannotBuild("%s is longer than %d bytes" % (path, _MOST_BYTES))
    return data


def lines_of(text: str) -> Iterator[str]:
    """The lines as pip reads them: continued lines joined, without comments."""
    for line in text.replace("\\\n", "").splitlines():
        words = (" " + line).split(" #")[0].strip()
        if words and not words.startswith("#"):
            yield words


def argument_of(line: str, options: "tuple[str, ...]") -> Optional[str]:
    """The argument if the line is one of these options; None if it is not."""
    for option in options:
        if line.startswith(option):
            rest = line[len(option) :]
            if rest[:1] in ("=", " ", "\t") or not option.startswith("--"):
                return rest.lstrip("= \t").strip("\"'")
    return None


def is_local(line: str) -> bool:
    """Whether a line of requirements installs something from this machine's disk."""
    folder = argument_of(line, _FOLDERS)
    if folder is None and line.startswith("-"):
        return False
    what = (line if folder is None else folder).split(" ;")[0].strip()
    if "file:" in what:
        return True
    if "://" in what:
        return False
    path = what.split("[")[0]
    return bool(
        folder is not None or path.startswith(".") or "/" in path or path.endswith(_ARCHIVES)
    )


def ready(folder: str, requirements: str, pip: Pip) -> None:
    """Build the environment if needed. The command inherits its lock, so it stays while the job
    runs. Raises OSError or CannotBuild."""
    os.makedirs(os.path.dirname(folder), 0o700, exist_ok=True)
    lock = os.open(folder + ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock, True)
    fcntl.flock(lock, fcntl.LOCK_SH)
    stamp = os.path.join(folder, READY)
    if not os.path.exists(stamp):
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(stamp):
            build(folder, requirements, pip)
        fcntl.flock(lock, fcntl.LOCK_SH)
    use(folder)


def use(folder: str) -> bool:
    """Note the use of an environment: its age counts from now. False if it is not complete."""
    try:
        os.utime(os.path.join(folder, READY))
    except FileNotFoundError:
        return False
    except OSError:
        pass  # on a full disk, a lock protects it meanwhile
    return True


def build(folder: str, requirements: str, pip: Pip) -> None:
    """Build the environment anew. Raises OSError or CannotBuild."""
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    say("building a virtual environment from %s" % os.path.basename(requirements))
    # -I: without it, modules of the working folder come before Python's own.
    bare = ["--without-pip"] if pip.wheel else []
    made = subprocess.run([sys.executable, "-I", "-m", "venv", *bare, folder])
    if made.returncode:
        raise CannotBuild(
            "python3 -m venv failed there: on Debian and Ubuntu it needs the package python3-venv"
        )
    program = [os.path.join(pip.wheel, "pip")] if pip.wheel else ["-m", "pip"]
    install = [os.path.join(folder, "bin", "python"), "-I", *program]
    install += ["--disable-pip-version-check", "install", "--no-input", *pip.arguments]
    if subprocess.run(install, env=pip.env).returncode:
        raise CannotBuild("pip install failed; the log says why" + unreached(pip))
    with open(os.path.join(folder, READY), "w"):
        pass
    say("ready after %.0f s" % (time.monotonic() - began))


def unreached(pip: Pip) -> str:
    """A remedy if pip's index does not answer here; "" if it answers or if that is unknown."""
    import socket  # the agent imports this file, and needs neither
    from urllib.parse import urlsplit

    proxies = ("https_proxy", "http_proxy", "all_proxy")
    if "--no-index" in pip.arguments or any(name.lower() in proxies for name in pip.env):
        return ""
    try:
        index = urlsplit(pip.env.get("PIP_INDEX_URL") or _INDEX)
        host, port = index.hostname or "", index.port or (80 if index.scheme == "http" else 443)
        socket.create_connection((host, port), _PATIENCE).close()
    except ValueError:
        return ""
    except OSError:
        return "; this host does not reach %s: [packages] in config.toml helps there" % host
    return ""


def activated(env: Mapping[str, str], folder: str) -> Dict[str, str]:
    """The variables as the activate script of the environment would set them."""
    result = dict(env)
    result["VIRTUAL_ENV"] = folder
    result["PATH"] = os.path.join(folder, "bin") + os.pathsep + env.get("PATH", os.defpath)
    result.pop("PYTHONHOME", None)
    return result


def say(text: str) -> None:
    """Write a line to the job's log."""
    sys.stdout.write("hostler: %s\n" % text)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
