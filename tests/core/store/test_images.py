"""Images in the database, and their blobs in the content store, which gc leaves alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hostler.model.images import StoredImage
from hostler.store.database import Store
from tests.support.values.stored import attempt, run

IMAGE = StoredImage(
    "a" * 64,
    "lab/x:1",
    "gpu1",
    frozenset({"a" * 64, "b" * 64}),
    {"c" * 64: 10, "d" * 64: 5},
    1.0,
    2.0,
)


async def test_images_are_read_as_they_were_put_the_latest_at_the_end(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    other = replace(IMAGE, digest="e" * 64, used_at=1.0)
    for image in (IMAGE, other, replace(IMAGE, used_at=3.0)):
        await store.images.put(image)
    assert await store.images.all() == [other, replace(IMAGE, used_at=3.0)]
    await store.images.remove(["a" * 64])
    assert await store.images.all() == [other]
    await store.close()


async def test_gc_asks_for_no_blob_of_an_image(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.images.put(IMAGE)
    asked = {"c" * 64, "d" * 64, "f" * 64}
    assert await store.old_blobs(asked, 1e9, 1e9) == {"f" * 64}
    await store.images.remove([IMAGE.digest])
    assert await store.old_blobs(asked, 1e9, 1e9) == asked
    await store.close()


async def test_who_ran_in_an_image_has_used_it(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    for run_id, uid, digest in (
        ("raaaaaa", 1000, f"sha256:{'a' * 64}"),
        ("rbbbbbb", 1001, f"lab/x@sha256:{'b' * 64}"),
    ):
        await store.create_run(run(run_id, uid=uid), "", [])
        await store.add_attempt(replace(attempt(run_id), image_digest=digest, gpus=()))
    for uid, letter, is_used in (
        (1000, "a", True), (1001, "a", False), (1000, "b", False), (1001, "b", True),
        (1000, "c", False),
    ):  # fmt: skip
        assert await store.images.is_used_by(uid, letter * 64) is is_used
    await store.close()
