"""Manifests and configurations that a host sends: plain ones are read, all others refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import InputError
from hostler.runtimes.docker.images.manifest import (
    MOST_MANIFEST,
    choose_manifest,
    is_index,
    read_config,
    read_manifest,
)
from tests.support.values.images import make_image, manifest_value, sha256

CONFIG = b'{"rootfs": {"diff_ids": []}}'


def _data(value: object) -> bytes:
    return json.dumps(value).encode()


def _layer(**changes: Any) -> dict[str, Any]:
    layer: dict[str, Any] = manifest_value(CONFIG, [b"x"])["layers"][0]
    return layer | changes


def test_a_plain_image_is_read() -> None:
    image = make_image({"a": b"1"}, {"b": b"2"})
    assert len(image.manifest.layers) == len(image.config.diff_ids) == 2
    assert {blob.digest for blob in image.manifest.blobs} == set(image.blobs)
    assert image.manifest.size == len(image.manifest.data) + sum(map(len, image.blobs.values()))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (_layer(size=-1), "has the size -1"),
        (_layer(size=2**41), "has the size"),
        (_layer(size=True), "has the size true"),
        (_layer(size="9"), "has the size"),
        (_layer(digest="sha256:../../etc/passwd"), "is not a SHA-256 digest"),
        (_layer(digest="sha512:" + "0" * 128), "is not a SHA-256 digest"),
        (_layer(digest=None), "is not a SHA-256 digest"),
        (_layer(urls=["http://198.51.100.1/x"]), "is at a URL"),
        (_layer(mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar"), "the type"),
        (_layer(mediaType=["list"]), "the type"),
    ],
)
def test_a_bad_layer_is_refused(layer: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_manifest(_data(manifest_value(CONFIG, [], layers=[layer])))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[" * 100_000, "cannot be read"),
        (b'{"a":' * 100_000, "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"schemaVersion": ' + b"9" * 10_000 + b"}", "cannot be read"),
        (b'{"schemaVersion": 2, "schemaVersion": 2}', "occurs twice"),
        (b"[]", "not a JSON object"),
        (b" " * (MOST_MANIFEST + 1), "more than"),
        (_data(manifest_value(CONFIG, [], schemaVersion=1)), "not one of an image"),
        (_data(manifest_value(CONFIG, [], mediaType={})), "not one of an image"),
        (_data(manifest_value(CONFIG, [], layers={})), "no list of layers"),
        (_data(manifest_value(CONFIG, [], layers=["x"])), "no list of layers"),
        (_data(manifest_value(CONFIG, [], layers=[_layer()] * 128)), "128 layers"),
        (_data(manifest_value(CONFIG, [], layers=[_layer(), _layer(size=2)])), "two sizes"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_manifest(data)


def test_a_configuration_has_to_fit_its_manifest() -> None:
    image = make_image({"a": b"1"})
    with pytest.raises(InputError, match="does not have the digest"):
        read_config(image.config_data + b" ", image.manifest)
    other = read_manifest(_data(manifest_value(image.config_data, [])))
    with pytest.raises(InputError, match="lists 1 layers, its manifest 0"):
        read_config(image.config_data, other)


def _entry(digest: str, architecture: str = "amd64") -> dict[str, Any]:
    return {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{digest}",
        "size": 2,
        "platform": {"os": "linux", "architecture": architecture},
    }


def test_the_manifest_for_the_platform_is_chosen() -> None:
    one, other, proof = sha256(b"1"), sha256(b"2"), sha256(b"3")
    entries = [_entry(one), _entry(other, "arm64"), _entry(proof, "unknown")]
    index = _data({"schemaVersion": 2, "manifests": entries})
    assert is_index(index)
    assert choose_manifest(index, "linux", "amd64").digest == one
    with pytest.raises(InputError, match="none are for linux/riscv64"):
        choose_manifest(index, "linux", "riscv64")
    twice = _data({"schemaVersion": 2, "manifests": [_entry(one), _entry(other)]})
    with pytest.raises(InputError, match="2 are for linux/amd64"):
        choose_manifest(twice, "linux", "amd64")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(st.sampled_from(("config", "layers", "schemaVersion", "mediaType", "manifests")), _JSON)
def test_any_other_value_of_a_key_is_read_or_refused(key: str, value: object) -> None:
    data = _data(manifest_value(CONFIG, [b"x"]) | {key: value})
    said = ""
    try:
        manifest = read_manifest(data)
        assert all(len(blob.digest) == 64 and blob.size >= 0 for blob in manifest.blobs)
    except InputError as error:
        said = error.told
    assert "\n" not in said
    assert len(said) < 400


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (is_index, read_manifest, lambda d: choose_manifest(d, "linux", "amd64")):
        try:
            read(data)
        except InputError:
            continue
