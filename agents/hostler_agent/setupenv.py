"""Builds the environment of a process stage's `setup` once (virtual or conda), or executes the
command in it; the errors of a failed setup.

The shim runs it as a separate program, so that its output is in the attempt's log:
`python3 -I -S setupenv.py build WANTED` and `python3 -I -S setupenv.py run ENVIRONMENT -- COMMAND`.
WANTED is a JSON file; see `Wanted`. An environment is complete if it has its stamp, which is
written last. The process that builds it, and all processes that this one starts, hold its lock; its
content counts only under the lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from typing import Dict, List, Mapping, NamedTuple, NoReturn, Optional, Sequence

if __name__ == "__main__":  # -I removes the agent's own folder from the search path
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from hostler_agent import activate, condaenvs, setupfiles
from hostler_agent.setupkey import Asked, key_of
from hostler_agent.venv import FAILED, READY, CannotBuild, activated, say

_ABOUT = "import platform, sys; print(sys.version, sys.base_prefix, platform.machine(), sep='\\n')"
_LINE = (
    'if (set -o pipefail) 2>/dev/null; then exec sh -e -o pipefail -c "$0"; fi; exec sh -e -c "$0"'
)
"""Like the command of `shell = true`, but the first line that fails ends the script."""


class Wanted(NamedTuple):
    """The request that the agent writes into a file for the builder."""

    text: str
    files: Optional[Sequence[str]]
    owner: str
    """The owner of the run: environments are not shared with other users."""
    root: str
    """The folder of the code: the working folder, or the submitter's own folder."""
    shared: str
    """The folder of environments that attempts share."""
    own: str
    """The folder of an environment that only this attempt uses."""
    result: str
    """The file into which the path of the environment is written."""
    secrets: Sequence[str]
    """Names of variables whose values do not change the key."""
    over: bool = False
    """Whether the environment also sees the packages of the Python that builds it."""
    conda: str = ""
    """The file from which a conda environment is built, relative to the folder where the stage
    starts; "": a virtual environment."""


class SetupFailed(Exception):
    """The setup failed, with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__("exit code %d" % code)
        self.code = code


def main(arguments: List[str]) -> None:
    """Build an environment or run a command in it. Ends the process with FAILED if that is
    impossible."""
    mode, path, *rest = arguments
    try:
        if mode == "run":
            run(path, rest[1:])
        build(_loaded(path), os.environ)
    except SetupFailed as failed:
        sys.exit(failed.code)
    except (OSError, CannotBuild) as error:
        _tell("no environment for setup: %s" % error)
        sys.exit(FAILED)


def _loaded(path: str) -> Wanted:
    with open(path, encoding="ascii") as file:
        return Wanted(**json.load(file))


def run(environment: str, command: Sequence[str]) -> NoReturn:
    """Execute the command, which inherits the environment's lock. Raises CannotBuild, OSError."""
    lock = _lock_of(environment)
    fcntl.flock(lock, fcntl.LOCK_SH)
    if not _is_whole(environment):
        raise CannotBuild("%s was removed during the start: retry" % environment)
    _use(environment)
    env = _entered(os.environ, environment)
    try:
        os.execvpe(command[0], list(command), env)  # noqa: S606
    except OSError as error:
        _tell("%s: %s" % (command[0], error.strerror))
        sys.exit(127)


def build(wanted: Wanted, env: Mapping[str, str]) -> None:
    """Build the environment if needed, and write its path into the result file. Raises CannotBuild,
    OSError, SetupFailed."""
    python = "" if wanted.conda else _python(env)
    known = {name: value for name, value in env.items() if name not in wanted.secrets}
    about = platform.machine() if wanted.conda else _about(python)
    context = (wanted.owner, python, about, str(wanted.over), *_around(known))
    asked = Asked(wanted.text, wanted.files, wanted.root, os.getcwd(), context, known, wanted.conda)
    key = key_of(asked)
    folder = wanted.own if key.local else os.path.join(wanted.shared, key.name)
    if key.local:
        _tell("setup installs from the working folder: its environment is for this attempt alone")
    if _made(folder, wanted, python, env):
        setupfiles.note(os.path.dirname(wanted.own))
    _write(wanted.result, folder)


def _around(env: Mapping[str, str]) -> List[str]:
    """Other variables that change which packages a Python finds."""
    names = ("CONDA_PREFIX", "LOADEDMODULES", "PYTHONPATH")
    return ["%s=%s" % (name, env.get(name, "")) for name in names]


def _python(env: Mapping[str, str]) -> str:
    """The Python that the stage would find, otherwise the agent's own."""
    return shutil.which("python3", path=env.get("PATH", os.defpath)) or sys.executable


