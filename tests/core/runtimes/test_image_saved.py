"""What `docker save` writes, in all its forms, and what somebody else may have written."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import InputError
from hostler.runtimes.docker.images.archive import archive_entries
from hostler.runtimes.docker.images.save import Intake
from hostler.runtimes.docker.images.saved import MOST_MEMBERS, Member, SavedTar
from hostler.runtimes.docker.images.taken import Sought, read_taken
from hostler.store.content import ContentStore
from tests.support.values.images import MadeImage, layer, make_image, sha256


def _tar(files: Mapping[str, bytes], links: Mapping[str, str] = {}) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return made.getvalue()


def _layout(image: MadeImage) -> dict[str, bytes]:
    entries = archive_entries(
        image.manifest, image.config, image.config_data, "x:1", image.manifest.layers
    )
    return {e.name: e.data if e.digest is None else image.blobs[e.digest] for e in entries}


def _taken(content: ContentStore, data: bytes, image_id: str, step: int = 999) -> str:
    intake = Intake(content)
    try:
        for at in range(0, len(data), step):
            intake.take(data[at : at + step])
        manifests, digest = intake.manifests()
        found = read_taken(content, manifests, digest, Sought(image_id, "linux", "amd64"))
    finally:
        intake.close()
    return found.manifest.digest


def test_a_layout_is_taken(content: ContentStore) -> None:
    image = make_image({"a": b"1" * 5000}, {"b": b"2"})
    digest = _taken(content, _tar(_layout(image)), f"sha256:{image.manifest.config.digest}")
    assert digest == image.manifest.digest


def test_what_an_older_docker_saved_is_taken(content: ContentStore) -> None:
    """Folders with a `layer.tar` each; a layer that occurs twice is a link."""
    one, config_name = layer({"a": b"1"}), ""
    config = json.dumps(
        {"os": "linux", "rootfs": {"diff_ids": [f"sha256:{sha256(one)}"] * 2}}
    ).encode()
    config_name = f"{sha256(config)}.json"
    first, second = f"{'1' * 64}/layer.tar", f"{'2' * 64}/layer.tar"
    listed = [{"Config": config_name, "RepoTags": None, "Layers": [first, second]}]
    files = {
        first: one, config_name: config, f"{'1' * 64}/VERSION": b"1.0",
        "manifest.json": json.dumps(listed).encode(), "repositories": b"{}",
    }  # fmt: skip
    data = _tar(files, {second: f"../{first}"})
    assert _taken(content, data, f"sha256:{sha256(config)}")
    assert content.has(sha256(one))


def test_another_image_than_the_sought_one_is_refused(content: ContentStore) -> None:
    with pytest.raises(InputError, match="received another image"):
        _taken(content, _tar(_layout(make_image({"a": b"1"}))), "sha256:" + "0" * 64)


def test_a_blob_that_is_not_its_name_is_refused(content: ContentStore) -> None:
    image = make_image({"a": b"1"})
    files = _layout(image)
    files[f"blobs/sha256/{image.manifest.layers[0].digest}"] = b"other"
    with pytest.raises(InputError, match="has the digest"):
        _taken(content, _tar(files), f"sha256:{image.manifest.digest}")


@pytest.mark.parametrize("cut", [100, 512, 3000, 6000])
def test_a_cut_archive_is_refused(content: ContentStore, cut: int) -> None:
    image = make_image({"a": b"1" * 5000})
    data = _tar(_layout(image)).rstrip(b"\0")[:-cut]
    with pytest.raises(InputError):
        _taken(content, data, f"sha256:{image.manifest.digest}")
    assert not content.abandoned(float("inf"))


def test_links_and_strange_names_lead_nowhere(content: ContentStore) -> None:
    image = make_image({"a": b"1"})
    files = {"../../evil": b"x", "/etc/passwd": b"x", **_layout(image)}
    data = _tar(files, {"blobs/sha256/" + "0" * 64: "/etc/shadow"})
    assert _taken(content, data, f"sha256:{image.manifest.digest}")
    assert len(content.sizes()) == len(image.blobs) + 1


def test_too_many_files_and_long_headers_are_refused() -> None:
    many = _tar({f"f{number}": b"" for number in range(MOST_MEMBERS + 1)})
    with pytest.raises(InputError, match="more than 4000 files"):
        list(SavedTar().feed(many))
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"comment": "y" * 2_000_000}
        tar.addfile(info)
    with pytest.raises(InputError, match="too long a header"):
        list(SavedTar().feed(made.getvalue()))


def test_a_layer_over_8_gib_has_its_size_in_an_extended_header() -> None:
    info = tarfile.TarInfo("blobs/sha256/" + "a" * 64)
    info.size = 9 * 1024**3
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        found = list(SavedTar().feed(info.tobuf(kind)))
        assert found == [Member(info.name, info.size)]


def test_a_link_has_no_content_whatever_its_header_says(content: ContentStore) -> None:
    """Else a list would grow in memory for as long as the host sends, after a link of its name."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("index.json"))
        info = tarfile.TarInfo("index.json")
        info.type, info.linkname, info.pax_headers = tarfile.SYMTYPE, "x", {"size": "5000"}
        tar.addfile(info)
    data = made.getvalue().rstrip(b"\0")
    data += bytes(-len(data) % 512) + b"x" * 5120
    found = SavedTar().feed(data[:-5120])
    assert [each for each in found if isinstance(each, Member)][-1] == Member("index.json", 0, "x")
    with pytest.raises(InputError, match="not a tar archive"):
        _taken(content, data, "sha256:0")


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,20}", fullmatch=True), st.binary(max_size=1500)),
    st.integers(1, 2000),
)
def test_any_tar_is_read_alike_in_pieces_of_any_size(files: dict[str, bytes], step: int) -> None:
    data, reader, found = _tar(files), SavedTar(), dict[str, bytes]()
    name = ""
    for at in range(0, len(data), step):
        for event in reader.feed(data[at : at + step]):
            if isinstance(event, Member):
                name = event.name
                found[name] = b""
            else:
                found[name] += event
    assert found == files
    assert reader.is_whole


@given(st.binary(max_size=2000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        list(SavedTar().feed(data))
    except InputError as error:
        assert "tar archive" in error.message or "header" in error.message  # noqa: PT017
