"""What root or dockerd does with a path for a stage: links and mounts lead it nowhere else.

The folder `theirs` is root's alone. It is mounted into the stage, as a lab mounts its disk.
"""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
import pytest

from hostler.base.errors import EngineError, HostlerError, InputError
from hostler.base.units import GIB, MIB
from hostler.link.agent_link import AgentLink
from hostler.model.hosts import Workload
from hostler.model.jobs import Job, Mount, Placement
from hostler.runtimes.collect import collect_output
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.store.content import ContentStore
from tests.core.runtimes.support import MemorySink, make_job, shares_a_loop, silent
from tests.support.machines.direct_link import DirectLink
from tests.support.machines.dockerd import image_tree
from tests.support.values.metricsfile import Kept, read_metrics

pytestmark = shares_a_loop


@pytest.fixture
def lab() -> Iterator[Path]:
    """A disk that everybody's stages see, with a folder in it that is root's alone.

    Its path is short: dockerd looks at each folder on the way to it, and mounts all for each look.
    """
    lab = Path(tempfile.mkdtemp(prefix="hostler-", dir="/var/tmp"))
    lab.chmod(0o755)
    theirs = lab / "alice"
    theirs.mkdir(mode=0o700)
    (theirs / "key").write_text('{"secret": 42}\n')
    (theirs / ".hostler").mkdir()
    (theirs / ".hostler" / "metrics.jsonl").write_text('{"secret": 42}\n')
    yield lab
    shutil.rmtree(lab)


def mounted(lab: Path, line: str, *, writable: bool = False, **more: Any) -> Job:
    """A stage of somebody who may see the disk."""
    return make_job(line, mounts=(Mount(str(lab), read_only=not writable),), **more)


async def started(runtime: DockerRuntime, agent: AgentLink, job: Job) -> Workload:
    ref = await runtime.create(agent, job, silent)
    return await runtime.start(agent, job, ref)


async def ran(runtime: DockerRuntime, agent: AgentLink, job: Job) -> tuple[Workload, str]:
    """The ended workload, and what it said."""
    workload, sink = await started(runtime, agent, job), MemorySink()
    await runtime.follow(agent, workload, sink)
    ended = await runtime.inspect(agent, workload.ref)
    assert ended is not None
    return ended, sink.data.decode()


def archive(content: ContentStore, folder: Path, *entries: tarfile.TarInfo | str) -> Placement:
    """A source of these entries; a text is a file."""
    made = folder / "made.tar"
    with tarfile.open(made, mode="w") as tar:
        for entry in entries:
            data = b"mine"
            if isinstance(entry, str):
                entry = tarfile.TarInfo(entry)
                entry.size = len(data)
            elif entry.isreg() and entry.size > len(data):
                data = bytes(entry.size)
            tar.addfile(entry, io.BytesIO(data) if entry.isreg() else None)
    size = made.stat().st_size
    return Placement(content.adopt(made), size, "")


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, target, 0o755
    return entry


def big(name: str = "big") -> tarfile.TarInfo:
    """A file for which an archive is placed by the agent."""
    entry = tarfile.TarInfo(name)
    entry.size = 2 * MIB
    return entry


_LINKS = """
ln -s {lab}/alice folder; ln -s {lab} above; mkdir own; ln -s {lab}/alice own/folder
ln -s {lab}/alice/key file; ln -s folder twice; mkdir -p out/x; touch out/x/f; ln -s x out/y
"""


async def test_no_output_is_taken_through_a_link_or_from_a_folder_of_the_host(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, lab: Path
) -> None:
    """Whoever may change a folder on the host could lead the reader elsewhere meanwhile."""
    host = Path("/work/hostler-test-data")
    host.mkdir(parents=True, exist_ok=True)
    try:
        job = make_job(_LINKS.format(lab=lab), mounts=(Mount(str(lab)), Mount(str(host))))
        ended, _ = await ran(stages, agent, job)
        for output in ("folder/key", "above/alice/key", "own/folder/key", "file", "twice/key"):
            with pytest.raises(HostlerError, match="link"):
                await collect_output(agent, ended, output, content, GIB)
        for output in (host.name, f"{host.name}/below", "."):
            with pytest.raises(HostlerError, match="a folder of the host"):
                await collect_output(agent, ended, output, content, GIB)
        # Links within an output stay links.
        assert (await collect_output(agent, ended, "out", content, GIB)).files == 2
        await stages.remove(agent, ended)
    finally:
        os.rmdir(host)


