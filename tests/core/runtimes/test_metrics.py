"""Metrics files: hostile lines are dropped and counted, numbers come through."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.model.records import MetricPoint
from hostler.runtimes import metrics
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.runtimes.metrics import last_values, parse_metrics, read_metrics
from tests.core.runtimes.support import MemorySink, make_job, silent
from tests.support.direct_link import DirectLink


def test_rows_become_points() -> None:
    data = b'{"step": 1, "loss": 0.5, "acc": 1}\n\n{"t": 1764000000.5, "loss": 0.25}'
    found = parse_metrics(data, at=7.0)
    assert found.points == (
        MetricPoint("loss", 0.5, 7.0, 1),
        MetricPoint("acc", 1.0, 7.0, 1),
        MetricPoint("loss", 0.25, 1764000000.5, None),
    )
    assert found.dropped == 0
    assert last_values(found.points) == {"loss": 0.25, "acc": 1.0}


def test_a_half_written_last_line_waits() -> None:
    assert parse_metrics(b'{"a": 1}\n{"a": 2', at=0.0).points == (MetricPoint("a", 1.0, 0.0),)


def test_nan_is_a_number_here() -> None:
    first, second = parse_metrics(b'{"a": NaN, "b": -Infinity}\n', at=0.0).points
    assert math.isnan(first.value)
    assert second.value == -math.inf


@pytest.mark.parametrize(
    "line",
    [
        b"hello", b"[1]", b"1", b'"x"', b"null", b'{"a": "1"}', b'{"a": true}', b'{"a": null}',
        b'{"a": [1]}', b'{"a": {"b": 1}}', b'{"": 1}', b'{"a": 1e999999999999999999999',
        b"[" * 60000, b'{"a": 1' + b"0" * 400 + b"}", b'{"a":' + b" " * 70000 + b"1}",
        b'{"' + b"n" * 201 + b'": 1}', b"\xff\xfe", b'{"a": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_hostile_lines_are_dropped_and_counted(line: bytes) -> None:
    found = parse_metrics(line + b'\n{"ok": 1}\n', at=0.0)
    assert found.points == (MetricPoint("ok", 1.0, 0.0),)
    assert found.dropped == 1


@pytest.mark.parametrize("step", ["1.5", "true", '"2"', "1" + "0" * 30])
def test_an_odd_step_is_no_step(step: str) -> None:
    (point,) = parse_metrics(f'{{"step": {step}, "a": 1}}\n'.encode(), at=0.0).points
    assert point.step is None


def test_names_and_points_have_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_NAMES", 2)
    monkeypatch.setattr(metrics, "MAX_POINTS", 3)
    data = b'{"a": 1, "b": 1, "c": 1}\n{"a": 2}\n{"b": 2}\n'
    found = parse_metrics(data, at=0.0)
    assert [point.name for point in found.points] == ["a", "b", "a"]
    assert found.dropped == 2


@given(st.binary(max_size=300))
def test_nothing_makes_it_raise(data: bytes) -> None:
    parse_metrics(data, at=0.0)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(allow_nan=False)), max_size=20))
def test_numbers_come_through(rows: list[dict[str, float]]) -> None:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    found = [(point.name, point.value) for point in parse_metrics(data, at=0.0).points]
    assert found == [item for row in rows for item in row.items()]


async def test_a_containers_metrics_while_it_runs_and_after(
    runtime: DockerRuntime, link: DirectLink
) -> None:
    line = "echo '{\"a\": 1}' > $HOSTLER_METRICS; echo up; exec sleep 100"
    job = make_job(line)
    ref = await runtime.create(link, job, silent)
    assert (await read_metrics(link, job.attempt_id, "docker", ref)).points == ()
    workload = await runtime.start(link, job, ref)
    points: tuple[Any, ...] = ()
    while not points:
        points = (await read_metrics(link, job.attempt_id, "docker", ref)).points
    assert last_values(points) == {"a": 1.0}
    assert points[0].at > 1.7e9
    await runtime.stop(link, workload, 0.0)
    assert (await read_metrics(link, job.attempt_id, "docker", ref)).points == points
    await runtime.follow(link, workload, MemorySink())
    await runtime.remove(link, workload)
    assert (await read_metrics(link, job.attempt_id, "docker", ref)).points == ()


class _Agent(DirectLink):
    """Answers `job.metrics` three bytes at a time."""

    def __init__(self, data: str) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._data = data

    async def call(self, verb: str, payload: Any, timeout: float = 10.0) -> dict[str, Any]:
        assert verb == "job.metrics"
        offset = payload["offset"]
        text = self._data[offset : offset + 3]
        return {"text": text, "next": offset + len(text), "mtime": 5.0}


async def test_a_processs_metrics_come_in_pieces() -> None:
    found = await read_metrics(_Agent('{"a": 1}\n{"b": 2}\n'), "x", "process", "x")
    assert found.points == (MetricPoint("a", 1.0, 5.0), MetricPoint("b", 2.0, 5.0))
    assert (await read_metrics(_Agent(""), "x", "process", "x")).points == ()


def test_what_is_dropped_is_told_with_the_first_of_it() -> None:
    found = parse_metrics(b'{"loss": 1}\nloss: 2\n{"loss": "x"}\n', at=0.0)
    assert (found.dropped, found.example) == (2, "loss: 2")
    assert "2 left out" in found.sentence()
    assert "loss: 2" in found.sentence()
