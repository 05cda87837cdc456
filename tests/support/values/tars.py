"""Tar files of tests."""

from __future__ import annotations

import io
import tarfile
from typing import Any


def tar_of(entries: dict[str, bytes], **special: Any) -> bytes:
    """A tar of these files, and of members without content that have these fields of `TarInfo`."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o4755
            tar.addfile(info, io.BytesIO(data))
        for name, fields in special.items():
            info = tarfile.TarInfo(fields.pop("name", name))
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info)
    return made.getvalue()