async def test_nothing_is_collected_while_a_container_that_runs_may_write_it(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, lab: Path
) -> None:
    kept: dict[str, Any] = {"checkpoint": "ckpt", "checkpoint_key": f"key-{os.getpid()}"}
    ended, _ = await ran(stages, agent, mounted(lab, "echo 1 > ckpt/f", **kept))
    other = await started(stages, agent, mounted(lab, "mkdir out; exec sleep 100", **kept))
    with pytest.raises(HostlerError, match="still runs"):
        await collect_output(agent, other, "out", content, GIB)
    with pytest.raises(HostlerError, match="in use by another container"):
        await collect_output(agent, ended, "ckpt", content, GIB)
    await stages.stop(agent, other, 0.0)
    assert (await collect_output(agent, ended, "ckpt", content, GIB)).files == 1
    for each in (ended, other):
        await stages.remove(agent, dataclasses.replace(each, running=False, exit_code=0))
    await stages.sweep(agent, "d" * 32, ())


_SWAP = """
mv .hostler own; rm -rf .hostler; ln -s {lab}/alice .hostler
rm -f .hostler/metrics.jsonl; ln -s {lab}/alice/key .hostler/metrics.jsonl
mv .hostler/metrics.jsonl .hostler/home/gone; ln -s {lab}/alice/key .hostler/metrics.jsonl
echo '{{"mine": 1}}' >> "$HOSTLER_METRICS"; echo up; exec sleep 100
"""


async def test_a_running_stage_cannot_lead_the_reader_of_its_metrics_elsewhere(
    agent: AgentLink, stages: DockerRuntime, lab: Path
) -> None:
    """Neither the folder nor the file can be exchanged: there is no moment to be caught."""
    job = mounted(lab, _SWAP.format(lab=lab))
    running, kept = await started(stages, agent, job), Kept(job.attempt_id, "docker", "")
    kept = Kept(job.attempt_id, "docker", running.ref)
    while not await kept.read(agent):
        pass
    await stages.stop(agent, running, 0.0)
    await kept.read(agent, final=True)
    assert kept.reader.last == {"mine": 1.0}
    await stages.remove(agent, dataclasses.replace(running, running=False, exit_code=137))


async def test_a_metrics_file_that_is_a_link_is_not_read(
    agent: AgentLink, stages: DockerRuntime, lab: Path
) -> None:
    """The root of a container may exchange them; root's own file does not become the stage's."""
    line = "rm .hostler/metrics.jsonl; ln -s {lab}/alice/key .hostler/metrics.jsonl; ls -l .hostler"
    ended, said = await ran(stages, agent, mounted(lab, line.format(lab=lab), uid=0, gid=0))
    assert "metrics.jsonl -> " in said
    assert await read_metrics(agent, ended.attempt_id, "docker", ended.ref) == ()
    await stages.remove(agent, ended)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    "entries",
    [
        (special("inputs", tarfile.SYMTYPE, "x"), special("x", tarfile.DIRTYPE)),
        (special("inputs/data", tarfile.SYMTYPE, "../x"),),
        ("inputs/data",),
        (special("ckpt", tarfile.SYMTYPE, "x"),),
        ("ckpt",),
        (special(".hostler", tarfile.SYMTYPE, "x"),),
        (".hostler",),
    ],
)
async def test_a_source_has_nothing_but_folders_where_something_is_placed(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, tmp_path: Path,
    entries: Sequence[tarfile.TarInfo | str], large: bool,
) -> None:  # fmt: skip
    source = archive(content, tmp_path, *entries, *([big()] if large else []))
    data = archive(content, tmp_path, "f")
    placements = (source, dataclasses.replace(data, target="inputs/data"))
    job = make_job("true", placements=placements, checkpoint="ckpt", checkpoint_key="k-r-s")
    with pytest.raises(InputError, match="of the stage belongs"):
        await stages.create(agent, job, silent)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("link", ["/", "../.."])
async def test_a_source_with_a_link_that_leads_out_is_refused(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, tmp_path: Path, link: str,
    large: bool,
) -> None:  # fmt: skip
    entries = [special("a", tarfile.SYMTYPE, link), *([big()] if large else [])]
    with pytest.raises(InputError, match="leads out"):
        await stages.create(
            agent, make_job("true", placements=(archive(content, tmp_path, *entries),)), silent
        )


