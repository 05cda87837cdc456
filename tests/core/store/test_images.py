"""Images in the database, and their blobs in the content store, which gc leaves alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hostler.model.images import StoredImage
from hostler.store.database import Store

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
