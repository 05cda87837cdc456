"""What hosts say, as values: the same as the codec reads, and nothing else ever escapes."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.base.errors import AgentError
from hostler.link.answers import LookReader, answer_error, checked, read_hello, read_push
from hostler.link.lines import Hostile, parse_object
from hostler.model.codec import from_json, to_json
from hostler.model.host_reports import LookDecoder
from hostler.model.hosts import Look
from hostler.ports import Exited, Left
from hostler_agent.wire import SECTIONS
from tests.support.programs.scripted_agent import LOOK

PROCESS = {"pid": 7, "kind": "compute", "user": "ana", "command": "python", "memory": 5}
LEASE = {
    "lease_id": "l", "gpu": "GPU-1", "daemon_id": "d", "owner": "ana", "attempt_id": None,
    "claimed_at": 5,
}  # fmt: skip
WORKLOAD: Any = {
    "attempt_id": "a", "daemon_id": "d", "runtime": "docker", "ref": "c", "running": True,
    "gpus": ["GPU-1"],
}  # fmt: skip
FULL: Any = {
    **LOOK,
    "procs": {"GPU-1": [PROCESS]},
    "leases": [LEASE],
    "work": [WORKLOAD],
    "foreign": [{"container_id": "c", "name": "n", "image": "i", "gpus": ["GPU-1"]}],
    "slow": [[1, ["thermal"], True, 5.0, "lost"]],
    "trouble": {"gpu": "g", "docker": "d", "leases": "l", "lists": "m"},
    "clock": [5000.0, 900.0],
    "kept": [2, 3000],
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def test_a_look_is_what_the_codec_reads() -> None:
    assert FULL.keys() == set(SECTIONS)  # what no look here has is compared with nothing
    reader, decoder = LookReader(), LookDecoder()
    for sections in (FULL, {"g": LOOK["g"]}, {"g": LOOK["g"], "work": []}, FULL):
        look = decoder.apply(sections, 3.0)
        assert reader.read(sections, 3.0) == look
        assert from_json(Look, json.loads(json.dumps(to_json(look)))) == look


def test_what_has_not_changed_is_not_built_anew() -> None:
    reader = LookReader()
    first, second = reader.read(FULL, 1.0), reader.read({"g": LOOK["g"]}, 2.0)
    assert second.workloads is first.workloads
    assert second.gpus[0].processes is first.gpus[0].processes


@pytest.mark.slow
@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(SECTIONS), values), st.sampled_from(SECTIONS), values)
def test_no_look_escapes_the_caps(sections: Any, name: str, value: Any) -> None:
    for said in (sections, {**FULL, name: value}):
        reader = LookReader()
        try:
            look = reader.read(said, 1.0)
        except Hostile:
            continue
        assert isinstance(look, Look)
        assert look.asked_at == 1.0


@given(values)
def test_nothing_else_escapes_either(value: Any) -> None:
    message = {"hello": value, "lease_ids": value, "refused": value}
    with contextlib.suppress(Hostile):
        read_hello(message)
    with contextlib.suppress(AgentError):
        checked("gpu1", "claim", message)
    for push in ({"exit": value}, {"xid": value}, {"exit": WORKLOAD, "left": value}):
        try:
            read_push(push)
        except Hostile:
            continue
    try:
        assert answer_error("gpu1", value).message is not None
    except Hostile:
        assert not isinstance(value, dict)


def test_what_an_exit_left_is_read() -> None:
    left: Any = {"log": base64.b64encode(b"hi\n").decode(), "metrics": True}
    push = read_push({"exit": WORKLOAD, "left": left})
    assert isinstance(push, Exited)
    assert push.left == Left(b"hi\n", metrics=True)
    plain = read_push({"exit": WORKLOAD, "left": None})
    assert isinstance(plain, Exited)
    assert plain.left is None
    wrong: Any
    for wrong in ({**left, "log": "?"}, {**left, "metrics": 1}, {"log": ""}):
        with pytest.raises(Hostile):
            read_push({"exit": WORKLOAD, "left": wrong})


@given(st.binary(max_size=200))
def test_any_line_is_an_object_or_hostile(line: bytes) -> None:
    with contextlib.suppress(Hostile):
        assert isinstance(parse_object(line), dict)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)))
def test_objects_are_read_back(value: dict[str, Any]) -> None:
    assert parse_object(json.dumps(value).encode()) == value


def test_depth_is_capped() -> None:
    assert parse_object(b'{"a":' * 16 + b"1" + b"}" * 16)
    with pytest.raises(Hostile):
        parse_object(b'{"a":' * 18 + b"1" + b"}" * 18)
