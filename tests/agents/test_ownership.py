"""Tar streams change hands on their way, and nothing else of them changes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler_agent.folders import Refusal
from hostler_agent.ownership import owned

_KINDS = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
entries = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=150),
        st.sampled_from(_KINDS),
        st.binary(max_size=1200),
    ),
    max_size=6,
)


def _tar(items: Sequence[tuple[str, bytes, bytes]], form: int) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        for name, kind, data in items:
            entry = tarfile.TarInfo(name)
            entry.type, entry.uname, entry.mode = kind, "root", 0o640
            entry.linkname = "elsewhere" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            entry.size = len(data) if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _seen(data: bytes) -> list[tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [
            (
                e.name, e.type, e.mode, e.linkname, e.size,
                (tar.extractfile(e) or io.BytesIO()).read() if e.isreg() else b"",
            )
            for e in tar
        ]  # fmt: skip


@given(
    items=entries,
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    size=st.integers(1, 3000),
    uid=st.sampled_from([0, 1000, 2**21 - 1, 2**21, 2**31]),
)
def test_only_the_owner_changes(
    items: list[tuple[str, bytes, bytes]], form: int, size: int, uid: int
) -> None:
    data = _tar(items, form)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    got = b"".join(owned(pieces, uid, 7))
    assert len(got) == len(data)
    assert _seen(got) == _seen(data)
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        assert {(e.uid, e.gid, e.uname) for e in tar} <= {(uid, 7, "")}


def test_sizes_beyond_what_a_header_holds_are_followed() -> None:
    """A pax record gives the size; what looks like a header inside the content is left alone."""
    inner = _tar([("inner", tarfile.REGTYPE, b"x" * 600)], tarfile.PAX_FORMAT)
    entry = tarfile.TarInfo("big")
    entry.size = 8 * 1024**3
    head = entry.tobuf(tarfile.PAX_FORMAT)
    head = head.replace(b"19 size=8589934592\n", b"19 size=0000010240\n")
    assert len(inner) == 10240
    data = head + inner + bytes(1024)
    got = b"".join(owned([data], 1000, 1000))
    assert got[len(head) : len(head) + len(inner)] == inner
    assert _seen(got)[0][0] == "big"


def test_what_is_no_tar_is_refused_or_passed_but_never_grows() -> None:
    with pytest.raises(Refusal, match="not a tar"):
        b"".join(owned([b"no tar" * 200], 1, 1))
    assert b"".join(owned([b"short"], 1, 1)) == b"short"
