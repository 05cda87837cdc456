"""The table of sbatch options: supported, ignored with a note, refused with a remedy, short and
old names."""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


READ = _names(
    """array chdir constraint cpus-per-gpu cpus-per-task dependency error export gpus
    gpus-per-node gpus-per-task gres job-name mem mem-per-cpu mem-per-gpu no-requeue nodes ntasks
    ntasks-per-gpu ntasks-per-node output partition requeue signal time
    tmp"""
)
"""Options that `hostler.sbatch.job` reads."""

UNUSED = _names(
    """account acctg-freq batch bb bbf clusters cluster-constraint comment
    consolidate-segments contiguous core-spec cores-per-socket cpu-freq deadline delay-boot
    distribution exclude exclusive extra extra-node-info get-user-env gid gpu-bind gpu-freq
    gres-flags hint ignore-pbs input kill-on-invalid-dep licenses mail-type mail-user mcs-label
    mem-bind mem-update mincpus network nice no-kill nodelist ntasks-per-core ntasks-per-socket
    oom-kill-step open-mode overcommit oversubscribe parsable power prefer priority profile
    propagate qos quiet reboot reservation resv-ports segment sockets-per-node spread-job
    spread-segments stepmgr switches thread-spec threads-per-core time-min tres-bind uid
    use-min-nodes verbose wait wait-all-nodes wckey x11"""
)
"""Options that are accepted and have no effect; a note says so."""

REFUSED = {
    "begin": "start it at that time with `at` or cron: left out, it would start at once",
    "container": "name the image as `image` in a pipeline file",
    "container-id": "name the image as `image` in a pipeline file",
    "container-image": "use `hostler run --image IMAGE`: the whole script then runs in it",
    "container-mounts": "name folders as `mounts` in a pipeline file",
    "environment": "use `hostler run --image IMAGE`: the whole script then runs in it",
    "export-file": "write the variables into the script",
    "gpus-per-socket": "write --gpus instead",
    "external": "use `hostler run`, which starts the script itself",
    "help": "use `hostler run --help`",
    "hold": "use `hostler run --after RUN` to start it later",
    "image": "use `hostler run --image IMAGE`: the whole script then runs in it, without shifter",
    "module": "name folders as `mounts` in a pipeline file; GPUs need no module here",
    "nodefile": "use `hostler run --host NAME`",
    "ntasks-per-tres": "write --ntasks-per-gpu instead",
    "resources": "write --gpus, --cpus-per-task and --mem instead",
    "test-only": "use `hostler run --plan`",
    "tres-per-task": "write --gpus-per-task or --cpus-per-task instead",
    "wrap": "use `hostler run -- CMD`",
}
"""Options that would change the job, with the alternative."""

FLAGS = _names(
    """consolidate-segments contiguous exclusive external get-user-env help hold ignore-pbs nice
    no-kill no-requeue oom-kill-step overcommit oversubscribe parsable propagate quiet reboot
    requeue resv-ports spread-job spread-segments stepmgr test-only use-min-nodes verbose wait
    x11"""
)
"""Options without a value, or whose value may only follow `=`."""

SHORT = {
    "A": "account", "a": "array", "B": "extra-node-info", "b": "begin", "C": "constraint",
    "c": "cpus-per-task", "D": "chdir", "d": "dependency", "e": "error", "F": "nodefile",
    "G": "gpus", "H": "hold", "i": "input", "J": "job-name", "k": "no-kill", "L": "licenses",
    "M": "clusters", "m": "distribution", "N": "nodes", "n": "ntasks", "O": "overcommit",
    "o": "output", "p": "partition", "Q": "quiet", "q": "qos", "S": "core-spec",
    "s": "oversubscribe", "t": "time", "v": "verbose", "W": "wait", "w": "nodelist",
    "x": "exclude",
}  # fmt: skip

KNOWN = READ | UNUSED | REFUSED.keys()
_OLD = {
    "cluster": "clusters",
    "share": "oversubscribe",
    "tasks-per-node": "ntasks-per-node",
    "workdir": "chdir",
}
_PLUGIN = ("container-", "no-container-")
"""The beginning of options of pyxis, which runs containers."""


def long_name(word: str) -> str | None:
    """The option for a long name or its beginning, as in `sbatch`; None if no option or several
    options match."""
    word = _OLD.get(word, word)
    if word in KNOWN:
        return word
    if word.startswith(_PLUGIN):
        return "container-image"
    found = [name for name in KNOWN if name.startswith(word)]
    return found[0] if len(found) == 1 else None
