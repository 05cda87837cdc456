"""Which images the content store holds, their origins, and when each was last needed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from hostler.model.images import StoredImage
from hostler.store.connections import Readers, Writer

_COLUMNS = "digest, name, host, ids, blobs, size, taken_at, used_at"


class Images:
    """The table `images`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def all(self) -> list[StoredImage]:
        """All images; the one needed last comes last."""
        return await self._readers.run(_all)

    async def put(self, image: StoredImage) -> None:
        """Store an image that has arrived, or its new time of use."""
        await self._writer.submit(lambda db: _put(db, image))

    async def remove(self, digests: Collection[str]) -> None:
        """Remove images from the table; the next gc removes their blobs."""
        wanted = [(digest,) for digest in digests]
        await self._writer.submit(
            lambda db: db.executemany("DELETE FROM images WHERE digest = ?", wanted)
        )

    async def is_used_by(self, uid: int, digest: str) -> bool:
        """Whether a run of this user built the image with this digest, or used it."""
        return await self._readers.run(lambda db: _is_used_by(db, uid, digest))


def blobs_of_images(connection: sqlite3.Connection) -> set[str]:
    """Digests of all blobs that images need."""
    rows = connection.execute("SELECT blobs FROM images")
    return {digest for (listed,) in rows for digest in json.loads(listed)}


def _all(connection: sqlite3.Connection) -> list[StoredImage]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM images ORDER BY used_at, digest")
    return [_read(row) for row in rows]


def _read(row: sqlite3.Row) -> StoredImage:
    return StoredImage(
        digest=row["digest"],
        name=row["name"],
        host=row["host"],
        ids=frozenset(json.loads(row["ids"])),
        blobs={digest: int(size) for digest, size in json.loads(row["blobs"]).items()},
        taken_at=row["taken_at"],
        used_at=row["used_at"],
    )


def _is_used_by(connection: sqlite3.Connection, uid: int, digest: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM attempts JOIN runs USING (run_id)"
        " WHERE runs.uid = ? AND substr(attempts.image_digest, -71) = ? LIMIT 1",
        (uid, f"sha256:{digest}"),
    )
    return found.fetchone() is not None


def _put(connection: sqlite3.Connection, image: StoredImage) -> None:
    connection.execute(
        f"INSERT OR REPLACE INTO images ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            image.digest, image.name, image.host, json.dumps(sorted(image.ids)),
            json.dumps(dict(image.blobs)), image.size, image.taken_at, image.used_at,
        ),
    )  # fmt: skip
