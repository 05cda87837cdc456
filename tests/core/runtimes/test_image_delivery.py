"""An image goes from one real Docker to others, over real sshds, with what each of them lacks."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import docker
import pytest

from hostler.base.errors import EngineError, HostError
from hostler.base.units import MIB
from hostler.link.agent_link import AgentLink
from hostler.runtimes.docker.images.load import Loader
from hostler.runtimes.docker.images.manifest import read_manifest
from hostler.runtimes.docker.images.push import NoPort, push
from hostler.runtimes.docker.images.receiver import Receiver
from hostler.runtimes.docker.images.take import take_image
from hostler.runtimes.docker.images.taken import Taken
from hostler.store.content import ContentStore
from tests.core.runtimes.support import silent
from tests.support.daemons.relay import Relay
from tests.support.machines.dockerd import Dockerd, image_tree
from tests.support.machines.imagehost import containerd_store, image_host, load_made
from tests.support.machines.sshd import WHY_NOT, Home, Sshd, can_run
from tests.support.values.images import MadeImage, make_image

pytestmark = [pytest.mark.slow, pytest.mark.programs]

Reach = Callable[[str], Awaitable[AgentLink]]
REPOSITORY = "hostler-dddddddd"
BASE = {"big": os.urandom(2 * MIB)}


@pytest.fixture(scope="module")
def engines(
    tmp_path_factory: pytest.TempPathFactory, dockerd: Dockerd
) -> Iterator[dict[str, Dockerd]]:
    """Two Dockers with the classic store, and one with containerd's."""
    if not can_run():
        pytest.skip(WHY_NOT)
    made = {"target": Dockerd(), "other": containerd_store(tmp_path_factory.mktemp("containerd"))}
    try:
        for engine in made.values():
            engine.start()
        yield {"source": dockerd, **made}
    finally:
        for engine in made.values():
            engine.stop()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Short: agents make sockets below it, whose paths may not be long."""
    with tempfile.TemporaryDirectory(prefix="ht-", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
async def reach(engines: dict[str, Dockerd], home: Home, tmp_path: Path) -> AsyncIterator[Reach]:
    """Makes a link to one of them, behind an sshd with folders of its own."""
    async with AsyncExitStack() as stack:

        async def reach(name: str) -> AgentLink:
            server = Sshd(tmp_path / name).with_agent().start()
            stack.callback(server.stop)
            return await stack.enter_async_context(image_host(name, server, engines[name], home))

        yield reach


def names(engine: Dockerd) -> set[str]:
    """All names of images there."""
    client = docker.APIClient(base_url=engine.url, version="auto")
    try:
        return {tag for image in client.images() for tag in image["RepoTags"] or ()}
    finally:
        client.close()


def output(engine: Dockerd, image: str, *command: str) -> bytes:
    """What a container of an image prints."""
    client = docker.DockerClient(base_url=engine.url, version="auto")
    try:
        said = client.containers.run(image, list(command), remove=True, network_mode="none")
        return bytes(said)
    finally:
        client.close()


async def taken(content: ContentStore, link: AgentLink, image: str) -> Taken:
    return await take_image(link, image, content, REPOSITORY, lambda _digest: True, set(), silent)


@pytest.mark.parametrize(("source", "targets"), [
    ("source", ("target", "other")), ("other", ("target",)),
])  # fmt: skip
async def test_an_image_goes_to_other_hosts_and_runs_there(
    reach: Reach, engines: dict[str, Dockerd], content: ContentStore,
    source: str, targets: tuple[str, ...],
) -> None:  # fmt: skip
    image = _with_busybox({"code": source.encode()})
    load_made(engines[source], image, f"lab/{source}:1")
    before = names(engines[source])
    found = await taken(content, await reach(source), f"lab/{source}:1")
    assert names(engines[source]) == before
    loader = Loader(content)
    for name in targets:
        link = await reach(name)
        loaded = await loader.load(link, found, f"hostler/dddddddd/{source}:1", silent)
        assert loaded.startswith("sha256:")
        assert output(engines[name], loaded, "/bin/cat", "/code") == source.encode()
        again = await loader.load(link, found, f"hostler/dddddddd/{source}:1", silent)
        assert again == loaded


async def test_only_missing_layers_travel_also_on_a_base_that_was_loaded_by_hand(
    reach: Reach, engines: dict[str, Dockerd], content: ContentStore, tmp_path: Path
) -> None:
    base, changed = make_image(image_tree(), BASE), make_image(image_tree(), BASE, {"code": b"2"})
    for name in ("target", "other"):
        load_made(engines[name], base, "by-hand:1")
    load_made(engines["source"], changed, "lab/changed:1")
    found = await taken(content, await reach("source"), "lab/changed:1")
    loader = Loader(content)
    loads = [
        loader.load(await reach(name), found, "hostler/dddddddd/changed:1", silent)
        for name in ("target", "other")
    ]
    for name, loaded in zip(("target", "other"), await asyncio.gather(*loads), strict=True):
        assert output(engines[name], loaded, "/bin/cat", "/code") == b"2"
        cached = [blob.stat().st_size for blob in (tmp_path / name / "agent" / "blobs").iterdir()]
        assert sum(cached) < 64 * 1024


async def test_a_cut_transfer_goes_on_at_the_byte(
    engines: dict[str, Dockerd], home: Home, content: ContentStore, tmp_path: Path
) -> None:
    image = make_image(image_tree(), {"big": os.urandom(12 * MIB)})
    load_made(engines["source"], image, "lab/big:1")
    server = Sshd(tmp_path / "d").with_agent().start()
    relay = await Relay(server.port).start()
    try:
        async with image_host("source", server, engines["source"], home) as link:
            found = await taken(content, link, "lab/big:1")
        layer = found.manifest.layers[1]
        part = tmp_path / "d" / "agent" / "blobs" / f"{layer.digest}.part"
        name, loader = "hostler/dddddddd/big:1", Loader(content)
        async with image_host("target", server, engines["target"], home, relay.port) as link:
            loading = asyncio.create_task(loader.load(link, found, name, silent))
            relay.keep = True
            # What was sent may be in buffers still, of which a cut leaves nothing.
            while not part.exists() or part.stat().st_size <= layer.size // 3:
                assert not loading.done()
                await asyncio.sleep(0)
            relay.reset()
            with pytest.raises(HostError):
                await loading
            there = part.stat().st_size
            assert there > layer.size // 3
            await link.connect()
            relay.sent = b""
            assert await loader.load(link, found, name, silent)
            assert len(relay.sent) <= layer.size - there + 512 * 1024
    finally:
        await relay.stop()
        server.stop()


async def test_without_a_port_on_loopback_the_image_is_saved(
    engines: dict[str, Dockerd], home: Home, content: ContentStore, tmp_path: Path
) -> None:
    image = _with_busybox({"code": b"saved"})
    for name, option in (("source", "GatewayPorts yes"), ("other", "PermitListen none")):
        load_made(engines[name], image, "lab/saved:1")
        server = Sshd(tmp_path / f"open-{name}", options=(option,)).with_agent().start()
        try:
            async with image_host(name, server, engines[name], home) as link:
                receiver = Receiver(content, REPOSITORY, lambda _: True, MIB)
                with pytest.raises(NoPort):
                    await push(link, "lab/saved:1", "lab/saved:1", receiver, silent)
                before = names(engines[name])
                found = await taken(content, link, "lab/saved:1")
                assert names(engines[name]) == before
                loaded = await Loader(content).load(
                    link, found, f"hostler/dd/saved-{name}:1", silent
                )
                assert output(engines[name], loaded, "/bin/cat", "/code") == b"saved"
        finally:
            server.stop()


async def test_where_docker_does_not_reach_the_port_the_image_is_saved(
    reach: Reach, engines: dict[str, Dockerd], content: ContentStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As of a rootless Docker, which has another loopback."""
    load_made(engines["source"], _with_busybox({"code": b"apart"}), "lab/apart:1")
    before = names(engines["source"])
    server = await asyncio.start_server(lambda _r, writer: writer.close(), "127.0.0.1", 0)

    class Elsewhere:
        port = server.sockets[0].getsockname()[1]

        async def close(self) -> None:
            server.close()

    async def listen(_self: AgentLink, _accept: object) -> Elsewhere:
        return Elsewhere()

    monkeypatch.setattr(AgentLink, "listen", listen)
    found = await taken(content, await reach("source"), "lab/apart:1")
    assert names(engines["source"]) == before
    loaded = await Loader(content).load(await reach("other"), found, "hostler/dd/apart:1", silent)
    assert output(engines["other"], loaded, "/bin/cat", "/code") == b"apart"


