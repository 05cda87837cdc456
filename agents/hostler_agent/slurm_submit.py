"""The scripts `sbatch`, `squeue` and `scancel` for stages that may submit other runs (`--nested`):
their options, and the message where that is not allowed.

Each writes a request into the folder of the attempt, and waits for the daemon's answer.
"""

ASKING = r"""#!/bin/sh
# Of a batch script that Hostler runs. Requests go to the daemon through files in $HOSTLER_NESTED.
name=${0##*/}
fail() { printf 'hostler: %s: %s\n' "$name" "$1" >&2; exit 1; }

may_ask() {
  [ -n "${HOSTLER_NESTED:-}" ] ||
    fail 'this run may not submit, see, cancel or requeue; submit it with hostler run --nested'
}

ask() { # words; the text of a script is the standard input
  new=$(mktemp "$HOSTLER_NESTED/$$.XXXXXX") || fail 'the request cannot be written'
  { printf '%s\0' "$#" "$@" && cat; } >"$new" || fail 'the request cannot be written'
  mv "$new" "$new.request" || fail 'the request cannot be written'
  waited=0
  until [ -e "$new.answer" ]; do
    if [ "$waited" -ge "${HOSTLER_NESTED_WAIT:-3000}" ]; then
      rm -f "$new.request"
      fail 'the daemon does not answer; what was asked for may have been done: see hostler ps'
    fi
    sleep 0.2 2>/dev/null || sleep 1
    waited=$((waited + 1))
  done
  exec 3<"$new.answer"
  rm -f "$new.answer"
  IFS= read -r code <&3
  [ "$code" != 0 ] || { cat <&3; exit 0; }
  while IFS= read -r line || [ -n "$line" ]; do
    printf 'hostler: %s: %s\n' "$name" "$line" >&2
  done <&3
  exit 1
}
"""
"""The first lines of a program that sends requests."""
_ASK = ASKING + "\nmay_ask\n"

SBATCH = (
    _ASK
    + r"""
VALUED=' account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment
constraint container container-image container-mounts core-spec cores-per-socket cpu-freq
cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution error exclude export
export-file extra-node-info gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task
gres gres-flags hint input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem
mem-bind mem-per-cpu mem-per-gpu mincpus network nodefile nodelist nodes ntasks ntasks-per-core
ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output partition power priority profile
qos reservation signal sockets-per-node switches thread-spec threads-per-core time time-min tmp
tres-per-task uid wait-all-nodes wckey wrap workdir '
kept=0 wrap='' wraps=''

valued() { # whether a long option takes a value: the word itself, or the begin of one
  for each in $VALUED; do [ "$each" != "$1" ] || return 0; done
  case $1 in wait|exclusive|hold|nice|requeue|parsable) return 1 ;; esac
  for each in $VALUED; do case $each in "$1"*) return 0 ;; esac; done
  return 1
}

left=$#
while [ "$left" -gt 0 ]; do
  case $1 in
    --) shift; left=$((left - 1)); break ;;
    --wrap=*) wraps=1 wrap=${1#*=}; shift; left=$((left - 1)); continue ;;
    --wrap)
      [ "$left" -gt 1 ] || fail '--wrap has no value'
      wraps=1 wrap=$2
      shift 2
      left=$((left - 2))
      continue ;;
    -W|--wait) fail "$1 is not supported; wait for it by squeue --jobs" ;;
    --*=*) take=1 ;;
    --?*) take=1; ! valued "${1#--}" || take=2 ;;
    -[HhkOQsvV]) take=1 ;;
    -?) take=2 ;;
    -?*) take=1 ;;
    *) break ;;
  esac
  [ "$take" -le "$left" ] || fail "$1 has no value"
  while [ "$take" -gt 0 ]; do
    set -- "$@" "$1"
    shift
    kept=$((kept + 1)) left=$((left - 1)) take=$((take - 1))
  done
done

case $PWD in
  "$HOSTLER_WORK") folder=. ;;
  "$HOSTLER_WORK"/*) folder=${PWD#"$HOSTLER_WORK"/} ;;
  *) folder=$PWD ;;
esac
if [ -n "$wraps" ]; then
  [ "$left" = 0 ] || fail 'both --wrap and a script are given'
  printf '#!/bin/sh\n%s\n' "$wrap" | ask sbatch "$folder" "$kept" wrap "$@"
elif [ "$left" = 0 ]; then
  ask sbatch "$folder" "$kept" stdin "$@"
else
  [ -r "$1" ] && [ ! -d "$1" ] || fail "$1 cannot be read"
  [ "$(wc -c <"$1")" -le 65536 ] || fail "$1 is larger than 64 KiB"
  ask sbatch "$folder" "$kept" "$@" <"$1"
fi
"""
)
"""The words of a request: folder, number of option words, script, its arguments, the options."""

OTHER = _ASK + 'ask "$name" "$@" </dev/null\n'
