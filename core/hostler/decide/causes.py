"""The cause of an attempt's end, from exit code, signal, stop reason and log: the log patterns for
GPU out of memory and a lost GPU, and the sentences shown.

Also the problem of an attempt that starts or runs, in one sentence. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from hostler.decide.root_words import needs_root
from hostler.model.environments import Environment
from hostler.model.hosts import Host, HostCondition, Workload
from hostler.model.pipelines import Cause, Stage
from hostler.model.plans import Stray
from hostler.model.runs import Attempt, Phase
from hostler.model.runtimes import traits_of

Ending = tuple[Phase, Cause | None, str]

_SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU",
    25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip

_GPU_MEMORY_WORDS = (
    "cuda out of memory", "cuda_error_out_of_memory", "outofmemoryerror: cuda",
    "cudaerrormemoryallocation", "cublas_status_alloc_failed", "hip out of memory",
    "out of memory while trying to allocate",
)  # fmt: skip
_CUT_OFF_WORDS = "failed to initialize nvml: unknown error"
"""The error in a container after the host has cut its access to the GPU; the GPU itself is
healthy."""
_GPU_LOST_WORDS = (
    "gpu is lost", "fallen off the bus", "uncorrectable ecc error", "cuda_error_device_unavailable",
    "no cuda-capable device is detected", _CUT_OFF_WORDS,
)  # fmt: skip

_NO_FAILURE = (Cause.STOPPED, Cause.DEPENDENCY, Cause.SUPERSEDED)
NOT_READY = 125
"""Exit code of the agent's `venv.py` and `activate.py` if they fail before the command."""
_OURS = "hostler: "
_THIS_HOST = "this host "
_BY_RUNTIME = (125, 126, 127)
"""Exit codes of `docker run` and shells for "the command cannot be executed"."""

_NOBODY_KNOWS = "it is unknown whether the stage still runs there"
_UNSEEN = (HostCondition.UNREACHABLE, HostCondition.REFUSED)


def conclude(
    attempt: Attempt,
    stage: Stage,
    workload: Workload,
    *,
    boot_id: str | None = None,
    tail: Sequence[str] = (),
    gpu_lost: str = "",
) -> Ending:
    """Phase, cause (None: it succeeded) and one sentence for an ended workload.

    `boot_id`: the host's boot when the end was seen. `tail`: the last lines of its log. `gpu_lost`:
    how one of its GPUs failed. Only an observed exit code 0 is a success; the conditions of a gate
    are checked afterwards.
    """
    if attempt.stop_reason is not None:
        return _stopped(attempt)
    code = workload.exit_code
    if code == 0 and workload.signal is None:
        return Phase.SUCCEEDED, None, ""
    if workload.oom_killed:
        return _failed(Cause.OOM_HOST, _oom_sentence(stage))
    if boot_id is not None and attempt.boot_id is not None and boot_id != attempt.boot_id:
        seen = "" if code is None else f"; {_how(workload)}"
        return _failed(Cause.HOST_REBOOTED, f"{attempt.host} rebooted while it ran{seen}")
    if workload.engine_restarted:
        return _failed(
            Cause.ENGINE_RESTARTED,
            f"Docker on {attempt.host} was restarted, which ended the container; live-restore "
            "prevents this",
        )
    if code is None and workload.signal is None:
        error = f": {workload.error}" if workload.error else ""
        return _failed(Cause.VANISHED, f"it ended and its exit code is unknown{error}")
    if workload.error and (workload.started_at is None or code in _BY_RUNTIME):
        return _failed(Cause.START_FAILED, _with_root_hint(workload.error, stage, workload, ()))
    if gpu_lost:
        return _failed(Cause.GPU_LOST, f"{gpu_lost}; {_how(workload)}")
    if code == NOT_READY and _has_environment(stage):
        return _failed(Cause.START_FAILED, _not_ready_sentence(stage, attempt.host, tail))
    hint = cause_from_log(tail)
    said = hint is Cause.GPU_LOST and traits_of(workload.runtime).loses_gpus and _is_cut_off(tail)
    if said or (workload.gpu_cut_off and hint is not Cause.OOM_GPU):
        return _failed(Cause.GPU_LOST, f"{_how(workload)}; {cut_off_sentence(attempt.host)}")
    if hint is not None:
        return _failed(hint, _how(workload))
    return _failed(Cause.USER_ERROR, _with_root_hint(_how(workload), stage, workload, tail))


def conclude_absent(attempt: Attempt, *, rebooted: bool = False) -> Ending:
    """The ending of an attempt whose workload is gone and whose end was not observed."""
    if attempt.stop_reason is not None:
        return _stopped(attempt)
    if rebooted:
        return _failed(Cause.HOST_REBOOTED, f"{attempt.host} rebooted, and its work is gone")
    return _failed(
        Cause.VANISHED,
        f"it is gone from {attempt.host}, and Hostler did not remove it (removed by hand?)",
    )


def conclude_uncollected(
    attempt: Attempt, missing: Sequence[str], why: str, *, is_lost: bool = False
) -> Ending:
    """The ending of an attempt whose files can no longer be copied. `missing`: the declared outputs
    that were not copied; with any missing, the attempt has not succeeded."""
    verdict = attempt.verdict or Phase.FAILED
    if verdict is not Phase.SUCCEEDED or not missing:
        return verdict, attempt.cause, attempt.detail
    said = f"output {', '.join(missing)}: {why}"
    return (Phase.LOST, Cause.HOST_LOST, said) if is_lost else _failed(Cause.OUTPUT, said)


