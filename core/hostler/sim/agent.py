"""The requests that a simulated host's agent answers (docs/protocol.md), as JSON in and out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from fnmatch import fnmatchcase

from hostler.base.errors import AgentError
from hostler.model.codec import from_json, to_json
from hostler.model.files import KeptFolder
from hostler.model.jobs import Claim
from hostler.model.time_limits import CheckpointSeen, Reached, Warned
from hostler.sim import gateway
from hostler.sim.behaviour import VARIABLE, behaviour_of, metrics_text
from hostler.sim.claims import bind_leases, claim_gpus
from hostler.sim.host import SimHost, folder_of
from hostler_agent.fields import optional_text, seconds, text, texts, whole
from hostler_agent.json_values import Message, Outgoing, items, strings, table


def answer(host: SimHost, verb: str, asked: Message) -> Outgoing:
    """Carry out a request. Raises HostError, as a real agent's errors arrive at the daemon."""
    handler = _HANDLERS.get(verb)
    if handler is None:
        raise AgentError(host.name, f"no such request: {verb}")
    return handler(host, asked)


def _claim(host: SimHost, asked: Message) -> Outgoing:
    return asdict(claim_gpus(host, from_json(Claim, asked)))


def _bind(host: SimHost, asked: Message) -> Outgoing:
    claim = from_json(Claim, asked["claim"])
    leases, workload = texts(asked, "lease_ids"), text(asked, "workload")
    return asdict(bind_leases(host, leases, workload, claim))


def _release(host: SimHost, asked: Message) -> Outgoing:
    host.release(texts(asked, "lease_ids"))
    return {}


def _pull(host: SimHost, asked: Message) -> Outgoing:
    done, total = host.pull(text(asked, "image"))
    return {"done": done, "total": total}


def _create(host: SimHost, asked: Message) -> Outgoing:
    work = host.create(asked)
    return {"ref": work.ref, "folder": f"/var/tmp/hostler-1000/jobs/{work.attempt_id}"}


def _place(host: SimHost, asked: Message) -> Outgoing:
    host.place(text(asked, "attempt_id"), text(asked, "digest"), text(asked, "target"))
    return {}


def _start(host: SimHost, asked: Message) -> Outgoing:
    attempt_id, env = text(asked, "attempt_id"), _variables(asked)
    if asked.get("create"):  # a gateway, which is made and started in one go, and never ends
        host.create({**table(asked["create"]), "attempt_id": attempt_id})
        env |= {VARIABLE: "seconds=1e12 lines=0"}
    work = host.start(attempt_id, env)
    gateway.begin(host, attempt_id)
    return work.to_wire()


def _stop(host: SimHost, asked: Message) -> Outgoing:
    return {"reached": host.signal(text(asked, "attempt_id"), 15)}


def _prepare(host: SimHost, asked: Message) -> Outgoing:
    work, now = host.work(text(asked, "attempt_id")), host.clock.now()
    told = behaviour_of(work.attempt_id, _variables(asked))
    if work.setup_at is None:
        work.setup_at = now
        host.referee.setups[work.attempt_id] += 1
    limit = seconds(table(asked.get("setup")), "timeout")
    if now < work.setup_at + min(told.setup, limit):
        return {"state": "running"}
    is_late = limit < told.setup
    state = "failed" if is_late or told.setup_exit else "ready"
    return {"state": state, "exit_code": 143 if is_late else told.setup_exit, "late": is_late}


def _variables(asked: Message) -> dict[str, str]:
    return {name: str(value) for name, value in table(asked.get("env")).items()}


def _signal(host: SimHost, asked: Message) -> Outgoing:
    return {"reached": host.signal(text(asked, "attempt_id"), whole(asked, "signal"))}


def _warn(host: SimHost, asked: Message) -> Outgoing:
    work = host.works.get(text(asked, "attempt_id"))
    if work is None or not work.running:
        return asdict(Warned(problem="it does not run"))
    host.check_docker(work.runtime)
    them = (Reached(work.pid, "python3"),)
    if not work.behaviour.catches:
        return asdict(Warned(deaf=them))
    work.warned = work.warned or text(asked, "signal")
    return asdict(Warned(sent=them))


