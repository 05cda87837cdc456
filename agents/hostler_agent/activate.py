"""Loads modules, activates a conda environment, then executes the command in them: the time limit,
where `module` is found, how a missing one is worded.

The shim runs it as a separate program, so that its output goes to the job's log and its processes
belong to the stage. The agent runs it with `--check` to learn whether the modules and the
environment exist. Names are only arguments: the scripts here are fixed, and no text is inserted
into them. See `environments.command`.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import Dict, List, Mapping, NamedTuple, NoReturn, Optional, Sequence, Tuple

from hostler_agent import condaenvs

FAILED = 125
"""Exit status: the command was not started. The last line of the log says why."""
RUN_SECONDS = 300.0
CHECK_SECONDS = 30.0
_MOST_BYTES = 4 * 1024 * 1024
_MOST_NOISE = 4096
_SUBREAPER = 36
_OWN = ("_", "SHLVL", "PWD", "OLDPWD")
"""Variables of the shell itself."""

# Variables of the job replace those of the profile, which often sets PATH and others. Folders that
# only the job's PATH has come first. All other variables of the login stay, because `module` needs
# them. If the profile has `set -x`, the log would show all values, so the script switches it off.
_RESTORE = r"""
set +euxv +o posix; trap - DEBUG ERR
exec </dev/null >&"$2" 2>&1
hostler_out=$1; shift 2
hostler_rest=$PATH; hostler_own=
while IFS= read -r -d '' hostler_pair; do
  hostler_name=${hostler_pair%%=*}
  case $hostler_name in
    PATH) hostler_own=${hostler_pair#*=} ;;
    *[!A-Za-z0-9_]*|[0-9]*|BASH*|SHELLOPTS|UID|EUID|PPID|SHLVL|PWD|OLDPWD|_|hostler_*) ;;
    *) export "$hostler_pair" 2>/dev/null ;;
  esac
done <"/proc/$$/environ"
hostler_first=; set -f; IFS=:
for hostler_part in $hostler_own; do
  case ":$hostler_rest::" in
    *":$hostler_part:"*) ;;
    *) hostler_first=$hostler_first$hostler_part: ;;
  esac
done
unset IFS; set +f
export PATH=$hostler_first$hostler_rest
"""
# A module may set LD_LIBRARY_PATH so that `env` cannot start. The last byte, which marks the end,
# is then not written.
_TELL = r"""
/usr/bin/env -0 >&"$hostler_out" && printf '\0' >&"$hostler_out"
"""
_LOGIN = _RESTORE + "printf 'ok\\0' >&\"$hostler_out\"\n" + _TELL
_MODULES = (
    _RESTORE
    + r"""
if ! declare -F module >/dev/null; then
  for hostler_file in ${MODULESHOME:+"$MODULESHOME/init/bash"} ${LMOD_PKG:+"$LMOD_PKG/init/bash"} \
    /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh \
    /usr/share/modules/init/bash /usr/share/lmod/lmod/init/bash /usr/share/Modules/init/bash; do
    if [ -r "$hostler_file" ]; then . "$hostler_file"; break; fi
  done
fi
hostler_said=ok
if ! declare -F module >/dev/null; then
  hostler_said=none
else
  for hostler_wanted; do
    hostler_before=${LOADEDMODULES-}
    if ! module load "$hostler_wanted"; then
      if module is-avail "$hostler_wanted" >/dev/null 2>&1; then hostler_said=cannot
      else hostler_said=unknown; fi
    elif [ "${LOADEDMODULES-}" = "$hostler_before" ]; then
      # Old versions of Tcl modules succeed whatever happens.
      case ":$hostler_before:" in
        *":$hostler_wanted:"*|*":$hostler_wanted/"*) ;;
        *) module is-avail "$hostler_wanted" >/dev/null 2>&1 || hostler_said=unknown ;;
      esac
    fi
    if [ "$hostler_said" != ok ]; then hostler_said="$hostler_said $hostler_wanted"; break; fi
  done
fi
printf '%s\0' "$hostler_said" >&"$hostler_out"
"""
    + _TELL
)
_SCRIPTS = r"""
exec </dev/null
hostler_out=$1; hostler_files=("${@:2}"); set --
for hostler_file in "${hostler_files[@]}"; do
  if [ -r "$hostler_file" ]; then . "$hostler_file"; fi
