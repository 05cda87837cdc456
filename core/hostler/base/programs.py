"""Starts programs safely: found through PATH, independently of the current folder, and which
variables of the environment are cleaned.

A relative or empty entry in a search path means the current folder. Python, the loader and git look
there for code, and a folder that was unpacked a minute ago may contain anything.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LISTS = ("PATH", "LD_LIBRARY_PATH", "GCONV_PATH", "PERL5LIB")
"""Lists of folders that code is loaded from."""
_SINGLE = (
    "PYTHONHOME", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX", "LOCPATH", "OPENSSL_CONF",
    "OPENSSL_MODULES", "OPENSSL_ENGINES", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "SSH_AUTH_SOCK",
    "TMPDIR",
)  # fmt: skip
"""Single paths; some name code, and all mean something else once a program starts in `/`."""
_LIBRARIES = ("LD_PRELOAD", "LD_AUDIT")
"""Lists of libraries, by name or path; a name without a slash is searched in system folders."""


def own_argv(*words: str) -> list[str]:
    """The command that starts Hostler again. `-P` keeps the current folder off Python's path."""
    return [sys.executable, "-P", "-m", "hostler", *words]


def safe_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a program that Hostler starts: nothing in it leads to the current folder
    by a relative or empty path. A relative HOSTLER_CONFIG is made absolute: it was meant."""
    env = dict(os.environ if environ is None else environ)
    for name in _LISTS:
        _keep(env, name, [part for part in _parts(env, name) if os.path.isabs(part)])
    kept = [part for part in _parts(env, "PYTHONPATH") if not leads_here(part)]
    _keep(env, "PYTHONPATH", [os.path.abspath(part) for part in kept])
    for name in _LIBRARIES:
        parts = env.get(name, "").replace(":", " ").split()
        _keep(env, name, [part for part in parts if os.path.isabs(part) or "/" not in part])
    for name in _SINGLE:
        if env.get(name) and not os.path.isabs(env[name]):
            del env[name]
    if env.get("HOSTLER_CONFIG"):
        env["HOSTLER_CONFIG"] = os.path.abspath(env["HOSTLER_CONFIG"])
    return env


def find_program(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The absolute path of a helper such as git; None where the absolute entries of PATH have
    none."""
    for folder in safe_environ(environ).get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, name)
        if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def leave_folder() -> None:
    """Take the current folder off the paths of this process. Call it before other modules load.

    Python itself has loaded some code before that (sitecustomize).
    """
    here = [part for part in _parts(os.environ, "PYTHONPATH") if leads_here(part)]
    gone = {os.path.abspath(part or ".") for part in here} | {""}
    if not sys.flags.safe_path and sys.path[:1] == [_here()] and leads_here(sys.path[0]):
        gone.add(sys.path[0])  # `python -m hostler` puts it there
    sys.path[:] = [entry for entry in sys.path if entry not in gone]
    # The SSH library looks for a ProxyCommand on the PATH of this process.
    safe = safe_environ()
    for name in ("PATH", "LD_LIBRARY_PATH", *_LIBRARIES):
        if name in os.environ and os.environ[name] != safe.get(name):
            os.environ[name] = safe.get(name, "")


def leads_here(entry: str) -> bool:
    """Whether an entry of PYTHONPATH is the current folder, or in it, but not Hostler's own."""
    if _is_own(entry):
        return False
    here = _here()
    if not os.path.isabs(entry):
        return True
    place = os.path.realpath(entry)
    return place == here or (here not in ("", "/") and place.startswith(here + "/"))


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it was removed: nothing can be taken from it


def _is_own(entry: str) -> bool:
    own = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # of `hostler` itself
    return os.path.realpath(os.path.join(entry, "hostler")) == own


def _parts(env: Mapping[str, str], name: str) -> list[str]:
    return env[name].split(os.pathsep) if env.get(name) else []


def _keep(env: dict[str, str], name: str, parts: list[str]) -> None:
    if name not in env:
        return
    if parts:
        env[name] = (" " if name in _LIBRARIES else os.pathsep).join(parts)
    elif name == "PATH":
        env[name] = os.defpath
    else:
        del env[name]
