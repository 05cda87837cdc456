"""Which layers travel, and what the archive for a host holds."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from hostler.runtimes.docker.images.archive import (
    archive_entries,
    local_name,
    missing_layers,
    shared_layers,
)
from tests.support.values.images import make_image

_IDS = st.lists(st.sampled_from("abcd"), max_size=6)


@given(_IDS, st.lists(_IDS, max_size=4))
def test_shared_layers_are_the_longest_common_beginning(
    ids: list[str], others: list[list[str]]
) -> None:
    shared = shared_layers(ids, others)
    assert shared == 0 or any(other[:shared] == ids[:shared] for other in others)
    assert not any(len(ids) > shared and other[: shared + 1] == ids[: shared + 1]
                   for other in others)  # fmt: skip


def test_a_layer_in_the_middle_does_not_count() -> None:
    assert shared_layers(["base", "apt", "code"], [["other", "apt", "code"]]) == 0


def test_the_archive_holds_what_both_stores_read() -> None:
    image = make_image({"base": b"0" * 1000}, {"code": b"1"})
    missing = missing_layers(image.manifest, 1)
    assert [blob.digest for blob in missing] == [image.manifest.layers[1].digest]
    entries = archive_entries(
        image.manifest, image.config, image.config_data, "hostler/d/x:1", missing
    )
    by_name = {entry.name: entry for entry in entries}
    assert len(by_name) == len(entries)
    index = json.loads(by_name["index.json"].data)["manifests"][0]
    assert f"blobs/sha256/{index['digest'][7:]}" in by_name
    assert index["annotations"]["io.containerd.image.name"] == "docker.io/hostler/d/x:1"
    classic = json.loads(by_name["manifest.json"].data)[0]
    assert by_name[classic["Config"]].data == image.config_data
    assert classic["RepoTags"] == ["hostler/d/x:1"]
    held = [name for name in classic["Layers"] if name in by_name]
    assert held == [f"blobs/sha256/{missing[0].digest}"]
    assert all(entry.size == len(entry.data) for entry in entries if entry.digest is None)


def test_a_layer_that_occurs_twice_travels_once() -> None:
    image = make_image({"a": b"1"}, {"b": b"2"}, {"a": b"1"})
    assert len(missing_layers(image.manifest, 0)) == 2


@given(st.text(max_size=300))
def test_any_image_gets_a_name_that_docker_takes(image: str) -> None:
    name = local_name("d" * 32, image, "c" * 64)
    assert re.fullmatch(r"hostler/d{8}/copy/[a-z0-9]+(-[a-z0-9]+)*:c{16}", name)
    assert len(name) < 128
