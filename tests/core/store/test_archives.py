from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hostler.base.errors import HostlerError, InputError
from hostler.store.archives import ArchiveCaps, extract, inspect_archive, normalise
from tests.support.values.tars import tar_of


def _info(name: str, kind: bytes = tarfile.REGTYPE, **changes: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, 0o644 if kind == tarfile.REGTYPE else 0o755
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def _tar(path: Path, entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def _folder(name: str, **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    return _info(name, tarfile.DIRTYPE, **changes), b""


def _file(name: str, data: bytes = b"data", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    return _info(name, **changes), data


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return _info(name, kind, linkname=target), b""


_TREE = [
    _folder("out"),
    _file("out/b.txt", b"bbb", mode=0o4755, mtime=5, uid=7),
    _folder("out/deep"),
    _file("out/deep/a.bin", b"\0" * 3000),
    _link("out/latest", "deep/a.bin"),
]


def test_what_is_in_an_archive(tmp_path: Path) -> None:
    manifest = inspect_archive(_tar(tmp_path / "a.tar", _TREE))
    assert [(e.path, e.kind, e.mode, e.size) for e in manifest.entries] == [
        ("out", "folder", 0o755, 0),
        ("out/b.txt", "file", 0o755, 3),
        ("out/deep", "folder", 0o755, 0),
        ("out/deep/a.bin", "file", 0o644, 3000),
        ("out/latest", "link", 0o755, 0),
    ]
    assert (manifest.size, manifest.files) == (3003, 3)


def test_the_same_content_has_the_same_digest_and_bytes(tmp_path: Path) -> None:
    one = _tar(tmp_path / "1.tar", _TREE)
    other = _tar(
        tmp_path / "2.tar",
        [  # another order, owner and time; folders implied; written by another tar
            _link("./out/latest", "deep/a.bin"),
            _file("./out/deep/a.bin", b"\0" * 3000, mtime=99, uname="ana"),
            _file("./out//b.txt", b"bbb", mode=0o755, uid=9),
        ],
    )
    assert inspect_archive(one).digest == inspect_archive(other).digest
    first = normalise(one, tmp_path / "1.norm")
    second = normalise(other, tmp_path / "2.norm")
    assert first == second
    assert (tmp_path / "1.norm").read_bytes() == (tmp_path / "2.norm").read_bytes()
    assert first[2] == (tmp_path / "1.norm").stat().st_size
    again = normalise(tmp_path / "1.norm", tmp_path / "3.norm")
    assert again == first


@pytest.mark.parametrize(
    "change",
    [
        _file("out/deep/a.bin", b"\1" * 3000),
        _file("out/deep/a.bin", b"\0" * 3000, mode=0o755),
        _file("out/deep/c.bin", b"\0" * 3000),
    ],
)
def test_other_content_has_another_digest(
    tmp_path: Path, change: tuple[tarfile.TarInfo, bytes]
) -> None:
    one = _tar(tmp_path / "1.tar", _TREE)
    other = _tar(tmp_path / "2.tar", [*_TREE[:3], change, _TREE[4]])
    assert inspect_archive(one).digest != inspect_archive(other).digest


def test_the_folder_itself_is_taken_away(tmp_path: Path) -> None:
    manifest, digest, _ = normalise(_tar(tmp_path / "a.tar", _TREE), tmp_path / "n.tar", "out/")
    assert [e.path for e in manifest.entries] == ["b.txt", "deep", "deep/a.bin", "latest"]
    bare = [_file("b.txt", b"bbb", mode=0o755), _file("deep/a.bin", b"\0" * 3000)]
    bare.append(_link("latest", "deep/a.bin"))
    assert normalise(_tar(tmp_path / "b.tar", bare), tmp_path / "m.tar")[1] == digest


def test_a_single_file_keeps_its_name(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", [_file("result.json", b"{}")])
    manifest, _, _ = normalise(path, tmp_path / "n.tar", "result.json")
    assert [e.path for e in manifest.entries] == ["result.json"]


def test_what_lies_beside_the_folder_is_refused(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", [*_TREE, _file("other", b"")])
    with pytest.raises(InputError, match="outside out/"):
        normalise(path, tmp_path / "n.tar", "out")
    assert not (tmp_path / "n.tar").exists()


def test_hard_links_become_copies(tmp_path: Path) -> None:
    path = _tar(
        tmp_path / "a.tar",
        [_file("out/a", b"same"), _link("out/b", "out/a", tarfile.LNKTYPE)],
    )
    manifest, _, _ = normalise(path, tmp_path / "n.tar", "out")
    assert [(e.path, e.kind, e.size) for e in manifest.entries] == [
        ("a", "file", 4),
        ("b", "file", 4),
    ]
    extract(tmp_path / "n.tar", tmp_path / "x")
    assert (tmp_path / "x" / "b").read_bytes() == b"same"


_HOSTILE: dict[str, list[tuple[tarfile.TarInfo, bytes]]] = {
    "absolute": [_file("/etc/cron.d/x")],
    "dotdot": [_file("../x")],
    "dotdot inside": [_file("a/../../x")],
    "link to absolute": [_link("a", "/etc/passwd")],
    "link out": [_link("a/b", "../../x")],
    "link out through a link": [
        _folder("d"), _link("d/l", ".."), _link("d/m", "l/.."), _file("d/m/x"),
    ],
    "link climbing through names": [_link("a", "b/../../x")],
    "file below a link": [_link("a", "."), _file("a/x")],
    "file below a file": [_file("a"), _file("a/x")],
    "link in place of a folder": [_file("a/x"), _link("a", ".")],
    "folder in place of a link": [_link("a", "b"), _folder("a")],
    "file twice": [_file("a"), _file("a")],
    "file over a link": [_link("a", "b"), _file("a")],
    "hard link out": [_link("a", "/etc/passwd", tarfile.LNKTYPE)],
    "hard link to nothing": [_link("a", "b", tarfile.LNKTYPE)],
    "hard link to a link": [_link("a", "b"), _link("c", "a", tarfile.LNKTYPE)],
    "device": [(_info("a", tarfile.CHRTYPE, devmajor=1, devminor=3), b"")],
    "block device": [(_info("a", tarfile.BLKTYPE), b"")],
    "fifo": [(_info("a", tarfile.FIFOTYPE), b"")],
    "unknown kind": [(_info("a", b"Z"), b"")],
    "long name": [_file("a" * 256)],
    "deep": [_file("a/" * 101 + "b")],
    "long path": [_file(("a" * 200 + "/") * 30 + "b")],
    "empty name": [_file(".")],
    "nul": [_file("a", pax_headers={"path": "a\0b"})],
}  # fmt: skip


@pytest.mark.parametrize("name", _HOSTILE)
@pytest.mark.parametrize("work", [inspect_archive, extract, normalise])
def test_hostile_members_are_refused_by_name(
    tmp_path: Path, name: str, work: Callable[..., object]
) -> None:
    path = _tar(tmp_path / "a.tar", _HOSTILE[name])
    outside = tmp_path / "in" / "target"
    outside.parent.mkdir()
    arguments = [] if work is inspect_archive else [outside]
    with pytest.raises(InputError, match="the archive holds"):
        work(path, *arguments)
    assert list(outside.parent.iterdir()) == []


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "10737418240",
               "GNU.sparse.map": "0,4", "GNU.sparse.name": "a"}  # fmt: skip
    path = _tar(tmp_path / "a.tar", [_file("a", b"data", pax_headers=headers)])
    with pytest.raises(InputError, match="sparse"):
        inspect_archive(path)


def test_caps_hold(tmp_path: Path) -> None:
    many = _tar(tmp_path / "many.tar", [_file(f"f{n}", b"") for n in range(20)])
    with pytest.raises(InputError, match="more than 10 files and folders"):
        inspect_archive(many, ArchiveCaps(entries=10))
    implied = _tar(tmp_path / "implied.tar", [_file(f"{n}/a/b/c/d/e", b"") for n in range(5)])
    with pytest.raises(InputError, match="more than 10 files and folders"):
        inspect_archive(implied, ArchiveCaps(entries=10))
    with pytest.raises(InputError, match="over the limit of 1 KiB"):
        inspect_archive(
            _tar(tmp_path / "big.tar", [_file("a", b"x" * 1025)]), ArchiveCaps(size=1024)
        )
    repeated = [_file("a", b"x" * 2_000_000)]
    repeated += [_link(f"b{n}", "a", tarfile.LNKTYPE) for n in range(100)]
    with pytest.raises(InputError, match="too many hard links"):
        inspect_archive(_tar(tmp_path / "bomb.tar", repeated))


def test_an_extended_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    info = _info("pax", tarfile.XHDTYPE)
    info.size = 3 * 1024**3
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(info.size)  # sparse on disk
    with pytest.raises(InputError, match="header that is too large"):
        inspect_archive(path)


@pytest.mark.parametrize("keep", [0, 100, 512, 1000, 1536, 4096])
def test_a_truncated_archive_is_refused(tmp_path: Path, keep: int) -> None:
    path = _tar(tmp_path / "a.tar", [_file("a", b"x" * 600), _file("b", b"y" * 600), _file("c")])
    os.truncate(path, keep)
    with pytest.raises(InputError, match="not a valid tar file"):
        inspect_archive(path)


def test_a_broken_header_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", [_file("a", b"x" * 512), _file("b", b"y" * 512)])
    data = bytearray(path.read_bytes())
    data[1024 + 150] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a valid tar file"):
        inspect_archive(path)


def test_an_empty_archive_is_empty(tmp_path: Path) -> None:
    assert inspect_archive(_tar(tmp_path / "a.tar", [])).entries == ()
    assert normalise(_tar(tmp_path / "b.tar", [_folder("out")]), tmp_path / "n", "out")[0].size == 0


def test_extraction_masks_modes_and_keeps_links(tmp_path: Path) -> None:
    target = tmp_path / "x"
    extract(_tar(tmp_path / "a.tar", _TREE), target)
    assert (target / "out/latest").read_bytes() == b"\0" * 3000
    assert os.readlink(target / "out/latest") == "deep/a.bin"
    assert stat.S_IMODE((target / "out/b.txt").stat().st_mode) == 0o755
    with pytest.raises(InputError, match="something else exists"):
        extract(_tar(tmp_path / "a.tar", _TREE), target)


def test_extraction_does_not_follow_links_planted_in_the_target(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    target = tmp_path / "x"
    target.mkdir()
    (target / "out").symlink_to(victim)
    with pytest.raises(InputError, match="something else exists"):
        extract(_tar(tmp_path / "a.tar", _TREE), target)
    assert list(victim.iterdir()) == []


_PART = st.sampled_from(["a", "b", "c", "..", ".", "", "/", "l"])
_NAME = st.lists(_PART, min_size=1, max_size=4).map("/".join)
_KIND = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)
_HOSTILE_ENTRY = st.tuples(_NAME, _KIND, _NAME, st.binary(max_size=20))


@given(st.lists(_HOSTILE_ENTRY, max_size=7))
@settings(max_examples=50, deadline=None)
@example([("a", tarfile.SYMTYPE, "a//a", b"")])
@example([("l", tarfile.SYMTYPE, ".", b""), ("l/a", tarfile.REGTYPE, "", b"x")])
def test_no_archive_writes_outside_or_lets_read_outside(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, bytes, str, bytes]]
) -> None:
    place = tmp_path_factory.mktemp("hostile")
    outer = place / "outer"
    (outer / "canary").mkdir(parents=True)
    (outer / "a").write_bytes(b"not yours")
    target = outer / "canary" / "target"
    made = [
        (_info(name, kind, linkname=link), data if kind == tarfile.REGTYPE else b"")
        for name, kind, link, data in entries
    ]
    path = _tar(place / "a.tar", made)
    try:
        manifest = extract(path, target)
    except InputError:
        pass
    else:
        root = os.path.realpath(target)
        for entry in manifest.entries:
            try:
                real = os.path.realpath(target / entry.path, strict=True)
            except OSError:
                continue  # a link in a circle, or to nothing, leads nowhere
            assert real == root or real.startswith(root + os.sep)
    assert sorted(p.name for p in outer.iterdir()) == ["a", "canary"]
    assert {p.name for p in (outer / "canary").iterdir()} <= {"target"}
    assert (outer / "a").read_bytes() == b"not yours"


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_damaged_bytes_give_an_error_for_people_or_an_archive(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("damaged")
    path = _tar(place / "a.tar", [*_TREE, _file("ü" * 120, b"x", pax_headers={"comment": "c"})])
    content = bytearray(path.read_bytes())
    # Checksums are repaired, so that damage reaches the code behind them.
    for _ in range(data.draw(st.integers(1, 4))):
        block = data.draw(st.integers(0, len(content) // 512 - 1)) * 512
        at = block + data.draw(st.integers(0, 511))
        content[at] = data.draw(st.integers(0, 255))
        header = content[block : block + 512]
        total = sum(header[:148]) + 8 * 32 + sum(header[156:])
        content[block + 148 : block + 156] = b"%06o\0 " % total
    path.write_bytes(content)
    try:
        normalise(path, place / "n.tar")
    except HostlerError:
        assert not (place / "n.tar").exists()
    else:
        inspect_archive(place / "n.tar")


def test_links_that_lead_out_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    """One link to a data set must not cost all the other files."""
    made = tmp_path / "made.tar"
    made.write_bytes(
        tar_of(
            {"model.pt": b"x"},
            out={"name": "data", "type": b"2", "linkname": "/mnt/data"},
            up={"name": "up", "type": b"2", "linkname": "../../etc/passwd"},
            inside={"name": "last", "type": b"2", "linkname": "model.pt"},
        )
    )
    with pytest.raises(InputError, match="leads out"):
        normalise(made, tmp_path / "refused.tar")
    caps = ArchiveCaps(refuses_links_out=False)
    manifest, _, _ = normalise(made, tmp_path / "clean.tar", caps=caps)
    assert [entry.path for entry in manifest.entries] == ["last", "model.pt"]