def _checkpoint(host: SimHost, asked: Message) -> Outgoing:
    work = host.work(text(asked, "attempt_id"))
    host.check_docker(work.runtime)
    return asdict(CheckpointSeen(work.ended_at if work.behaviour.saves else None))


def _answer_nested(host: SimHost, asked: Message) -> Outgoing:
    attempt, request = text(asked, "attempt_id"), text(asked, "id")
    host.answers[attempt, request] = (whole(asked, "code"), text(asked, "text"))
    host.requests[:] = [
        r for r in host.requests if (r["attempt_id"], r["id"]) != (attempt, request)
    ]
    return {}


def _remove(host: SimHost, asked: Message) -> Outgoing:
    host.remove(text(asked, "attempt_id"))
    return {}


def _inspect(host: SimHost, asked: Message) -> Outgoing:
    wanted = text(asked, "attempt_id")
    for work in host.works.values():
        if wanted in (work.attempt_id, work.ref):
            host.check_docker(work.runtime)
            return {"workload": work.to_wire()}
    return {"workload": None}


def _metrics(host: SimHost, asked: Message) -> Outgoing:
    work, offset = host.works.get(text(asked, "attempt_id")), whole(asked, "offset")
    now = host.clock.now()
    written = "" if work is None else metrics_text(work.behaviour, work.elapsed(now))
    fresh = written[offset:]
    return {"text": fresh, "next": offset + len(fresh), "mtime": now, "size": len(written)}


def _container_metrics(host: SimHost, asked: Message) -> Outgoing:
    host.check_docker("docker")
    return _metrics(host, asked)


def _blob(host: SimHost, asked: Message) -> Outgoing:
    there = host.blobs.get(text(asked, "digest"))
    return {"size": len(there or b""), "complete": there is not None}


def _stat(host: SimHost, asked: Message) -> Outgoing:
    found = []
    for item in items(asked.get("paths")):
        path = str(item["path"] if isinstance(item, dict) else item)
        there = not any(fnmatchcase(path, glob) for glob in host.trouble.no_path)
        told = {"exists": there, "is_dir": there, "readable": there, "writable": there}
        found.append({"path": path, **told, "shared": True, "token_ok": there})
    return {"paths": found}


def _environment(host: SimHost, asked: Message) -> Outgoing:
    conda, gone = optional_text(asked, "conda"), host.trouble.no_environment
    for name in [*texts(asked, "modules"), *([] if conda is None else [conda])]:
        if any(fnmatchcase(name, glob) for glob in gone):
            what = "conda environment" if name == conda else "module"
            return {"problem": f"has no {what} called {name}"}
    return {"problem": ""}


def _doctor(host: SimHost, asked: Message) -> Outgoing:
    state = "fail" if host.trouble.docker else "ok"
    told = host.trouble.docker or "a simulated host: nothing is real"
    return {"checks": [{"check": "docker", "state": state, "message": told, "remedy": ""}]}


def _keep(host: SimHost, asked: Message) -> Outgoing:
    key = (text(asked, "daemon_id"), text(asked, "run_id"))
    spec, line = optional_text(asked, "spec"), optional_text(asked, "line")
    if spec is not None:
        host.records.setdefault(key, ["", ""])[0] = spec
    if key in host.records and line is not None:
        host.records[key][1] += line + "\n"
    if key in host.records and "lines" in asked:
        host.records[key][1] = "".join(f"{each}\n" for each in texts(asked, "lines"))
    return {"spec": key in host.records}


def _list_kept(host: SimHost, asked: Message) -> Outgoing:
    own = text(asked, "daemon_id")
    return {
        "runs": sorted(run for daemon, run in host.records if daemon == own),
        "others": sorted({daemon for daemon, _ in host.records if daemon != own}),
    }


