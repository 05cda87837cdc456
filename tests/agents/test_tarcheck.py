"""The one reader of untrusted archives: what it refuses, daemon, agent and simulation refuse."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.sim.files import unpack
from hostler.store.archives import inspect_archive
from hostler_agent.archive import extract
from hostler_agent.folders import Refusal
from hostler_agent.tarcheck import UNREADABLE, BadArchive, link_stays_inside
from tests.support.values.tars import tar_of


def _field(name: bytes, value: bytes) -> bytes:
    rest = b" %s=%s\n" % (name, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def _header(kind: bytes, fields: bytes) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(fields)
    return info.tobuf(tarfile.USTAR_FORMAT) + fields + bytes(-len(fields) % 512)


def _member(name: str) -> bytes:
    return tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT)


def _archive(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts) + bytes(1024))
    return path


_SLOW = _field(b"GNU.sparse.size", b"1") + b"1" * 20_000
_KEYS = b"2 " * 2_000 + b"="
_NUMBER = _field(b"k", b"1" * 20_000)


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        (b"x", _SLOW, "broken extended header"),
        (b"x", _KEYS, "broken extended header"),
        (b"g", _KEYS, "broken extended header"),
        (b"X", _KEYS, "broken extended header"),
        (b"x", b"9 a=b", "broken extended header"),
        (b"x", b"-5 a=b\n", "broken extended header"),
        (b"x", _NUMBER, "too long numbers"),
    ],
)
def test_what_tarfile_would_look_through_for_long_is_refused(
    tmp_path: Path, kind: bytes, fields: bytes, why: str
) -> None:
    path = _archive(tmp_path / "a.tar", _header(kind, fields), _member("f"))
    with pytest.raises(InputError, match=why):
        inspect_archive(path)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"L", b"v" * 512),
        (b"K", b"v" * 512),
        (b"x", _field(b"comment", b"v" * 500)),
        (b"g", _field(b"comment", b"v" * 500)),
    ],
)
def test_no_header_hides_behind_data_that_looks_like_one(
    tmp_path: Path, kind: bytes, data: bytes
) -> None:
    posed = data[:124] + b"00000000000v" + data[136:156] + b"x" + data[157:]
    path = _archive(tmp_path / "a.tar", _header(kind, posed), _header(b"x", _SLOW), _member("f"))
    with pytest.raises(InputError, match="broken extended header"):
        inspect_archive(path)


@pytest.mark.parametrize("letter", ["x", "g", "X"])
def test_a_long_name_may_have_any_letter_anywhere(tmp_path: Path, letter: str) -> None:
    name = "/".join(["d" * 77, "d" * 77, letter + "f" * 10])
    with tarfile.open(tmp_path / "gnu.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(name))
    assert name[156] == letter
    assert inspect_archive(tmp_path / "gnu.tar").files == 1


def test_long_numbers_have_one_budget_for_the_whole_archive(tmp_path: Path) -> None:
    one = _header(b"x", _field(b"k", b"1" * 2_000))
    parts = [part for at in range(40) for part in (one, _member(f"f{at}"))]
    with pytest.raises(InputError, match="too long numbers"):
        inspect_archive(_archive(tmp_path / "a.tar", *parts))


def test_fields_that_hold_for_all_members_are_few(tmp_path: Path) -> None:
    """tarfile keeps them, and copies all of them for each member."""
    parts = [
        part
        for at in range(101)
        for part in (_header(b"g", _field(b"k%d" % at, b"v")), _member(f"f{at}"))
    ]
    with pytest.raises(InputError, match="hold for all members"):
        inspect_archive(_archive(tmp_path / "a.tar", *parts))


def test_headers_of_one_member_are_bounded_together(tmp_path: Path) -> None:
    parts = [_header(b"x", _field(b"k", b"v" * 60_000))] * 5
    with pytest.raises(InputError, match="too large"):
        inspect_archive(_archive(tmp_path / "a.tar", *parts, _member("f")))


def test_headers_as_honest_programs_write_them_are_read(tmp_path: Path) -> None:
    long = "/".join(["1" * 250] * 10)
    comment = _header(b"g", _field(b"comment", b"0" * 40))  # git archive
    attribute = _header(b"x", _field(b"SCHILY.xattr.user.a", b"=\n12 x=y\n" + bytes(range(256))))
    with tarfile.open(tmp_path / "long.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(long))
        tar.addfile(tarfile.TarInfo("ümläut"))
    with tarfile.open(tmp_path / "gnu.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(long))
    path = _archive(tmp_path / "a.tar", comment, attribute, _member("f"))
    assert inspect_archive(path).files == 1
    assert inspect_archive(tmp_path / "long.tar").files == 2
    assert inspect_archive(tmp_path / "gnu.tar").files == 1


@pytest.mark.parametrize(
    ("name", "target", "inside"),
    [
        ("a", "b", True),
        ("a", "./b/../c", False),
        ("d/a", "../b", True),
        ("d/a", "../../b", False),
        ("d/e/a", "../../b/c", True),
        ("a", "..", False),
        ("d/a", "..", True),
        ("a", "/b", False),
        ("a", "", False),
    ],
)
def test_links_may_climb_only_at_their_begin(name: str, target: str, inside: bool) -> None:
    assert link_stays_inside(name, target) is inside


_GOOD = tar_of({"a": b"1" * 600, "b": b"2"})
_READERS: list[Callable[[Path], object]] = [
    inspect_archive,
    lambda path: extract(str(path), str(path.parent)),
    lambda path: unpack(path.read_bytes(), ""),
]


@pytest.mark.parametrize("read", _READERS)
@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(_GOOD, mtime=0),
        _GOOD[:1536],  # ends between two members
        _GOOD[:1000],
        _header(b"x", _SLOW) + _GOOD,
        tar_of({"../c": b"3"}),
        tar_of({"a": b"1"}, c={"type": tarfile.FIFOTYPE}),
        tar_of({"/".join(["d"] * 101): b"3"}),
    ],
)
def test_every_reader_refuses_the_same(
    data: bytes, read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "c.tar"
    path.write_bytes(data)
    with pytest.raises((InputError, Refusal, BadArchive, *UNREADABLE)):
        read(path)
    assert list(tmp_path.iterdir()) == [path]