async def test_a_cancelled_push_leaves_nothing_and_its_whole_layers_need_not_come_again(
    reach: Reach, engines: dict[str, Dockerd], content: ContentStore
) -> None:
    """Cut in the middle, by a daemon that stops waiting for it. Of smaller layers Docker does not
    ask whether they are there."""
    layers = [{str(n): os.urandom(11 * MIB)} for n in range(3)]
    load_made(engines["source"], make_image(*layers), "lab/layers:1")
    before, source = names(engines["source"]), await reach("source")

    class Came(set[str]):
        def add(self, digest: str) -> None:
            super().add(digest)
            if len(self) == 2:
                pushing.cancel()

    came = Came()
    pushing = asyncio.ensure_future(
        take_image(source, "lab/layers:1", content, REPOSITORY, lambda _: False, came, silent)
    )
    with pytest.raises(asyncio.CancelledError):
        await pushing
    assert names(engines["source"]) == before
    had = set(came)
    assert len(had) >= 2  # the third may have come before the cut
    receiver = Receiver(content, REPOSITORY, lambda _: False, 64 * MIB, set(had))
    await push(source, "lab/layers:1", "lab/layers:1", receiver, silent)
    assert receiver.came < (4 - len(had)) * 11 * MIB + MIB


async def test_a_layer_that_is_not_what_its_configuration_says_is_refused_by_docker(
    reach: Reach, engines: dict[str, Dockerd], content: ContentStore
) -> None:
    """What a lying source sent does not become an image, and leaves no name."""
    honest, other = make_image({"a": b"1"}), make_image({"a": b"2"})
    value = json.loads(honest.manifest.data)
    value["layers"] = json.loads(other.manifest.data)["layers"]
    manifest = read_manifest(json.dumps(value).encode())
    for data in (honest.config_data, *other.blobs.values()):
        with content.partial("made") as partial:
            partial.append(data)
            partial.finish()
    lying = Taken(manifest, honest.config, honest.config_data, frozenset({manifest.digest}))
    for name in ("target", "other"):
        before = names(engines[name])
        with pytest.raises(EngineError, match=r"hostler/dd/lying:1"):
            await Loader(content).load(await reach(name), lying, "hostler/dd/lying:1", silent)
        assert names(engines[name]) == before


async def test_an_image_that_is_not_there(reach: Reach, content: ContentStore) -> None:
    source = await reach("source")
    with pytest.raises(EngineError, match=r"there is no image lab/none:1") as raised:
        await taken(content, source, "lab/none:1")
    assert raised.value.status == 404


def _with_busybox(files: dict[str, bytes]) -> MadeImage:
    return make_image(image_tree(), files)
