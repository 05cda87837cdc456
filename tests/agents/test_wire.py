"""Lines, frames and looks: both sides agree, and nothing a host says breaks the reader."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.model import host_reports
from hostler.model.codec import from_json, to_json
from hostler.model.host_reports import LookDecoder
from hostler.model.hosts import Look
from hostler_agent import wire

PROCESS = {"pid": 7, "kind": "compute", "memory": 5, "user": "u", "command": "c", "exists": True}
WORK = {
    "attempt_id": "a", "daemon_id": "d", "runtime": "process", "ref": "a", "running": False,
    "exit_code": 1, "gpus": ["GPU-0"], "owner": "o", "started_at": 1.5,
}  # fmt: skip
LEASE = {
    "lease_id": "l", "gpu": "GPU-0", "daemon_id": "d", "owner": "o", "attempt_id": None,
    "claimed_at": 1.0, "stale": False,
}  # fmt: skip
SECTIONS: dict[str, Any] = {
    "boot": "b", "names": [["GPU-0", 0, "A100", 85899345920, 400.0]],
    "g": [[10, 5, 30, 50.5, 210, None]], "slow": [[0, ["thermal"], False, 1.5, None]],
    "procs": {"GPU-0": [PROCESS]}, "work": [WORK],
    "foreign": [{"container_id": "c", "name": "n", "image": "i", "gpus": []}], "leases": [LEASE],
    "machine": [0.5, 1000, 500, [["/", 100, 50, ["docker"]]]],
    "trouble": {"gpu": None, "docker": "no"},
}  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def test_every_section_reaches_the_model() -> None:
    look = LookDecoder().apply(json.loads(json.dumps(SECTIONS)), 9.0)
    assert look.asked_at == 9.0
    gpu = look.gpus[0]
    assert (gpu.memory_used, gpu.power, gpu.clock_memory) == (10 * 1024**2, 50.5, None)
    assert gpu.throttle == ("thermal",)
    assert gpu.processes[0].pid == 7
    assert look.workloads[0].gpus == ("GPU-0",)
    assert look.machine.disks[0].free == 50
    assert look.machine.disks[0].holds == ("docker",)
    assert look.docker_problem == "no"
    assert look.leases[0].attempt_id is None


_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "g": st.lists(st.lists(st.integers(0, 99), min_size=6, max_size=6), min_size=1, max_size=1),
        "work": st.lists(st.just(WORK), max_size=2),
        "trouble": st.sampled_from([{"gpu": None, "docker": None}, {"gpu": "x", "docker": None}]),
        "machine": st.sampled_from([[1.0, 10, 5, []], [2.0, 10, 5, []]]),
        "slow": st.sampled_from([[[1, [], None, None, "lost"]], [[2, [], True, 1.0, None]]]),
    },
)


@given(st.lists(_CHANGES, min_size=1, max_size=8))
def test_differences_add_up_to_the_whole(steps: list[dict[str, Any]]) -> None:
    encoder, decoder = wire.LookEncoder(), LookDecoder()
    state = dict(SECTIONS)
    for number, step in enumerate(steps):
        state = {**state, **step}
        message = wire.decode_line(encoder.line(number, state).rstrip(b"\n"))
        assert message["id"] == number
        whole = LookDecoder().apply(json.loads(json.dumps(state)), float(number))
        assert decoder.apply(message["ok"], float(number)) == whole


def test_what_has_not_changed_is_left_out() -> None:
    encoder = wire.LookEncoder()
    assert set(encoder.changes(SECTIONS)) == set(SECTIONS)
    assert set(encoder.changes(dict(SECTIONS))) == {"g"}
    names = [["GPU-1", 0, "A100", 1, 1.0]]
    assert set(encoder.changes({**SECTIONS, "names": names})) == {"g", "names", "slow"}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += _places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += _places(item, (*path, index))
    return found


def _changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _changed(copy[path[0]], path[1:], new)
    return copy


@settings(max_examples=100)
@given(st.sampled_from(_places(SECTIONS)), json_values)
def test_a_spoilt_look_is_refused_or_read(path: tuple[Any, ...], new: Any) -> None:
    spoilt = _changed(SECTIONS, path, new)
    decoder = LookDecoder()
    decoder.apply(SECTIONS, 1.0)
    try:
        look = decoder.apply(spoilt, 2.0)
    except ValueError:
        # What was known stays, so that one bad line does no harm to the next.
        again = decoder.apply({"g": SECTIONS["g"]}, 3.0)
        assert again.workloads[0].attempt_id == "a"
        return
    told = json.loads(json.dumps(to_json(look), allow_nan=False))
    assert from_json(Look, told) == look


@settings(max_examples=100)
@given(json_values)
def test_whatever_is_said_is_refused_or_read(value: Any) -> None:
    for read in (host_reports.workload, host_reports.claimed, host_reports.greeting):
        with contextlib.suppress(ValueError):
            read(value, "said")


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("g",), []),
        (("g", 0), [1, 2, 3]),
        (("g", 0, 0), 1e400),
        (("names",), [["GPU-0", 0, None, None, None]] * 2),
        (("names", 0, 0), ""),
        (("names", 0, 0), "a b"),
        (("names", 0, 1), -1),
        (("names", 0, 1), True),
        (("procs",), {f"GPU-{n}": [] for n in range(65)}),
        (("procs", "GPU-0"), [PROCESS] * 4097),
        (("work",), [WORK] * 4097),
        (("work", 0, "running"), 1),
        (("work", 0, "runtime"), "slurm"),
        (("work", 0, "ref"), "a\nb"),
        (("leases", 0, "claimed_at"), float("inf")),
        (("leases", 0, "claimed_at"), 10**400),
        (("machine",), [1]),
        (("boot",), 5),
    ],
)
def test_what_is_refused(path: tuple[Any, ...], new: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        LookDecoder().apply(_changed(SECTIONS, path, new), 1.0)


def test_unknown_fields_are_dropped_and_long_text_is_cut() -> None:
    spoilt = _changed(SECTIONS, ("work", 0, "owner"), "x" * 100_000)
    spoilt["work"][0]["new_thing"] = 1
    spoilt["news"] = 5
    look = LookDecoder().apply(spoilt, 1.0)
    assert len(look.workloads[0].owner or "") == 4096
    odd = host_reports.fault({"gpu": "GPU-0", "xid": 1, "message": "\ud800x"}, "xid")
    assert odd == host_reports.GpuFault("GPU-0", "?x", 1)


def test_a_first_look_without_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="boot is missing"):
        LookDecoder().apply({"g": []}, 1.0)


@pytest.mark.parametrize(
    "line",
    [b"", b"5", b"[]", b"{", b"\xff{}", b'{"a":NaN}', b'{"a":Infinity}', b"[" * 100_000,
     b'{"a":' * 100_000, b'{"a":' + b"9" * 10_000 + b"}"],
)  # fmt: skip
def test_lines_that_are_none(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.decode_line(line)


@given(st.lists(st.binary(max_size=50).map(lambda b: b.replace(b"\n", b"")), max_size=9), st.data())
def test_lines_are_cut_wherever_reads_end(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    reader, got = wire.LineReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += reader.feed(stream[:size])
        stream = stream[size:]
    assert got == lines


def test_long_lines_are_refused() -> None:
    reader = wire.LineReader()
    for _ in range(127):
        reader.feed(b"x" * 65536)
    with pytest.raises(ValueError, match="longer than"):
        reader.feed(b"x" * 65536)
    with pytest.raises(ValueError, match="longer than"):
        wire.encode({"a": "x" * wire.MAX_LINE})


@given(st.lists(st.binary(min_size=1, max_size=40) | st.just(None), max_size=9), st.data())
def test_frames_are_cut_wherever_reads_end(items: list[Any], data: st.DataObject) -> None:
    stream = b"".join(wire.END if item is None else wire.frame(item) for item in items)
    stream += wire.json_frame({"ok": True})
    reader, got = wire.FrameReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += reader.feed(stream[:size])
        stream = stream[size:]
    assert got == [*items, {"ok": True}]


def test_frames_have_limits() -> None:
    with pytest.raises(ValueError, match="longer than"):
        wire.FrameReader().feed(b"\x7f\xff\xff\xff")
    for size in (0, wire.MAX_FRAME + 1):
        with pytest.raises(ValueError, match="a frame holds"):
            wire.frame(b"x" * size)