def _read_kept(host: SimHost, asked: Message) -> Outgoing:
    kept = host.records.get((text(asked, "daemon_id"), text(asked, "run_id")))
    if kept is None:
        raise AgentError(host.name, f"nothing of run {asked['run_id']} is kept")
    spec, lines = kept
    offset = whole(asked, "offset")
    return {"spec": None if offset else spec, "lines": lines[offset:], "next": len(lines)}


def _forget_kept(host: SimHost, asked: Message) -> Outgoing:
    own = text(asked, "daemon_id")
    host.ended[own] = host.ended.get(own, "") + "".join(
        f"{x}\n" for x in strings(asked.get("ended"))
    )
    gone = [host.records.pop((own, run), None) for run in texts(asked, "runs")]
    return {"removed": len([item for item in gone if item is not None])}


def _keep_service(host: SimHost, asked: Message) -> Outgoing:
    host.notes[text(asked, "daemon_id"), text(asked, "name")] = text(asked, "line")
    return {"kept": True}


def _list_services(host: SimHost, asked: Message) -> Outgoing:
    own = text(asked, "daemon_id")
    return {"services": sorted(name for daemon, name in host.notes if daemon == own)}


def _read_service(host: SimHost, asked: Message) -> Outgoing:
    return {"line": host.notes.get((text(asked, "daemon_id"), text(asked, "name")), "")}


def _kept(host: SimHost, asked: Message) -> Outgoing:
    kept = []
    for work in host.works.values():
        if work.kept_until is not None and work.daemon_id == text(asked, "daemon_id"):
            files = host.files(work)
            told = KeptFolder(
                work.attempt_id, work.runtime, work.ref, work.kept_until, len(files),
                sum(map(len, files.values())), folder_of(work),
            )  # fmt: skip
            kept.append(to_json(told))
    return {"kept": kept}


def _clean(host: SimHost, asked: Message) -> Outgoing:
    found = {"what": "blob", "count": len(host.blobs), "names": sorted(host.blobs)}
    size = sum(map(len, host.blobs.values()))
    if not asked["dry_run"]:
        host.blobs.clear()
    return {"found": [{**found, "bytes": size}], "busy": ""}


def _ended(host: SimHost, asked: Message) -> Outgoing:
    lines = host.ended.get(text(asked, "daemon_id"), "")
    return {"lines": lines[whole(asked, "offset") :], "next": len(lines)}


_HANDLERS: dict[str, Callable[[SimHost, Message], Outgoing]] = {
    "ping": lambda host, asked: {},
    "claim": _claim,
    "bind": _bind,
    "release": _release,
    "sim.pull": _pull,
    "job.create": _create,
    "job.place": _place,
    "job.prepare": _prepare,
    "job.packages": lambda host, asked: {"started": True},  # simulated packages need no sending
    "job.start": _start,
    "job.signal": _signal,
    "job.stop": _stop,
    "job.warn": _warn,
    "job.checkpoint": _checkpoint,
    "job.remove": _remove,
    "job.inspect": _inspect,
    "job.metrics": _metrics,
    "container.metrics": _container_metrics,
    "gateway.put": gateway.put,
    "gateway.find": gateway.find,
    "gateway.log": gateway.log,
    "gateway.forwards": gateway.forwards,
    "gateway.ports": gateway.ports,
    "gateway.reach": lambda host, asked: {"why_not": ""},
    "gateway.remove": gateway.remove,
    "blob.has": _blob,
    "stat": _stat,
    "environment": _environment,
    "doctor": _doctor,
    "run.keep": _keep,
    "run.list": _list_kept,
    "run.read": _read_kept,
    "run.forget": _forget_kept,
    "service.keep": _keep_service,
    "service.list": _list_services,
    "service.read": _read_service,
    "kept.list": _kept,
    "nested.list": lambda host, asked: {"requests": [*host.requests]},
    "nested.answer": _answer_nested,
    "kept.forget": lambda host, asked: {},
    "run.ended": _ended,
    "clean": _clean,
    "gc": lambda host, asked: {"freed": 0},
}
