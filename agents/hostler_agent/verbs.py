"""The table of requests other than looks: each name and its function; each request runs in a
thread."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Callable, Dict, Optional

from hostler_agent import environments, keeping, nested, secretfiles
from hostler_agent.claims import Claimed, Claims, read_claim
from hostler_agent.containers import Containers
from hostler_agent.failpoints import failpoint
from hostler_agent.fields import optional_text, seconds, text, texts, whole
from hostler_agent.folders import Folders, Refusal, check_attempt
from hostler_agent.generations import CHANGING, Generations
from hostler_agent.http import HttpError
from hostler_agent.jobs import Jobs
from hostler_agent.jobstop import GRACE
from hostler_agent.json_values import Message, Outgoing
from hostler_agent.leasefolder import Unusable
from hostler_agent.look_sections import Workload
from hostler_agent.machine import boot_id
from hostler_agent.metricpiece import wanted
from hostler_agent.paths import Paths
from hostler_agent.records import Records
from hostler_agent.sampler import Sampler
from hostler_agent.servicenotes import ServiceNotes

if TYPE_CHECKING:
    from hostler_agent.gateway import Gateways

_SIGNALS = range(1, 65)
_UNSEEN = "who uses the GPUs cannot be seen: %s"


class Verbs:
    """Finds the function of a request by the key that names it."""

    def __init__(
        self,
        folders: Folders,
        version: str,
        jobs: Jobs,
        claims: Claims,
        containers: Containers,
        sampler: Sampler,
        generations: Optional[Generations] = None,
    ) -> None:
        self._folders = folders
        self._version = version
        self._jobs = jobs
        self._claims = claims
        self._containers = containers
        self._sampler = sampler
        self._generations = generations
        self._records = Records(folders)
        notes = ServiceNotes(folders)
        self._paths = Paths()
        self._made_gateways: Optional[Gateways] = None
        self._verbs: Dict[str, Callable[[Message], Outgoing]] = {
            "claim": self._claim, "bind": self._bind, "release": self._release,
            "job.create": jobs.create, "job.place": self._place, "job.start": self._start,
            "job.prepare": self._prepare,
            "job.signal": self._signal, "job.stop": self._stop, "job.remove": self._remove,
            "job.inspect": self._inspect, "job.metrics": self._metrics, "job.log": self._log,
            "stat": self._stat, "doctor": self._doctor, "blob.has": self._has, "gc": self._gc,
            "listening": self._listening,
            "gc.checkpoints": self._gc_checkpoints, "container.metrics": self._container_metrics,
            "container.check": self._container_check,
            "run.keep": self._records.keep, "run.list": self._records.list,
            "run.read": self._records.read, "run.forget": self._forget,
            "service.keep": notes.keep, "service.list": notes.list, "service.read": notes.read,
            "kept.list": self._kept_list, "kept.forget": self._kept_forget,
            "run.ended": self._records.ended, "clean": self._clean,
            "secret.put": self._secret_put, "job.warn": self._warn_job,
            "container.warn": self._warn_container, "job.checkpoint": self._job_checkpoint,
            "container.checkpoint": self._container_checkpoint,
            "environment": self._environment,
            "job.packages": self._packages, "job.wheels": self._wheels,
            "nested.open": self._nested_open, "nested.list": self._nested_list,
            "nested.answer": self._nested_answer,
            "gateway.put": lambda payload: self._gateways().put(payload),
            "gateway.find": lambda payload: self._gateways().find(payload),
            "gateway.remove": lambda payload: self._gateways().remove(payload),
            "gateway.log": lambda payload: self._gateways().log(payload),
            "gateway.forwards": lambda payload: self._gateways().forwards(payload),
            "gateway.reach": lambda payload: self._gateways().reach(payload),
            "gateway.ports": lambda payload: self._gateways().ports(payload),
        }  # fmt: skip

    def run(self, request: Message) -> Outgoing:
        """Return the answer to a request. Raises Refusal; any other exception is a bug."""
        for name, verb in self._verbs.items():
            if name in request:
                payload = request[name]
                if not isinstance(payload, dict):
                    raise Refusal("%s needs an object" % name, "InputError")
                try:
                    if self._generations is not None and name in CHANGING:
                        self._generations.check()
                    failpoint("before_" + name)
                    answer = verb(payload)
                    failpoint("after_" + name)
                    return answer
                except OSError as error:
                    raise Refusal(_text_of(error)) from error
        names = sorted(key for key in request if key != "id")
        raise Refusal("this agent does not know %s" % ", ".join(map(repr, names)), "InputError")

    def _claim(self, payload: Message) -> Claimed:
        claim = read_claim(payload)
        try:
            return self._claims.claim(claim)
        except HttpError as error:
            return {"refused": _UNSEEN % error}
        except Unusable as unusable:
            return {"refused": str(unusable)}
        except OSError as error:  # such as a full disk: the stage waits, or uses another host
            return {"refused": "its GPUs cannot be leased: %s" % _text_of(error)}

    def _bind(self, payload: Message) -> Claimed:
        claim = read_claim(payload.get("claim"))
        ref = optional_text(payload, "workload") or ""
        try:
            return self._claims.bind(texts(payload, "lease_ids"), ref, claim)
        except HttpError as error:
            return {"refused": _UNSEEN % error}
        except OSError as error:
            return {"refused": "its leases cannot be written: %s" % _text_of(error)}

    def _release(self, payload: Message) -> Outgoing:
        self._claims.release(texts(payload, "lease_ids"))
        return {}

    def _place(self, payload: Message) -> Outgoing:
        attempt, digest = text(payload, "attempt_id"), text(payload, "digest")
        self._jobs.place(attempt, digest, optional_text(payload, "target") or "")
        return {}

    def _start(self, payload: Message) -> Workload:
        workload, bound = self._jobs.start(payload, os.environ)
        if bound is not None and workload["gpus"]:
            try:
                self._claims.started(workload["daemon_id"], workload["attempt_id"], bound)
            except (Unusable, OSError) as error:
                # The job runs, and its leases are valid while its daemon touches them.
                sys.stderr.write("hostler agent: leases stay unbound: %s\n" % error)
        return workload

    def _prepare(self, payload: Message) -> Outgoing:
        return self._jobs.prepare(payload, os.environ)

    def _signal(self, payload: Message) -> Outgoing:
        number = payload.get("signal")
        if not isinstance(number, int) or number not in _SIGNALS:
            raise Refusal("%r is not a signal's number" % (number,), "InputError")
        self._jobs.signal(text(payload, "attempt_id"), number)
        return {}

    def _stop(self, payload: Message) -> Workload:
        return self._jobs.stop(text(payload, "attempt_id"), seconds(payload, "grace", GRACE))

    def _remove(self, payload: Message) -> Outgoing:
        self._jobs.remove(text(payload, "attempt_id"))
        return {}

    def _inspect(self, payload: Message) -> Outgoing:
        return {"workload": self._jobs.inspect(text(payload, "attempt_id"))}

    def _metrics(self, payload: Message) -> Outgoing:
        return self._jobs.metrics(text(payload, "attempt_id"), wanted(payload))

    def _container_metrics(self, payload: Message) -> Outgoing:
        from hostler_agent import boxmetrics

        ref, attempt = text(payload, "ref"), text(payload, "attempt_id")
        return boxmetrics.metrics(self._containers.path, ref, attempt, wanted(payload))

    def _container_check(self, payload: Message) -> Outgoing:
        from hostler_agent import inside

        inside.check(self._containers.path, text(payload, "ref"), text(payload, "attempt_id"))
        return {}

    def _warn_job(self, payload: Message) -> Outgoing:
        from hostler_agent import warn_verbs

        return warn_verbs.job(self._folders, payload)

    def _warn_container(self, payload: Message) -> Outgoing:
        from hostler_agent import warn_verbs

        return warn_verbs.container(self._folders, self._containers.path, payload)

    def _job_checkpoint(self, payload: Message) -> Outgoing:
        from hostler_agent import checkpoint

        return checkpoint.job(self._folders, payload)

    def _container_checkpoint(self, payload: Message) -> Outgoing:
        from hostler_agent import checkpoint

        return checkpoint.container(payload)

    def _kept_list(self, payload: Message) -> Outgoing:
        return keeping.listed(self._folders, text(payload, "daemon_id"), self._containers.path)

    def _kept_forget(self, payload: Message) -> Outgoing:
        notes = keeping.Notes(keeping.notes_folder(self._folders))
        notes.forget(payload.get("attempt_id"))
        from hostler_agent import warn_verbs

        warn_verbs.forget(self._folders, payload.get("attempt_id"))
        attempt = check_attempt(payload.get("attempt_id"))
        secretfiles.drop(attempt)
        nested.drop(self._folders, attempt)
        return {}

    def _secret_put(self, payload: Message) -> Outgoing:
        values = secretfiles.decoded(payload.get("values"))
        return {"folder": secretfiles.put(text(payload, "attempt_id"), values)}

    def _nested_open(self, payload: Message) -> Outgoing:
        return {"folder": nested.make(self._folders, text(payload, "attempt_id"))}

    def _nested_list(self, payload: Message) -> Outgoing:
        return {"requests": nested.requests(self._folders, texts(payload, "attempts"))}

    def _nested_answer(self, payload: Message) -> Outgoing:
        attempt, request, said = (text(payload, key) for key in ("attempt_id", "id", "text"))
        nested.answer(self._folders, attempt, request, whole(payload, "code"), said)
        return {}

    def _gateways(self) -> Gateways:
        """The gateways of this login. Created at the first request: most hosts have none."""
        from hostler_agent.gateway import Gateways

        if self._made_gateways is None:
            self._made_gateways = Gateways(self._folders)
        return self._made_gateways

    def _log(self, payload: Message) -> Outgoing:
        wait, folder = seconds(payload, "wait"), self._folders.job(text(payload, "attempt_id"))
        from hostler_agent import tail

        return tail.tail(folder, boot_id(), whole(payload, "offset"), wait)

    def _stat(self, payload: Message) -> Outgoing:
        return {"paths": self._paths.stat(payload.get("paths"))}

    def _environment(self, payload: Message) -> environments.Answer:
        return environments.check(payload, os.environ)

    def _packages(self, payload: Message) -> Outgoing:
        from hostler_agent import wheels

        self._jobs.made(payload)
        return wheels.wanted(self._folders, payload)

    def _wheels(self, payload: Message) -> Outgoing:
        from hostler_agent import wheels

        return wheels.place(self._folders, payload)

    def _doctor(self, payload: Message) -> Outgoing:
        from hostler_agent import doctor

        found = doctor.checks(self._folders, self._containers, self._sampler)
        return {"checks": found, "at": time.time()}

    def _has(self, payload: Message) -> Outgoing:
        from hostler_agent import blobs

        return blobs.size(self._folders, text(payload, "digest"))

    def _listening(self, payload: Message) -> Outgoing:
        from hostler_agent import ports  # few hosts need it

        return {"addresses": ports.listening(whole(payload, "port"))}

    def _gc(self, payload: Message) -> Outgoing:
        from hostler_agent import blobs

        most = whole(payload, "max_bytes")
        return blobs.collect(self._folders, texts(payload, "keep"), most, self._version)

    def _clean(self, payload: Message) -> Outgoing:
        from hostler_agent import cleaning

        daemon = check_attempt(payload.get("daemon_id"))
        dry_run = payload.get("dry_run") is not False
        one = cleaning.Cleaner(self._folders, self._version, daemon, dry_run)
        busy = one.busy()
        found = [] if busy else one.caches()
        return {"found": [each.to_wire() for each in found], "busy": busy}

    def _gc_checkpoints(self, payload: Message) -> Outgoing:
        from hostler_agent import cleaning

        prefix = text(payload, "prefix")
        if len(prefix) < 8:
            raise Refusal("prefix should be the begin of a daemon's id", "InputError")
        dry_run = payload.get("dry_run") is True
        return cleaning.sweep_checkpoints(self._folders, prefix, texts(payload, "keep"), dry_run)

    def _forget(self, payload: Message) -> Outgoing:
        lines = texts(payload, "ended") if "ended" in payload else []
        return self._records.forget(payload.get("daemon_id"), texts(payload, "runs"), lines)


def _text_of(error: OSError) -> str:
    where = "%s: " % error.filename if error.filename else ""
    return "%s%s" % (where, error.strerror or error)
