"""An image that is built again, with nothing changed.

    python -m tests.bench.bench_build

Bar: packed, sent, built and recorded through the daemon <= 1.3x the peer + 0.3 s. The peer is what
`docker build` asks of the same dockerd: the folder as a tar in one HTTP request, to BuildKit where
dockerd has it. Neither has the start of a program in it; `hostler build` as a whole is told for
comparison. Needs root, dockerd and busybox; exits 1 when the bar is missed.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
import tarfile
import time
from pathlib import Path

from tests.bench.bench_docker import _Raw
from tests.bench.measure import BenchDesk, running, verdict
from tests.support.machines.dockerd import IMAGE, Dockerd, why_not

_ROUNDS = 7
_FILES, _BYTES = 50, 20_000
_TARGET = "/build?version=2&t=bench:peer&q=1&networkmode=none"
_PIPELINE = 'name = "image"\n[stages.image]\nkind = "build"\n'
_DOCKERFILE = f"FROM {IMAGE}\nRUN echo ready > /ready\nCOPY . /app\nRUN echo built > /built\n"


def _fill(folder: Path) -> None:
    (folder / "Dockerfile").write_text(_DOCKERFILE)
    for number in range(_FILES):
        (folder / f"file-{number:02}").write_bytes(os.urandom(_BYTES))


def _plain_build(engine: Dockerd, folder: Path) -> float:
    """Seconds of one build by the plainest client."""
    begun = time.perf_counter()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(folder, arcname=".")
    docker = _Raw(engine.socket)
    kind = {"Content-Type": "application/x-tar"}
    docker.request("POST", _TARGET, packed.getvalue(), kind)
    said = docker.getresponse().read()
    docker.close()
    assert b"error" not in said, said
    return time.perf_counter() - begun


def _our_build(desk: BenchDesk) -> float:
    """Seconds from the folder to the recorded end of a run that builds it."""
    client, begun = desk.client(), time.time()
    run_id = desk.submit(_PIPELINE)
    for line in client.run_events(run_id, follow=True):
        if line.event is not None and line.event.kind == "run.succeeded":
            return line.event.at - begun
    raise AssertionError(client.show(run_id))


def _program(desk: BenchDesk) -> float:
    """Seconds of one `hostler build`, the whole process."""
    begun = time.perf_counter()
    desk.ok("build", "-q", str(desk.work), timeout=120)
    return time.perf_counter() - begun


def measure(engine: Dockerd) -> int:
    """The first build of each, then both in turn; 1 when the bar was missed."""
    config = (
        f'[docker]\nnetwork = "none"\n[hosts.here]\ntransport = "local"\n'
        f'docker_socket = "{engine.socket}"\n'
    )
    with running(config, more={"DOCKER_HOST": engine.url}) as desk:
        folder = desk.work
        _fill(folder)
        _our_build(desk)
        _plain_build(engine, folder)
        rounds = [
            (_plain_build(engine, folder), _our_build(desk), _program(desk)) for _ in range(_ROUNDS)
        ]
    plain, ours, program = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"unchanged build: plain {plain:.3f} s, ours {ours:.3f} s, hostler build {program:.3f} s")
    return int(not verdict("unchanged build through the daemon, s", ours, 1.3 * plain + 0.3))


def main() -> int:
    """Start a dockerd and measure; 1 when the bar was missed."""
    reason = why_not()
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    engine = Dockerd()
    try:
        engine.start()
        engine.load_image()
        return measure(engine)
    finally:
        engine.stop()


if __name__ == "__main__":
    sys.exit(main())
