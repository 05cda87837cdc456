"""From which host an image is taken, and which images are dropped for room."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import InputError
from hostler.decide.image_budget import freed_by, images_to_drop
from hostler.decide.image_source import (
    Holder,
    check_name,
    choose_holder,
    fits_name,
    fits_platform,
    fitting,
    is_pinned,
)
from hostler.model.images import StoredImage

A = Holder("gpu1", "sha256:aa", ("1", "2"), "2026-01-01")


def image(digest: str, used_at: float, **blobs: int) -> StoredImage:
    return StoredImage(digest, f"x:{digest}", "gpu1", frozenset({digest}), blobs, 0.0, used_at)


@pytest.mark.parametrize(
    "name", ["x", "lab/x:1", "r:5000/lab/x_y-z.w:1", "sha256:" + "a" * 64, "a/b@sha256:" + "0" * 64]
)
def test_names_of_images(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "..", "../containers/x", "a/../b", "a//b", "/a", "a b", "a?b", "a\n", "-x", "x" * 501],
)
def test_what_is_no_name_of_an_image_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not the name of an image"):
        check_name(name)


def test_no_host_has_it() -> None:
    assert choose_holder("x", []) is None


def test_the_same_image_in_another_store_has_another_id() -> None:
    other = Holder("gpu2", "sha256:bb", A.layers, A.created)
    assert choose_holder("x", [A, other]) == A


@pytest.mark.parametrize(
    "other",
    [
        Holder("gpu2", "sha256:bb", ("1", "3"), A.created),
        Holder("gpu2", "sha256:bb", A.layers, "2026-01-02"),
        Holder("gpu2", "sha256:bb", (), A.created),
    ],
)
def test_a_name_with_two_meanings_is_refused(other: Holder) -> None:
    with pytest.raises(InputError, match="is not the same image on gpu1 and gpu2") as raised:
        choose_holder("x", [A, other])
    assert "by its id" in raised.value.remedy


def test_a_name_by_digest_means_that_image_alone() -> None:
    ids = frozenset({"a" * 64, "b" * 64})
    assert fits_name("lab/x:1", ids)
    assert fits_name("lab/x@sha256:" + "a" * 64, ids)
    assert not fits_name("lab/x@sha256:" + "c" * 64, ids)
    assert fits_name("sha256:" + "b" * 64, ids)
    assert not fits_name("sha256:" + "c" * 64, ids)


def test_only_a_whole_digest_pins_an_image() -> None:
    assert is_pinned("sha256:" + "a" * 64)
    assert is_pinned("lab/x:1@sha256:" + "a" * 64)
    for name in ("lab/x:1", "sha256:" + "a" * 12, "lab/x@sha256:" + "a" * 63, "sha256:latest"):
        assert not is_pinned(name)


def test_what_is_not_known_of_a_platform_is_no_obstacle() -> None:
    assert fits_platform("linux/amd64", "linux/amd64")
    assert not fits_platform("linux/arm64", "linux/amd64")
    assert all(fits_platform(*each) for each in (("", "linux/amd64"), ("linux/", "x"), ("a/b", "")))
    both = [replace(A, platform="linux/arm64"), replace(A, host="gpu2", platform="linux/amd64")]
    assert [h.host for h in fitting("x", both, "gpu3", "linux/amd64")] == ["gpu2"]
    assert fitting("x", [], "gpu3", "linux/amd64") == []
    with pytest.raises(InputError, match="x is for linux/arm64, and gpu3 is a machine for linux/a"):
        fitting("x", both[:1], "gpu3", "linux/amd64")


def test_the_least_recently_used_goes_first_and_shared_layers_stay() -> None:
    images = [image("new", 2.0, base=100, b=5), image("old", 1.0, base=100, a=7)]
    assert images_to_drop(images, 112) == ()
    (gone,) = images_to_drop(images, 111)
    assert gone.digest == "old"
    assert freed_by([gone], images) == 7


def test_what_is_on_its_way_stays() -> None:
    images = [image("old", 1.0, a=7), image("new", 2.0, b=5)]
    assert [each.digest for each in images_to_drop(images, 0, {"old"})] == ["new"]


_BLOBS = st.dictionaries(st.sampled_from("abcd"), st.just(10), max_size=4)


@given(st.lists(_BLOBS, max_size=6), st.integers(0, 50))
def test_the_rest_fits_and_no_more_goes_than_needed(blobs: list[dict[str, int]], most: int) -> None:
    images = [image(f"i{at}", float(at), **each) for at, each in enumerate(blobs)]
    gone = images_to_drop(images, most)
    assert list(gone) == images[: len(gone)]
    total = freed_by(images, images)
    assert total - freed_by(gone, images) <= most
    assert not gone or total - freed_by(gone[:-1], images) > most