def _about(python: str) -> str:
    asked = subprocess.run(
        [python, "-I", "-S", "-c", _ABOUT], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    if asked.returncode:
        raise CannotBuild("%s does not run" % python)
    return asked.stdout.decode("utf-8", "replace")


def _lock_of(environment: str) -> int:
    os.makedirs(os.path.dirname(environment), 0o700, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    lock = os.open(environment + ".lock", flags, 0o600)
    os.set_inheritable(lock, True)
    return lock


def _is_whole(environment: str) -> bool:
    return os.path.exists(os.path.join(environment, READY))


def _use(environment: str) -> None:
    try:
        os.utime(os.path.join(environment, READY))  # its age counts from its last use
    except OSError:
        pass  # on a full disk, the lock protects it meanwhile


def _made(folder: str, wanted: Wanted, python: str, env: Mapping[str, str]) -> bool:
    """Build the environment if needed. Returns whether it was built now."""
    lock = _lock_of(folder)
    try:
        if _is_there(folder, lock):
            _tell("the environment of setup is here already")
            _use(folder)
            return False
        _build(folder, wanted, python, env)
        return True
    finally:
        os.close(lock)


def _is_there(folder: str, lock: int) -> bool:
    """Whether the environment is complete; if it is not, this process must build it."""
    for kind in (fcntl.LOCK_SH, fcntl.LOCK_EX):
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell("waiting for another attempt, which builds the same environment")
            fcntl.flock(lock, kind)
        if _is_whole(folder):
            return True
    return False


def _build(folder: str, wanted: Wanted, python: str, env: Mapping[str, str]) -> None:
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    if wanted.conda:
        _create_conda(folder, wanted.conda, env)
    else:
        _create_virtual(folder, wanted, python)
    if wanted.text:
        _set_up(folder, wanted.text, env)
    _finish(folder)
    _tell("the environment of setup is ready after %.0f s" % (time.monotonic() - began))


def _create_conda(folder: str, file: str, env: Mapping[str, str]) -> None:
    program = condaenvs.Conda(env).program() or _conda_of_login(env)
    if program is None:
        raise CannotBuild("this host has no conda, mamba or micromamba to build %s with" % file)
    _tell("building the conda environment of %s with %s" % (file, program))
    # Old versions have no option for this, and would wait for an answer.
    yes = {**env, "CONDA_ALWAYS_YES": "true", "MAMBA_ALWAYS_YES": "true"}
    done = subprocess.run(
        condaenvs.creation(program, folder, file), env=yes, stdin=subprocess.DEVNULL,
        close_fds=False,
    )  # fmt: skip
    if done.returncode or not condaenvs.is_environment(folder):
        shutil.rmtree(folder, ignore_errors=True)
        raise CannotBuild(
            "%s did not build the environment of %s; the log says why" % (program, file)
        )


def _conda_of_login(env: Mapping[str, str]) -> Optional[str]:
    deadline = activate.Deadline(activate.CHECK_SECONDS)
    log = os.dup(1)
    try:
        return activate.by_login(dict(env), deadline, log).program()
    except activate.Late:
        return None
    finally:
        os.close(log)


def _create_virtual(folder: str, wanted: Wanted, python: str) -> None:
    _tell("building the environment of setup with %s" % python)
    options = ["--system-site-packages"] if wanted.over else []
    # -I: without it, modules of the working folder come before Python's own.
    made = subprocess.run([python, "-I", "-m", "venv", *options, folder], close_fds=False)
    if made.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise CannotBuild(
            "%s -m venv failed: on Debian and Ubuntu it needs the package python3-venv" % python
        )


def _set_up(folder: str, text: str, env: Mapping[str, str]) -> None:
    command = ["sh", "-c", _LINE, text]
    # Its child processes inherit the lock. While one of a killed setup runs, no other setup starts.
    done = subprocess.run(
        command, env=_inside(env, folder), stdin=subprocess.DEVNULL, close_fds=False
    )
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise SetupFailed(done.returncode if done.returncode > 0 else 128 - done.returncode)


def _entered(env: Mapping[str, str], folder: str) -> Dict[str, str]:
    """The variables inside a virtual or conda environment. Raises CannotBuild."""
    if not condaenvs.is_environment(folder):
        return activated(env, folder)
    asked = activate.Asked((), folder, (), ())
    deadline = activate.Deadline(activate.RUN_SECONDS)
    try:
        return activate.prepared(asked, dict(env), deadline, log=os.dup(1))
    except activate.Lacks as lacks:
        raise CannotBuild("this host %s" % lacks) from lacks


def _inside(env: Mapping[str, str], folder: str) -> Dict[str, str]:
    result = _entered(env, folder)
    result.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    result.setdefault("PIP_NO_INPUT", "1")
    result.setdefault("UV_PROJECT_ENVIRONMENT", folder)
    return result


def _finish(folder: str) -> None:
    """Mark the environment as complete. First its files are forced to the disk: after a power cut
    there must be no stamp without files."""
    if not os.path.isdir(folder):
        raise CannotBuild("setup removed %s" % folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        ctypes.CDLL(None).syncfs(descriptor)
    finally:
        os.close(descriptor)
    with open(os.path.join(folder, READY), "w"):
        pass


def _tell(text: str) -> None:
    """Write a line to the log, if the log's writer still runs."""
    with contextlib.suppress(BrokenPipeError):
        say(text)


def _write(path: str, text: str) -> None:
    new = path + ".new"
    with open(new, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.rename(new, path)


if __name__ == "__main__":
    main(sys.argv[1:])