@pytest.mark.parametrize("large", [False, True])
async def test_a_link_in_the_image_leads_no_file_elsewhere(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, tmp_path: Path, lab: Path,
    large: bool,
) -> None:  # fmt: skip
    """An image may have links below /work; a source need not name its folders."""
    image = await _imported(agent, _linked_tree({"/work/sub": f"{lab}/alice"}))
    source = archive(content, tmp_path, "sub/key", *([big()] if large else []))
    job = mounted(lab, "cat sub/key", writable=True, image=image, placements=(source,))
    ended, said = await ran(stages, agent, job)
    assert said == "mine"
    assert (lab / "alice" / "key").read_text() == '{"secret": 42}\n'
    await stages.remove(agent, ended)


@pytest.mark.parametrize("place", ["/work/out", "/work/inputs", "/work"])
async def test_a_link_in_the_image_brings_no_folder_of_the_host_into_the_stages_own(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, tmp_path: Path, lab: Path,
    place: str,
) -> None:  # fmt: skip
    """Docker mounts a folder where links of the image lead: as root it would be read there as an
    output, and written to as an input."""
    image = await _imported(agent, _linked_tree({str(lab): place}))
    data = dataclasses.replace(archive(content, tmp_path, "alice/key"), target="inputs/data")
    job = mounted(lab, "true", writable=True, image=image, placements=(data,))
    with pytest.raises(HostlerError, match="is a link"):
        await stages.create(agent, job, silent)
    assert (lab / "alice" / "key").read_text() == '{"secret": 42}\n'
    client = docker.APIClient(base_url=await agent.docker_url(), version="auto")
    try:
        client.start(job.name)  # as if it had got so far
        client.wait(job.name)
    finally:
        client.close()
    ended = await stages.inspect(agent, job.name)
    assert ended is not None
    with pytest.raises(HostlerError, match="is a link"):
        await collect_output(agent, ended, "out/alice", content, GIB)
    await stages.remove(agent, ended)


def _linked_tree(links: Mapping[str, str]) -> bytes:
    """An image with these links, and the folders that they lead to."""
    tree = io.BytesIO(image_tree())
    folders = [str(each) for link in links for each in reversed(Path("/", link).parents)]
    with tarfile.open(fileobj=tree, mode="a") as tar:
        for name in dict.fromkeys((*links.values(), *folders)):
            if name not in ("/", "/tmp"):
                tar.addfile(special(name[1:], tarfile.DIRTYPE))
        for link, target in links.items():
            tar.addfile(special(link.lstrip("/"), tarfile.SYMTYPE, target))
    return tree.getvalue()


async def _imported(agent: AgentLink, tree: bytes) -> str:
    client = docker.APIClient(base_url=await agent.docker_url(), version="auto")
    try:
        client.import_image_from_data(tree, repository="led", tag="1")
    finally:
        client.close()
    return "led:1"


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("links", [("work",), ("work/.hostler", "work/ckpt")])
async def test_a_link_in_the_image_keeps_nothing_from_the_stages_own_folders(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, tmp_path: Path,
    links: Sequence[str], large: bool,
) -> None:  # fmt: skip
    """Docker mounts volumes where it leads, until the folder is there: then beside what was put
    there for the stage."""
    image = await _imported(
        agent, _linked_tree({link: f"/data/{number}" for number, link in enumerate(links)})
    )
    source = archive(content, tmp_path, "key", *([big()] if large else []))
    kept: dict[str, Any] = {"checkpoint": "ckpt", "checkpoint_key": f"k-{os.getpid()}-l"}
    line = "echo '{\"x\": 1}' >> $HOSTLER_METRICS && echo 1 > $HOME/f && echo 1 > ckpt/f && cat key"
    job = make_job(line, image=image, placements=(source,), **kept)
    ended, said = await ran(stages, agent, job)
    assert (ended.exit_code, said) == (0, "mine")
    assert len(await read_metrics(agent, ended.attempt_id, "docker", ended.ref)) == 1
    await stages.remove(agent, ended)
    await stages.sweep(agent, "d" * 32, ())