done
printf 'ok\0' >&"$hostler_out"
""" + _TELL  # fmt: skip


class Lacks(Exception):
    """The host lacks something that the command needs. The message continues the words "this host",
    for example "has no module X"."""


class Late(Lacks):
    """The shell has not answered in time: the result is unknown."""


class Asked(NamedTuple):
    """The parsed arguments of this program."""

    modules: Tuple[str, ...]
    conda: Optional[str]
    keep: Tuple[str, ...]
    """Names of variables that modules and activation must not change."""
    command: Tuple[str, ...]


def main(arguments: List[str]) -> NoReturn:
    """Run the command, or with `--check` print what the host lacks for it as JSON."""
    is_check = arguments[:1] == ["--check"]
    asked = read(arguments[1:] if is_check else arguments)
    if is_check:
        check(asked)
    try:
        env = prepared(asked, _given(), Deadline(RUN_SECONDS), log=os.dup(1))
        os.execvpe(asked.command[0], asked.command, env)  # noqa: S606 - the job's own command
    except Lacks as lacks:
        _say("this host %s" % lacks)
        sys.exit(FAILED)
    except OSError as error:
        _say("%s: %s" % (asked.command[0], error.strerror))
        sys.exit(127)


def read(arguments: Sequence[str]) -> Asked:
    """Parse the arguments that `environments.command` writes."""
    options: Dict[str, List[str]] = {"--module": [], "--conda": [], "--keep": []}
    rest = list(arguments)
    while rest and rest[0] != "--":
        options[rest[0]].append(rest[1])
        del rest[:2]
    conda = options["--conda"]
    return Asked(
        tuple(options["--module"]), conda[0] if conda else None, tuple(options["--keep"]),
        tuple(rest[1:]),
    )  # fmt: skip


def _given() -> Dict[str, str]:
    """The variables that this process got at its start: Python itself sometimes sets LC_CTYPE."""
    with open("/proc/self/environ", "rb") as file:
        entries = file.read().split(b"\0")
    pairs = (os.fsdecode(entry).partition("=") for entry in entries)
    return {name: value for name, _, value in pairs if name}


class Deadline:
    """One time limit for all steps together."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; 0 or less when the time is over."""
        return self._until - time.monotonic()


def check(asked: Asked) -> NoReturn:
    """Print what the host lacks, as JSON: "" if it lacks nothing, null if unknown."""
    import ctypes

    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    problem: Optional[str] = ""
    out = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    deadline = Deadline(CHECK_SECONDS)
    try:
        prepared(asked, _given(), deadline, log=null, is_check=True)
    except Late:
        problem = None
    except Lacks as lacks:
        problem = str(lacks)
    os.write(out, json.dumps({"problem": problem}).encode("ascii"))
    _end_children()
    os._exit(0)


def _end_children() -> None:
    """End processes that the login's profile started, like an SSH agent: each check starts one."""
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        for pid in _children():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _children() -> List[int]:
    found, me = [], os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    parent = file.read().rpartition(b")")[2].split()[1]
            except (OSError, IndexError):
                continue
            if int(parent) == me:
                found.append(int(name))
    return found


def prepared(
    asked: Asked, given: Dict[str, str], deadline: Deadline, log: int, is_check: bool = False
) -> Dict[str, str]:
    """Return the variables of the command. Raises Lacks, or Late if a shell is too slow."""
    env = given
    if asked.modules:
        env = _with_modules(asked.modules, given, deadline, log)
    if asked.conda is not None:
        found = _find(asked, env, deadline, log)
        if not is_check:
            env = _with_conda(asked.conda, found, env, deadline)
    fixed = {name for name in given if _is_fixed(name, asked)}
    return {**env, **{name: given[name] for name in fixed}}


def _is_fixed(name: str, asked: Asked) -> bool:
    """Whether neither a module nor an activation may change the variable: the job has set it. Lists
    of folders are an exception, because modules add to them."""
    if name in asked.keep or name.startswith("HOSTLER_"):
        return True
    is_condas = asked.conda is not None and name.startswith(("CONDA_", "VIRTUAL_ENV", "PYTHONHOME"))
    return not name.endswith("PATH") and not is_condas


def _with_modules(
    names: Sequence[str], given: Dict[str, str], deadline: Deadline, log: int
) -> Dict[str, str]:
    said, env = shell(["-l", "-c", _MODULES, "bash"], [str(log), *names], given, deadline, (log,))
    word, _, name = said.partition(" ")
    if word == "none":
        raise Lacks("has no `module` command (Lmod or Environment Modules)")
    if word == "unknown":
        raise Lacks("has no module %s" % name)
    if word != "ok":
        raise Lacks("has a module %s that cannot be loaded" % name)
    return env


