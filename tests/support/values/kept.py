"""Artifacts of runs, put into a daemon's store as if stages had left them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hostler.model.files import Artifact
from hostler.model.runs import Outcome, Phase, Run
from hostler.store.archives import normalise
from hostler.store.content import ContentStore
from hostler.store.saved import listing_of, write_listing
from tests.support.daemons.served import Served
from tests.support.values import stored
from tests.support.values.tars import tar_of

T = TypeVar("T")


def put(daemon: Served, work: Coroutine[Any, Any, T]) -> T:
    """Have the daemon do it."""
    return asyncio.run_coroutine_threadsafe(work, daemon.loop).result(60)


def saved(
    content: ContentStore, folder: Path, files: Mapping[str, bytes], links: Mapping[str, str]
) -> tuple[str, int, int, str]:
    """Digest and size of a tar in the content store, how many it holds, and its listing."""
    special = {
        f"link{n}": {"name": name, "type": b"2", "linkname": target}
        for n, (name, target) in enumerate(links.items())
    }
    made, clean = folder / "made.tar", folder / "clean.tar"
    made.write_bytes(tar_of(dict(files), **special))
    manifest, digest, size = normalise(made, clean)
    index = write_listing(listing_of(clean, manifest), content, f"listing-{digest}")
    content.adopt(clean, digest)
    return digest, size, manifest.files, index


def keep(
    daemon: Served,
    folder: Path,
    files: Mapping[str, bytes],
    *,
    run_id: str = "raaaaaa",
    stage: str = "train",
    number: int = 1,
    name: str = "files",
    links: Mapping[str, str] | None = None,
    indexed: bool = True,
    **fields: Any,
) -> str:
    """Store an artifact of an attempt; the digest of its tar. Those of before are not `indexed`."""
    content = daemon.service.context.content
    digest, size, count, index = saved(content, folder, files, links or {})
    artifact = Artifact(
        run_id=run_id,
        stage=stage,
        attempt_id=f"{run_id}-{stage}-{number}",
        name=name,
        digest=digest,
        size=size,
        collected_at=200.0,
        files=count,
        index=index if indexed else None,
        **{"kind": "files" if name == "files" else "output", **fields},
    )
    put(daemon, daemon.service.context.store.add_artifact(artifact))
    return digest


def ended_run(daemon: Served, run: Run | None = None, *, attempts: int = 1) -> None:
    """Store a run whose stages have all succeeded, the last of so many attempts each."""
    run = run or stored.run()
    store = daemon.service.context.store

    async def write() -> None:
        await store.create_run(run, "", [])
        for stage in run.stages:
            for number in range(1, attempts + 1):
                attempt = stored.attempt(run.run_id, stage.name, number, gpus=())
                await store.add_attempt(attempt)
                phase = Phase.SUCCEEDED if number == attempts else Phase.FAILED
                ended = stored.attempt(run.run_id, stage.name, number, gpus=(), phase=phase)
                await stored.put_attempt(store, ended)
        await store.end_run(run.run_id, Outcome.SUCCEEDED, 200.0)

    put(daemon, write())