def cause_from_log(tail: Sequence[str]) -> Cause | None:
    """The cause that the last lines of a failed command's log show; None: unknown."""
    for line in reversed(tail):
        low = line.lower()
        if any(words in low for words in _GPU_MEMORY_WORDS):
            return Cause.OOM_GPU
        if any(words in low for words in _GPU_LOST_WORDS):
            return Cause.GPU_LOST
    return None


def _stopped(attempt: Attempt) -> Ending:
    """The ending after a stop. The stop reason counts, whatever the exit code: a command that
    catches TERM and ends with 0 did not finish its work."""
    cause = attempt.stop_reason
    phase = Phase.CANCELLED if cause in _NO_FAILURE else Phase.FAILED
    return phase, cause, attempt.stop_detail


def _failed(cause: Cause, detail: str) -> Ending:
    return Phase.FAILED, cause, detail


def _has_environment(stage: Stage) -> bool:
    names = (stage.venv, stage.conda, stage.setup)
    return any(name is not None for name in names) or bool(stage.modules)


def _not_ready_sentence(stage: Stage, host: str, tail: Sequence[str]) -> str:
    said = [line[len(_OURS) :] for line in tail if line.startswith(_OURS)]
    if said:
        return said[-1].replace(_THIS_HOST, f"{host} ", 1)
    if stage.venv is not None:
        return f"the virtual environment of {stage.venv} could not be built"
    return f"{Environment(stage.conda, stage.modules)} could not be loaded on {host}"


def _oom_sentence(stage: Stage) -> str:
    if not traits_of(stage.runtime).limits_memory:  # `ram` is only used for planning
        return "killed by the kernel: the host was out of memory; ask for more with `ram`"
    if stage.resources.ram is None:
        return "killed by the kernel for its memory; `ram` in resources asks for more"
    return "killed by the kernel at its memory limit; raise `ram` in resources"


def _with_root_hint(sentence: str, stage: Stage, workload: Workload, tail: Sequence[str]) -> str:
    """The sentence, with a remedy if the command of a container needed root."""
    if not traits_of(workload.runtime).never_root:
        return sentence
    hint = needs_root([workload.error or "", *tail], stage.mount_targets)
    return sentence if hint is None else f"{sentence}; {hint}"


def _is_cut_off(tail: Sequence[str]) -> bool:
    return any(_CUT_OFF_WORDS in line.lower() for line in tail)


def cut_off_sentence(host: str) -> str:
    """Why a container lost its GPU, and where to find the remedy."""
    return (
        "the container lost access to its GPU while it ran; systemctl daemon-reload causes this "
        f"on hosts without links in /dev/char: see hostler doctor {host}"
    )


def _how(workload: Workload) -> str:
    number, code = workload.signal, workload.exit_code
    if number is None and code is not None and 128 < code < 160:
        number = code - 128
    if number is None:
        return f"exit code {code}"
    name = _SIGNALS.get(number, f"signal {number}")
    if number == 9:
        return f"killed by {name}, not by Hostler (often by the kernel, to free memory)"
    return f"killed by {name}"


def trouble_of(
    attempt: Attempt, host: Host | None, held_up: str | None = None, stray: Stray | None = None
) -> str | None:
    """One sentence for people about a placed attempt; None: no problem.

    `host`: None if the config no longer names it. `held_up`: what blocked the last try to start it,
    or to copy its files. `stray`: the GPU that it uses although it was not given it.
    """
    if host is not None and host.unmerged and not attempt.phase.is_final:
        return f"the notes of {host.name} since the backup are not merged yet"
    if attempt.phase is Phase.STARTING:
        if held_up and host is not None and host.condition in _UNSEEN:
            why = f" ({host.problem})" if host.problem else ""
            return f"{host.name} cannot be seen{why}: the start continues once it answers"
        if held_up:
            return f"the start is blocked: {held_up}"
        return "it is ready, and starts with the rest of its group" if attempt.ref else None
    if attempt.phase is Phase.COLLECTING:
        held = f"copying is blocked: {held_up}" if held_up else None
        return _not_copied(attempt, host) or held
    if attempt.phase is not Phase.RUNNING:
        return None
    if host is None:
        return f"{attempt.host} is no longer in the config: {_NOBODY_KNOWS}"
    if host.condition in _UNSEEN:
        return f"{host.name} cannot be seen: {_NOBODY_KNOWS}"
    look = host.look
    if look is None:
        return None
    if unseen := traits_of(attempt.runtime).unseen(look):
        return f"{unseen} on {host.name}: {_NOBODY_KNOWS}"
    health = look.health.get(attempt.attempt_id)
    if health is not None and not health.ok:
        fails = "is not ready" if attempt.ready_at is None else "fails its health checks"
        return f"it {fails}: {health.said}"
    if stray is not None:
        return f"it {sentence_of(stray)}"
    return cut_off_sentence(host.name) if is_cut_off(attempt, host) else None


def sentence_of(stray: Stray) -> str:
    """A text for people, without the subject: "computes on GPU 0 of gpu1, which ..."."""
    return f"{'computes' if stray.computes else 'holds memory'} {stray.where}"


def _not_copied(attempt: Attempt, host: Host | None) -> str | None:
    """Why the files of an ended attempt are not being copied now; None: no known problem."""
    if host is None:
        return f"{attempt.host} is no longer in the config: add it again to copy the files"
    if host.condition not in _UNSEEN:
        return None
    why = f" ({host.problem})" if host.problem else ""
    return f"{host.name} cannot be seen{why}: its files are copied once it answers"


def is_cut_off(attempt: Attempt, host: Host) -> bool:
    """Whether it runs, and can no longer open its GPUs."""
    if attempt.phase is not Phase.RUNNING or not attempt.gpus:
        return False
    works = host.look.workloads if host.look is not None else ()
    return any(
        work.attempt_id == attempt.attempt_id and work.running and work.gpu_cut_off
        for work in works
    )
