"""The script `srun` for batch scripts: its options (used, dropped or refused) and variables; runs
the tasks of a step on this host."""

TEXT = r"""#!/bin/sh
# srun of a batch script that Hostler runs. All tasks are on this host, and see all of its GPUs:
# options that choose nodes or divide resources are dropped.
VALUED=' account acctg-freq bb bbf begin chdir cluster-constraint clusters comment constraint
core-spec cores-per-socket cpu-bind cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot
dependency distribution epilog error exclude export extra extra-node-info gid gpu-bind gpu-freq gpus
gpus-per-node gpus-per-socket gpus-per-task gres gres-flags het-group hint input job-name jobid
licenses mail-type mail-user max-exit-timeout max-launch-time mcs-label mem mem-bind mem-per-cpu
mem-per-gpu mincpus mpi msg-timeout network nodefile nodelist nodes ntasks ntasks-per-core
ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output partition power priority
profile prolog qos relative reservation signal slurmd-debug sockets-per-node switches task-epilog
task-prolog thread-spec threads threads-per-core time time-min tmp tres-bind tres-per-task uid wait
wckey '
FLAGS=' bcast compress contiguous disable-status exact exclusive get-user-env hold ignore-pbs
immediate interactive kill-on-bad-exit label multi-prog nice no-allocate no-kill overcommit overlap
oversubscribe prefer preserve-env propagate pty quiet quit-on-interrupt reboot send-libs spread-job
stepmgr test-only unbuffered use-min-nodes verbose version whole x11 help usage '
tasks='' per_node='' label='' out='' err='' in='' kill_all='' gpus_each='' asked='' mpi=''

say() { printf 'hostler: srun: %s\n' "$1" >&2; }
fail() { say "$1"; exit 1; }

full() { # the long option that a word or the begin of one means
  for name in $VALUED $FLAGS; do
    [ "$name" != "$1" ] || { printf %s "$name"; return; }
  done
  for name in $VALUED $FLAGS; do
    case $name in "$1"*) printf %s "$name"; return ;; esac
  done
}

number() { # option, value
  case $2 in ''|0*|*[!0-9]*|?????*) fail "--$1=$2 is not a number from 1 to 9999" ;; esac
}

exported() { # NAME=VALUE of --export
  left=$1,
  while [ -n "$left" ]; do
    part=${left%%,*} left=${left#*,}
    case ${part%%=*} in ''|[0-9]*|*[!A-Za-z0-9_]*) continue ;; esac
    case $part in *=*) export "$part" ;; esac
  done
}

count_of() { printf %s "${1##*:}"; } # of "gpu:a100:2", "2"

take() { # option, value
  case $1 in
    ntasks) number "$1" "$2"; tasks=$2 ;;
    ntasks-per-node) number "$1" "$2"; per_node=$2 ;;
    nodes)
      case ${2%%-*} in 1|'') ;; *) fail "--nodes=$2: a run has one host" ;; esac ;;
    cpus-per-task) number "$1" "$2"; export SLURM_CPUS_PER_TASK="$2" ;;
    gpus-per-task) gpus_each=$(count_of "$2"); number "$1" "$gpus_each" ;;
    gpus|gpus-per-node|gres) case $1,$2 in gres,*gpu*|gpus*) asked=$(count_of "$2") ;; esac ;;
    chdir) cd -- "$2" || exit 1 ;;
    export) exported "$2" ;;
    output) out=$2 ;;
    error) err=$2 ;;
    input) in=$2 ;;
    mpi) mpi=$2 ;;
    label) label=1 ;;
    kill-on-bad-exit) [ "$2" = 0 ] || kill_all=1 ;;
    multi-prog) fail "--multi-prog is not supported; start each program with an srun of its own" ;;
    version|help|usage) echo "hostler srun: srun [options] COMMAND; all tasks are on this host"
      exit 0 ;;
  esac
}

short() { # the long option of a letter
  case $1 in
    A) echo account ;; B) echo extra-node-info ;; C) echo constraint ;; c) echo cpus-per-task ;;
    D) echo chdir ;; d) echo dependency ;; e) echo error ;; G) echo gpus ;; i) echo input ;;
    J) echo job-name ;; L) echo licenses ;; M) echo clusters ;; m) echo distribution ;;
    N) echo nodes ;; n) echo ntasks ;; o) echo output ;; p) echo partition ;; q) echo qos ;;
    r) echo relative ;; S) echo core-spec ;; T) echo threads ;; t) echo time ;; W) echo wait ;;
    w) echo nodelist ;; x) echo exclude ;; l) echo label ;; V) echo version ;; h) echo help ;;
    K) echo kill-on-bad-exit ;; E|H|I|k|O|Q|s|u|v|X|Z) echo verbose ;;
  esac
}

valued() { for each in $VALUED; do [ "$each" != "$1" ] || return 0; done; return 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --) shift; break ;;
    --container*) fail "$1 is not supported; name the image as image in a pipeline file" ;;
    --?*)
      given=${1#--} name=$(g=${1#--}; full "${g%%=*}")
      case $given in
        *=*) take "${name:-unused}" "${given#*=}" ;;
        *)
          [ -n "$name" ] || fail "$1 is no option of srun that Hostler knows"
          if valued "$name"; then
            [ $# -gt 1 ] || fail "$1 has no value"
            take "$name" "$2"
            shift
          else
            take "$name" ''
          fi ;;
      esac
      shift ;;
    -?*)
      rest=${1#-}
      while [ -n "$rest" ]; do
        letter=${rest%"${rest#?}"} rest=${rest#?}
        name=$(short "$letter")
        [ -n "$name" ] || fail "-$letter is no option of srun that Hostler knows"
        if valued "$name"; then
          if [ -z "$rest" ]; then
            [ $# -gt 1 ] || fail "-$letter has no value"
            rest=$2
            shift
          fi
          take "$name" "${rest#=}"
          break
        fi
        case $letter in K|I) take "$name" "$rest"; break ;; esac
        take "$name" ''
      done
      shift ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || fail 'there is no command'

: "${per_node:=${SLURM_NTASKS_PER_NODE:-}}"
: "${tasks:=${SLURM_NTASKS:-${per_node:-1}}}"
number ntasks "$tasks"
if [ -z "${CUDA_VISIBLE_DEVICES+set}" ] && [ "${HOSTLER_GPU_COUNT:-0}" -gt 0 ]; then
  cards=0 card=1 # a container sees only its own
  while [ $card -lt "$HOSTLER_GPU_COUNT" ]; do cards=$cards,$card card=$((card + 1)); done
else
  cards=${CUDA_VISIBLE_DEVICES:-}
fi
card_count=${HOSTLER_GPU_COUNT:-0}
if [ -n "$gpus_each" ] && [ $((gpus_each * tasks)) -gt "$card_count" ]; then
  fail "$tasks tasks need $((gpus_each * tasks)) GPUs, and the job has $card_count"
fi
case $asked in
  ''|*[!0-9]*) ;;
  *) [ "$asked" -ge "$card_count" ] ||
    say "this step asks for $asked GPUs, and sees all $card_count of the job" ;;
esac
case $tasks,$mpi in
  1,*|*,|*,none) ;;
  *) say "--mpi=$mpi is not supported: MPI sees $tasks programs of one rank; use mpirun" ;;
esac

named() { # a file name of Slurm, for a task
  job_name=$(printf %s "$SLURM_JOB_NAME" | tr '|&/\\' ____)
  printf '%s\n' "$1" | sed -e "s|%j|$SLURM_JOB_ID|g;s|%J|$SLURM_JOB_ID.0|g;s|%s|0|g" \
    -e "s|%A|${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}|g;s|%a|${SLURM_ARRAY_TASK_ID:-0}|g" \
    -e "s|%[0-9]*t|$2|g;s|%n|0|g;s|%N|$SLURMD_NODENAME|g;s|%x|$job_name|g;s|%u|$USER|g"
}

files() { # a task's number: its output and input, where asked for
  case $out in ''|none|all|[0-9]*) ;; *) exec >"$(named "$out" "$1")" ;; esac
  case $err,$out in
    ,|none,*) ;;
    ,*) case $out in none|all|[0-9]*) ;; *) exec 2>&1 ;; esac ;;
    *) exec 2>"$(named "$err" "$1")" ;;
  esac
  case $in in ''|none|all|[0-9]*) ;; *) exec <"$(named "$in" "$1")" ;; esac
}

begin() { # a task's number: its variables
  export SLURM_PROCID="$1" SLURM_LOCALID="$1" SLURM_NODEID=0 SLURM_NTASKS="$tasks"
  export SLURM_NPROCS="$tasks" SLURM_STEP_NUM_TASKS="$tasks" SLURM_STEP_TASKS_PER_NODE="$tasks"
  export SLURM_STEP_ID=0 SLURM_STEPID=0 SLURM_STEP_NUM_NODES=1
  export SLURM_STEP_NODELIST="$SLURM_JOB_NODELIST" SLURM_TASKS_PER_NODE="$tasks"
  export SLURM_LAUNCH_NODE_IPADDR=127.0.0.1
  if [ -n "$gpus_each" ]; then
    first=$(($1 * gpus_each + 1))
    CUDA_VISIBLE_DEVICES=$(echo "$cards" | cut -d, -f"$first-$((first + gpus_each - 1))")
    export CUDA_VISIBLE_DEVICES
  fi
}

if [ "$tasks" = 1 ] && [ -z "$label" ]; then
  files 0
  begin 0
  exec "$@"
fi

# Each task writes its process and its end into a pipe, and this shell writes its signals. A process
# that ignores signals reads the pipe: a shell acts on a signal that comes just before it reads
# only after the next line, which may never come. This shell waits for that process.
pipes=$(mktemp -d) || exit 1
trap 'rm -rf "$pipes"' EXIT
mkfifo "$pipes/told" && exec 3<>"$pipes/told" || exit 1
signals='TERM INT HUP USR1 USR2' writers='' number=0

task() { # in a process of its own, which outlives signals to tell the end
  trap - EXIT
  trap : $signals
  begin "$number"
  (files "$number" && exec sh -c 'echo "begun $0 $$" >&3; exec 3>&-; exec "$@"' "$number" "$@")
  echo "ended $number $?" >&3
}

labelled() { # in a process of its own: the lines of a task, with its number before each
  trap - EXIT
  trap '' $signals
  while IFS= read -r line || [ -n "$line" ]; do
    printf '%s: %s\n' "$1" "$line"
  done <"$pipes/$1"
}

forward() { # a signal to every task, also to those that tell their process only then
  early="$early $1"
  for pid in $pids; do kill "-$1" "$pid" 2>/dev/null; done
}

heard() { # a line of the pipe
  case $1 in
    signal) forward "$2" ;;
    begun)
      pids="$pids $3"
      for each in $early; do kill "-$each" "$3" 2>/dev/null; done ;;
    ended)
      left=$((left - 1))
      [ "$3" -le "$worst" ] || worst=$3
      [ "$3" = 0 ] || say "task $2 ended with exit code $3"
      [ "$3" = 0 ] || [ -z "$kill_all" ] || forward TERM ;;
  esac
}

follow() { # in a process of its own: read the pipe until every task has ended
  trap - EXIT
  trap '' $signals
  pids='' early='' worst=0 left=$tasks
  while [ "$left" -gt 0 ]; do
    ! read -r what which value <&3 || heard "$what" "$which" "$value"
  done
  echo "$worst" >"$pipes/worst"
}

for signal in $signals; do
  trap "echo signal $signal >&3" "$signal"
done
case $out in ''|*%*t*) ;; *) files 0; out='' err='' ;; esac # one file for all of them
follow &
follower=$!
while [ "$number" -lt "$tasks" ]; do
  if [ -n "$label" ]; then
    mkfifo "$pipes/$number" || exit 1
    labelled "$number" 3>&- &
    writers="$writers $!"
    task "$@" >"$pipes/$number" 2>&1 &
  else
    task "$@" &
  fi
  number=$((number + 1))
done
until [ -s "$pipes/worst" ]; do # a signal ends wait, too
  wait "$follower"
  kill -0 "$follower" 2>/dev/null || [ -s "$pipes/worst" ] || {
    follow & # a signal to the whole group came before it ignored that
    follower=$!
  }
done
for each in $writers; do
  while kill -0 "$each" 2>/dev/null; do wait "$each"; done
done
read -r worst <"$pipes/worst"
exit "$worst"
"""
