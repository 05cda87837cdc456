"""What ties a stage to one host: its checkpoint, or the image that its run built; and which host
has the image already. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hostler.decide.host_capacity import Candidate, Choice, choose
from hostler.decide.index import Entry, Index, fresh_look
from hostler.decide.placing import Placing, pinned_host
from hostler.decide.progress import Progress
from hostler.decide.requests import Request
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt, Phase


def tied(entry: Entry, request: Request, placing: Placing, index: Index) -> Request:
    """The request, tied to the host with its checkpoint and the host with the image that its run
    built. Other hosts get a copy of the image if its host answers or the daemon has it."""
    pin = pinned_host(entry, placing, index)
    build = image_build(entry.progress, entry.stage)
    if build is None:
        return request._replace(pin=pin, near=index.snapshot.near.get(entry.key, frozenset()))
    alone = None if _can_be_copied(build, index) else build.host
    builder = index.hosts.get(build.host)
    machine = builder.facts.machine if builder is not None else None
    return request._replace(pin=pin, image_on=alone, image_from=build.host, image_machine=machine)


def choose_near_image(
    found: Sequence[Candidate], request: Request, avoided: frozenset[str]
) -> Choice | None:
    """A host that has the image, so that no copy is needed; None: none of them has room now, or the
    stage failed there."""
    near = request.near if request.image_from is None else request.near | {request.image_from}
    rather = near - avoided
    return choose([c for c in found if c.capacity.host.name in rather], request) if rather else None


def image_build(progress: Progress, stage: Stage) -> Attempt | None:
    """The attempt that built the image of the stage; None: the run builds none for it, or has not
    built it yet."""
    builder = stage.built_by
    if builder is None:
        return None
    done = [a for a in progress.tries.get(builder, ()) if a.phase is Phase.SUCCEEDED]
    return done[-1] if done else progress.run.kept.get(builder)


def _can_be_copied(build: Attempt, index: Index) -> bool:
    snapshot, host = index.snapshot, index.hosts.get(build.host)
    if build.image_digest in snapshot.images:
        return True
    return host is not None and fresh_look(host, snapshot.now, snapshot.policy) is not None
