"""Images on their way between hosts; against `docker save | ssh | docker load` of the same run.

    python -m tests.bench.bench_images [MIB]

An image of MIB (200) and a layer of 1 MiB on it, which is changed in each round. The targets got
the large image by hand. Bars: bytes each way <= 1.1x the changed layer + 64 KiB; no layer of the
image that was loaded by hand; time <= 0.15x save|ssh|load; after a cut at half of a layer <= 0.55
of it; 4 hosts at once <= 1.5x one, or <= what this machine makes of `cat | ssh | docker load` of
the same layer, where that is more: all hosts share its processors. Needs root, dockerd, sshd and
curl; exits 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import docker

from hostler.base.units import KIB, MIB
from hostler.link.agent_link import AgentLink
from hostler.runtimes.docker.images.load import Loader
from hostler.runtimes.docker.images.take import take_image
from hostler.runtimes.docker.images.taken import Taken
from hostler.store.content import ContentStore
from tests.core.runtimes.support import silent
from tests.support.machines.dockerd import Dockerd, why_not
from tests.support.machines.imagehost import archive_of, containerd_store, image_host, load_made
from tests.support.machines.sshd import WHY_NOT, Home, Sshd, can_run
from tests.support.values.images import MadeImage, layer, make_image

ROUNDS = 3
TARGETS = ("classic", "containerd", "third", "fourth")
_LOAD = (
    "import docker, sys; client = docker.APIClient(base_url=sys.argv[1], version='auto'); "
    "print(*client.load_image(sys.stdin.buffer))"
)


_CURL = "curl -sS -X POST -H Content-Type:application/x-tar --data-binary @-"
_LOAD_URL = "http://docker/images/load"


@dataclass
class Lab:
    """One Docker that has images, others that get them, and what the daemon keeps."""

    folder: Path
    engines: dict[str, Dockerd]
    servers: dict[str, Sshd]
    links: dict[str, AgentLink]
    content: ContentStore
    loader: Loader
    known: set[str]

    async def take(self, name: str) -> tuple[Taken, int]:
        """Take an image from the source; and the bytes of blobs that came for it."""
        before = sum(size for size, _ in self.content.sizes().values())
        taken = await take_image(
            self.links["source"], name, self.content, "hostler-bench", self.known.__contains__,
            set(), silent,
        )  # fmt: skip
        self.known |= {blob.digest for blob in taken.manifest.blobs}
        return taken, sum(size for size, _ in self.content.sizes().values()) - before

    async def load(self, host: str, taken: Taken, name: str) -> None:
        """Bring it to a host."""
        await self.loader.load(self.links[host], taken, name, silent)

    def cached(self, host: str) -> int:
        """Bytes that ever came to a host."""
        blobs = (self.folder / host / "agent" / "blobs").iterdir()
        return sum(blob.stat().st_size for blob in blobs)

    def ssh(self, host: str, command: str) -> list[str]:
        """The words that run a command on a host."""
        server = self.servers[host]
        return [
            "ssh", "-p", str(server.port), "-i", str(server.user_key), "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={Path.home() / '.ssh/known_hosts'}", "root@127.0.0.1",
            command,
        ]  # fmt: skip

    def cat_ssh_load(self, archive: bytes, host: str) -> None:
        """`cat ARCHIVE | ssh HOST docker load`, with as little as possible on the host."""
        command = f"{_CURL} --unix-socket {self.engines[host].socket} {_LOAD_URL}"
        ran = subprocess.run(self.ssh(host, command), input=archive, capture_output=True)
        assert b"Loaded image" in ran.stdout, ran

    def save_ssh_load(self, name: str, host: str) -> float:
        """Seconds of `docker save NAME | ssh HOST docker load`."""
        url = self.engines[host].url
        ssh = self.ssh(host, f'{sys.executable} -c "{_LOAD}" {url}')
        began = time.perf_counter()
        client = docker.APIClient(base_url=self.engines["source"].url, version="auto")
        with subprocess.Popen(ssh, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load:
            assert load.stdin is not None
            for piece in client.get_image(name):
                load.stdin.write(piece)
            said, _ = load.communicate()
        client.close()
        assert b"Loaded image" in said, said
        return time.perf_counter() - began


def changed(layers: Sequence[bytes]) -> MadeImage:
    """The base with another MiB on it."""
    return make_image(*layers, {"code": os.urandom(MIB)})


async def bench_change(lab: Lab, layers: Sequence[bytes]) -> list[bool]:
    """Bytes and time of a changed MiB, on hosts of both image stores."""
    came, went, ours, theirs = [], [], [], []
    bar = 1.1 * MIB + 64 * KIB
    for number in range(ROUNDS):
        name = f"bench/changed:{number}"
        load_made(lab.engines["source"], changed(layers), name)
        for host in ("classic", "containerd"):
            before, began = lab.cached(host), time.perf_counter()
            taken, bytes_in = await lab.take(name)
            await lab.load(host, taken, f"hostler/bench/copy/changed:{number}")
            if host == "classic":  # as the peer's
                ours.append(time.perf_counter() - began)
            went.append(lab.cached(host) - before)
            came.append(bytes_in)
        theirs.append(await asyncio.to_thread(lab.save_ssh_load, name, "third"))
    fast, slow = statistics.median(ours), statistics.median(theirs)
    worst = max(went)
    return [
        _verdict("bytes in, of 1 MiB changed", max(came) / MIB, "MiB", bar / MIB),
        _verdict("bytes out, of 1 MiB changed", worst / MIB, "MiB", bar / MIB),
        _verdict("layers of a base loaded by hand", float(worst > 2 * MIB), "sent again", 0.0),
        _verdict(f"time; save|ssh|load {slow:.2f} s, ours {fast:.2f} s", fast / slow, "x", 0.15),
    ]


async def bench_cut(lab: Lab, size: int) -> list[bool]:
    """What is sent after a cut in the middle of a large layer."""
    with lab.content.partial("cut") as partial:
        partial.append(os.urandom(size))
        digest = partial.finish()
    path, link = lab.content.path(digest), lab.links["classic"]
    seen: list[int] = []

    def until_half(there: int) -> None:
        if there >= size // 2:
            putting.cancel()

    putting = asyncio.ensure_future(link.put_blob(digest, path, until_half))
    await asyncio.gather(putting, return_exceptions=True)
    await link.put_blob(digest, path, seen.append)
    rest = size - seen[0] + (seen[1] - seen[0])
    return [_verdict("sent after a cut at half of a layer", rest / size, "of it", 0.55)]


async def bench_together(lab: Lab, layers: Sequence[bytes]) -> list[bool]:
    """The same to four hosts at once, and to one."""
    times: dict[int, list[float]] = {1: [], len(TARGETS): []}
    peers: dict[int, list[float]] = {1: [], len(TARGETS): []}
    for number in range(ROUNDS):
        for hosts in (TARGETS[:1], TARGETS):
            name = f"bench/together-{len(hosts)}:{number}"
            load_made(lab.engines["source"], changed(layers), name)
            began = time.perf_counter()
            taken, _ = await lab.take(name)
            to = f"hostler/bench/copy/together-{len(hosts)}:{number}"
            await asyncio.gather(*(lab.load(host, taken, to) for host in hosts))
            times[len(hosts)].append(time.perf_counter() - began)
            peers[len(hosts)].append(await _plain_together(lab, layers, hosts, number))
    one, four = (statistics.median(found) for found in times.values())
    plain, plain_four = (statistics.median(found) for found in peers.values())
    peer = plain_four / plain
    print(
        f"cat|ssh|load of the same layer at once {plain_four:.2f} s; one {plain:.2f} s: {peer:.3g}"
    )
    bar = max(1.5, peer)
    return [_verdict(f"4 hosts at once {four:.2f} s; one {one:.2f} s", four / one, "x", bar)]


async def _plain_together(
    lab: Lab, layers: Sequence[bytes], hosts: Sequence[str], number: int
) -> float:
    """Seconds in which another changed layer comes to all of these hosts by plain programs."""
    made = changed(layers)
    archive = archive_of(made, f"bench/plain-{len(hosts)}:{number}", made.manifest.layers[-1:])
    began = time.perf_counter()
    await asyncio.gather(*(asyncio.to_thread(lab.cat_ssh_load, archive, host) for host in hosts))
    return time.perf_counter() - began


def _verdict(what: str, figure: float, unit: str, bar: float) -> bool:
    held = figure <= bar
    print(f"{what}: {figure:.3g} {unit} (bar {bar:.3g}): {'ok' if held else 'MISSED'}", flush=True)
    return held


async def measure(folder: Path, engines: dict[str, Dockerd], size: int) -> int:
    """All figures; 1 when a bar is missed."""
    home = Home(folder / "home")
    servers = {name: Sshd(folder / name).start() for name in engines}
    try:
        async with AsyncExitStack() as stack:
            links = {
                name: await stack.enter_async_context(image_host(name, servers[name], engine, home))
                for name, engine in engines.items()
            }
            content = ContentStore(folder / "content")
            lab = Lab(folder, engines, servers, links, content, Loader(content), set())
            base, layers = _base(size)
            for engine in engines.values():
                load_made(engine, base, "bench/base:1")
            await lab.take("bench/base:1")
            held = await bench_change(lab, layers)
            held += await bench_cut(lab, max(size // 4, 8 * MIB))
            held += await bench_together(lab, layers)
    finally:
        for server in servers.values():
            server.stop()
    return 0 if all(held) else 1


def _base(size: int) -> tuple[MadeImage, list[bytes]]:
    """An image of two layers."""
    layers = [layer({name: os.urandom(size // 2)}) for name in ("one", "two")]
    return make_image(*layers), layers


def main(size: int) -> int:
    """Start everything; 1 when a bar is missed."""
    reason = why_not() or (None if can_run() else WHY_NOT)
    if reason is not None:
        print(f"skipped: {reason}")
        return 0
    with tempfile.TemporaryDirectory(prefix="hostler-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        (folder / "home").mkdir()
        os.environ["HOME"] = str(folder / "home")
        engines = {"source": Dockerd(), **{target: Dockerd() for target in TARGETS}}
        engines["containerd"] = containerd_store(folder)
        try:
            for engine in engines.values():
                engine.start()
            return asyncio.run(measure(folder, engines, size * MIB))
        finally:
            for engine in engines.values():
                engine.stop()


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