def _find(asked: Asked, env: Dict[str, str], deadline: Deadline, log: int) -> condaenvs.Found:
    """Find the conda environment: first by files, then by the settings of a login shell, then by
    running conda."""
    name = asked.conda or ""
    conda = condaenvs.Conda(env)
    found = conda.find(name)
    if found is None and not asked.modules:
        conda = by_login(env, deadline, log)
        found = conda.find(name)
    found = found or conda.ask(name, deadline.left())
    if found is None:
        raise Late("did not answer in time") if deadline.left() <= 0 else Lacks(conda.problem(name))
    return found


def by_login(env: Dict[str, str], deadline: Deadline, log: int) -> condaenvs.Conda:
    """Read the login's conda settings from its login shell, which may set more variables. Raises
    Late."""
    try:
        _, login = shell(["-l", "-c", _LOGIN, "bash"], [str(log)], env, deadline, (log,))
        return condaenvs.Conda(login)
    except Late:
        raise
    except Lacks:
        return condaenvs.Conda(env)  # the profile may end the shell: use the files


def _with_conda(
    name: str, found: condaenvs.Found, env: Dict[str, str], deadline: Deadline
) -> Dict[str, str]:
    env = condaenvs.activated(env, name, found)
    files = condaenvs.scripts(found.prefix)
    if not files:
        return env
    try:
        return shell(["--noprofile", "--norc", "-c", _SCRIPTS, "bash"], files, env, deadline)[1]
    except Late:
        text = "cannot activate the conda environment %s within %d s"
        raise Late(text % (name, deadline.seconds)) from None
    except Lacks as lacks:
        where = os.path.dirname(files[0])
        text = "cannot activate the conda environment %s: a script in %s ended the shell"
        raise Lacks(text % (name, where)) from lacks


def shell(
    options: Sequence[str],
    arguments: Sequence[str],
    env: Mapping[str, str],
    deadline: Deadline,
    inherited: Tuple[int, ...] = (),
) -> Tuple[str, Dict[str, str]]:
    """Run one of Hostler's scripts; return its answer and the shell's variables at the end. Raises
    Lacks if the shell ends earlier, Late if it takes too long."""
    folders = ["/bin", "/usr/bin", *filter(os.path.isabs, env.get("PATH", "").split(os.pathsep))]
    program = shutil.which("bash", path=os.pathsep.join(folders))
    if program is None:
        raise Lacks("has no bash, which modules and the activation of conda need")
    out, theirs = os.pipe()
    noise, noisy = os.pipe()
    is_login = "-l" in options
    output = noisy if is_login else None
    process = subprocess.Popen(
        [program, *options, str(theirs), *arguments], env=dict(env), stdin=subprocess.DEVNULL,
        stdout=output, stderr=output, pass_fds=(theirs, *inherited),
    )  # fmt: skip
    os.close(theirs)
    os.close(noisy)
    try:
        data, said = _taken(out, noise, deadline)
    finally:
        process.kill()
        process.wait()
        os.close(out)
        os.close(noise)
    if not data.endswith(b"\0\0"):
        raise Lacks("has a login shell that ends before it can be used%s" % _last(said))
    first, *entries = data[:-2].split(b"\0")
    pairs = (os.fsdecode(entry).partition("=") for entry in entries)
    found = {name: value for name, _, value in pairs if _is_exported(name)}
    return os.fsdecode(first), {**found, **{name: env[name] for name in _OWN if name in env}}


def _is_exported(name: str) -> bool:
    return bool(name) and name not in _OWN and not name.startswith("hostler_")


def _taken(out: int, noise: int, deadline: Deadline) -> Tuple[bytes, bytes]:
    """Return all data from `out` up to its end mark or its end, and the last bytes of `noise`."""
    data, said, waiting = b"", b"", [out, noise]
    while not data.endswith(b"\0\0"):
        left = deadline.left()
        if left <= 0:
            raise Late("has a login shell that did not answer within %d s" % deadline.seconds)
        for descriptor in select.select(waiting, [], [], left)[0]:
            piece = os.read(descriptor, 65536)
            if descriptor == noise:
                said = (said + piece)[-_MOST_NOISE:]
                if not piece:
                    waiting.remove(noise)
            elif not piece or len(data) > _MOST_BYTES:
                return b"", said + _rest(noise)
            else:
                data += piece
    return data, said


def _rest(noise: int) -> bytes:
    """The remaining output of a shell that has ended."""
    return os.read(noise, _MOST_NOISE) if select.select([noise], [], [], 0)[0] else b""


def _last(said: bytes) -> str:
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return ": %s" % lines[-1][:200] if lines else ""


def _say(text: str) -> None:
    sys.stdout.write("hostler: %s\n" % "".join(c if c.isprintable() else "?" for c in text))
    sys.stdout.flush()