@pytest.mark.parametrize("large", [False, True])
async def test_headers_that_docker_understands_otherwise_lead_nowhere(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, tmp_path: Path, lab: Path,
    large: bool,
) -> None:  # fmt: skip
    """Python reads a prefix in a header where Go reads none: what is `7/inputs` to who checks would
    be `inputs` to who unpacks."""
    link = special("inputs", tarfile.SYMTYPE, str(lab)[1:])
    head = bytearray(link.tobuf(tarfile.GNU_FORMAT))
    head[345:346] = b"7"  # a time to Go, in the format of GNU
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    (tmp_path / "odd.tar").write_bytes(
        special("7", tarfile.DIRTYPE).tobuf() + bytes(head)
        + (big().tobuf() + bytes(2 * MIB) if large else b"") + bytes(10240)
    )  # fmt: skip
    size = (tmp_path / "odd.tar").stat().st_size
    source = Placement(content.adopt(tmp_path / "odd.tar"), size, "")
    data = dataclasses.replace(archive(content, tmp_path, "f"), target="inputs/data")
    job = make_job("ls -ld inputs 7/inputs; cat inputs/data/f", placements=(source, data))
    ended, said = await ran(stages, agent, job)
    assert "7/inputs -> " in said
    assert said.endswith("mine")
    await stages.remove(agent, ended)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("entry", ["{name}/f", "{name}"])
async def test_nothing_is_placed_into_a_folder_of_the_host(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, tmp_path: Path, entry: str,
    large: bool,
) -> None:  # fmt: skip
    host = "/work/hostler-test-rw"
    name = entry.format(name="hostler-test-rw")
    source = archive(content, tmp_path, name, *([big()] if large else []))
    job = make_job("true", mounts=(Mount(host, read_only=False),), placements=(source,))
    with pytest.raises(InputError, match="a mounted folder of the host"):
        await stages.create(agent, job, silent)
    inner = make_job(
        "true", mounts=(Mount(host),), checkpoint="hostler-test-rw/c", checkpoint_key="k-r-s"
    )
    with pytest.raises(InputError, match="a mounted folder of the host"):
        await stages.create(agent, inner, silent)


async def test_a_source_fills_no_checkpoint_beside_a_folder_that_may_be_written(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, tmp_path: Path, lab: Path
) -> None:
    source = archive(content, tmp_path, "ckpt/sub/f")
    kept: dict[str, Any] = {
        "checkpoint": "ckpt",
        "checkpoint_key": f"k-{os.getpid()}-s",
        "placements": (source,),
    }
    with pytest.raises(InputError, match="checkpoint folder"):
        await stages.create(agent, mounted(lab, "true", writable=True, **kept), silent)
    ended, said = await ran(stages, agent, mounted(lab, "cat ckpt/sub/f", **kept))
    assert said == "mine"
    await stages.remove(agent, ended)
    await stages.sweep(agent, "d" * 32, ())


async def test_a_link_as_the_folder_to_start_in_is_the_sources_own(
    agent: AgentLink, stages: DockerRuntime, content: ContentStore, tmp_path: Path
) -> None:
    source = archive(
        content, tmp_path, special("lib", tarfile.DIRTYPE), "lib/f",
        special("src", tarfile.SYMTYPE, "lib"),
    )  # fmt: skip
    ended, said = await ran(stages, agent, make_job("cat f", placements=(source,), workdir="src"))
    assert said == "mine"
    await stages.remove(agent, ended)


@pytest.mark.parametrize("lack", ["readable", "writable", "is_dir"])
async def test_code_here_is_a_folder_that_the_login_may_use(
    stages: DockerRuntime, lack: str
) -> None:
    link = DirectLink(Path("/nowhere"))
    seen = {"exists": True, "is_dir": True, "readable": True, "writable": True, lack: False}
    link.answers["stat"] = {"paths": [{"path": "/home/bo/x", **seen}]}
    with pytest.raises(EngineError, match="may read and write"):
        await stages.create(link, make_job("true", code_path="/home/bo/x"), silent)
    assert [verb for verb, _ in link.calls] == ["stat"]


@pytest.mark.parametrize(
    "real", ["/", "/run/user/1000", "/run/user/1000/hostler-secrets/a1", "/dev/shm",
             "/dev/shm/hostler-secrets-1000"],
)  # fmt: skip
async def test_code_here_shows_no_secrets_of_others(stages: DockerRuntime, real: str) -> None:
    link = DirectLink(Path("/nowhere"))
    seen = {"exists": True, "is_dir": True, "readable": True, "writable": True, "real": real}
    link.answers["stat"] = {"paths": [{"path": "/home/bo/x", **seen}]}
    with pytest.raises(EngineError, match="which contains secrets of running stages"):
        await stages.create(link, make_job("true", code_path="/home/bo/x"), silent)
    assert [verb for verb, _ in link.calls] == ["stat"]
