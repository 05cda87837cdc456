"""Puts the Slurm commands for batch scripts (`srun`, `sbatch`, `squeue`, `scancel`) before PATH,
with the texts of `scontrol` and `module`.

Each is a program for `sh`, because images may have no Python. The agent writes them into the folder
of the attempt, the daemon into its container.
"""

from __future__ import annotations

import os
from typing import Dict, Mapping

from hostler_agent import slurm_srun, slurm_submit
from hostler_agent.folders import write_file

FOLDER = "commands"
"""The folder of the commands, in the folder of an attempt."""
VARIABLE = "HOSTLER_COMMANDS"
"""The variable with the path of the folder of the commands."""

_SCONTROL = (
    slurm_submit.ASKING
    + r"""
# scontrol: the names of a list of hosts, the own job, and another try of jobs of this run.
numbered() { # before, "1-3,07", behind: a name for each number
  before=$1 numbers=$2, behind=$3
  while [ -n "$numbers" ]; do
    part=${numbers%%,*} numbers=${numbers#*,}
    case $part in ''|-*|*-|*-*-*|*[!0-9-]*) fail "$part is not a number or range" ;; esac
    first=${part%-*} last=${part#*-} width=${#part}
    case $part in *-*) width=${#first} ;; esac
    number=$(plain "$first") last=$(plain "$last")
    [ ${#last} -le 9 ] && [ $((last - number)) -lt 10000 ] || fail "$part is too many hosts"
    while [ "$number" -le "$last" ]; do
      expanded "$before$(printf "%0${width}d" "$number")$behind"
      number=$((number + 1))
    done
  done
}

plain() { # a number without the zeros before it, which would make it octal
  digits=$1
  while [ "${digits#0}" != "$digits" ] && [ ${#digits} -gt 1 ]; do digits=${digits#0}; done
  printf %s "$digits"
}

expanded() {
  case $1 in
    *\[*\]*) rest=${1#*\[}; (numbered "${1%%\[*}" "${rest%%\]*}" "${rest#*\]}") || exit 1 ;;
    ?*) printf '%s\n' "$1" ;;
  esac
}

hostnames() { # a list, separated by the commas that are in no brackets
  item='' left=$1,
  while [ -n "$left" ]; do
    item=$item${left%%,*} left=${left#*,}
    case $item in *\[*) case ${item##*\[} in *\]*) ;; *) item=$item,; continue ;; esac ;; esac
    expanded "$item"
    item=''
  done
  [ -z "$item" ] || fail "a [ has no ]"
}

job() {
  id=$SLURM_JOB_ID
  case ${1:-$id} in "$id"|"$SLURM_ARRAY_JOB_ID"|"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID") ;;
    *) fail "job $1 is not this one; hostler show tells of others" ;;
  esac
  printf 'JobId=%s JobName=%s\n' "$id" "$SLURM_JOB_NAME"
  [ -z "$SLURM_ARRAY_JOB_ID" ] ||
    printf '   ArrayJobId=%s ArrayTaskId=%s\n' "$SLURM_ARRAY_JOB_ID" "$SLURM_ARRAY_TASK_ID"
  printf '   UserId=%s(%s)\n' "$(id -un 2>/dev/null || id -u)" "$(id -u)"
  printf '   JobState=RUNNING Reason=None Restarts=%s\n' "${SLURM_RESTART_COUNT:-0}"
  printf '   NodeList=%s\n   BatchHost=%s\n' "$SLURM_JOB_NODELIST" "$SLURM_JOB_NODELIST"
  printf '   NumNodes=1 NumCPUs=%s NumTasks=%s\n' "$SLURM_CPUS_ON_NODE" "${SLURM_NTASKS:-1}"
  printf '   WorkDir=%s\n' "$SLURM_SUBMIT_DIR"
}

requeue() { # numbers of jobs; the own task of an array may be given as Slurm does
  may_ask
  for each do
    shift
    [ "$each" != "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" ] || each=$SLURM_JOB_ID
    set -- "$@" "$each"
  done
  ask scontrol requeue "$@" </dev/null
}

while :; do
  case $1 in
    -o|--oneliner|-d|--details|-a|--all|-Q|--quiet|-v|--verbose) shift ;;
    -V|--version) echo 'hostler scontrol'; exit 0 ;;
    *) break ;;
  esac
done
case "$1 $2" in
  "show hostname"|"show hostnames") hostnames "${3:-$SLURM_JOB_NODELIST}" ;;
  "show job"|"show jobs"|"show jobid") job "$3" ;;
  "show job="*|"show jobid="*) job "${2#*=}" ;;
  "requeue "?*) shift; requeue "$@" ;;
  *) fail "\"$*\" is not supported; only: show hostnames [LIST], show job, requeue NUMBER" ;;
esac
"""
)

_MODULE = r"""#!/bin/sh
# module where the shell has none: says so once, and lets the script go on.
here=${HOSTLER_COMMANDS:-/nowhere}
[ -w "$here" ] || here=${TMPDIR:-/tmp}
if mkdir "$here/told-module-$HOSTLER_ATTEMPT" 2>/dev/null; then
  printf 'hostler: there are no environment modules here, so "%s" and all others do nothing\n' \
    "${0##*/}${*:+ $*}" >&2
fi
case $1 in is-*|is_*|show|display|whatis|show_*|test) exit 1 ;; esac
exit 0
"""

PROGRAMS: Mapping[str, str] = {
    "srun": slurm_srun.TEXT,
    "scontrol": _SCONTROL,
    "sbatch": slurm_submit.SBATCH,
    "squeue": slurm_submit.OTHER,
    "scancel": slurm_submit.OTHER,
    "module": _MODULE,
    "ml": _MODULE,
}
"""Name of each command -> its text."""


def put(job_folder: str, env: Dict[str, str]) -> None:
    """Write the commands for an attempt, and put their folder first on its PATH."""
    folder = os.path.join(job_folder, FOLDER)
    os.makedirs(folder, 0o700, exist_ok=True)
    for name, text in PROGRAMS.items():
        write_file(os.path.join(folder, name), text.encode("ascii"), 0o700)
    env[VARIABLE] = folder
    env["PATH"] = os.pathsep.join((folder, env["PATH"]))
