"""Builds a virtual environment once, under a lock, and becomes the command that is to run in it.

Run as a program of its own by the shim, so that its output is the job's log:
`python3 -I -S venv.py FOLDER REQUIREMENTS -- COMMAND...`
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from typing import Dict, List, Mapping

_READY = ".hostler-ready"
FAILED = 125
"""Exit status that says: it did not come to the command. The last line of the log says why."""


def main(arguments: List[str]) -> None:
    """Build and run. Ends the process with FAILED when the environment cannot be built."""
    folder, requirements, _, *command = arguments
    os.makedirs(os.path.dirname(folder), 0o700, exist_ok=True)
    with open(folder + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(folder, _READY)):
            try:
                build(folder, requirements)
            except (OSError, CannotBuild) as error:
                _say("no virtual environment from %s: %s" % (os.path.basename(requirements), error))
                sys.exit(FAILED)
    env = activated(os.environ, folder)
    try:
        os.execvpe(command[0], command, env)  # noqa: S606 - the job's own command
    except OSError as error:
        _say("%s: %s" % (command[0], error.strerror))
        sys.exit(127)


class CannotBuild(Exception):
    """The environment cannot be built; the message says why and what to do."""


def build(folder: str, requirements: str) -> None:
    """Make the environment anew. Raises OSError or CannotBuild."""
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    _say("building a virtual environment from %s" % os.path.basename(requirements))
    made = subprocess.run([sys.executable, "-m", "venv", folder])
    if made.returncode:
        raise CannotBuild(
            "python3 -m venv failed there: on Debian and Ubuntu it needs the package python3-venv"
        )
    pip = [os.path.join(folder, "bin", "python"), "-m", "pip", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, "install", "--no-input", "-r", requirements])
    if installed.returncode:
        raise CannotBuild("pip install failed; the log says why")
    with open(os.path.join(folder, _READY), "w"):
        pass
    _say("ready after %.0f s" % (time.monotonic() - began))


def activated(env: Mapping[str, str], folder: str) -> Dict[str, str]:
    """The environment as the activate script would leave it."""
    result = dict(env)
    result["VIRTUAL_ENV"] = folder
    result["PATH"] = os.path.join(folder, "bin") + os.pathsep + env.get("PATH", os.defpath)
    result.pop("PYTHONHOME", None)
    return result


def _say(text: str) -> None:
    sys.stdout.write("hostler: %s\n" % text)
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
