"""Metrics files: hostile lines are dropped and counted, numbers come through."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import StateError
from hostler.model.records import MetricPoint
from hostler.runtimes import metrics
from hostler.runtimes.docker.runtime import DockerRuntime
from hostler.runtimes.metrics import parse_metrics
from hostler_agent import metricpiece
from tests.core.runtimes.support import MemorySink, make_job, silent
from tests.support.machines.direct_link import DirectLink
from tests.support.values.metricsfile import Kept, last_values, read_metrics


def test_rows_become_points() -> None:
    data = b'{"step": 1, "loss": 0.5, "acc": 1}\n\n{"t": 1764000000.5, "loss": 0.25}'
    found = parse_metrics(data.decode(), at=7.0)
    assert found.points == (
        MetricPoint("loss", 0.5, 7.0, 1),
        MetricPoint("acc", 1.0, 7.0, 1),
        MetricPoint("loss", 0.25, 1764000000.5, None),
    )
    assert found.dropped == 0
    assert last_values(found.points) == {"loss": 0.25, "acc": 1.0}


def test_a_half_written_last_line_waits() -> None:
    assert parse_metrics('{"a": 1}\n{"a": 2', at=0.0).points == (MetricPoint("a", 1.0, 0.0),)


def test_nan_is_a_number_here() -> None:
    first, second = parse_metrics('{"a": NaN, "b": -Infinity}\n', at=0.0).points
    assert math.isnan(first.value)
    assert second.value == -math.inf


@pytest.mark.parametrize(
    "line",
    [
        b"hello", b"[1]", b"1", b'"x"', b"null", b'{"a": "1"}', b'{"a": true}', b'{"a": null}',
        b'{"a": [1]}', b'{"a": {}}', b'{"a": {"b": "1"}}', b'{"": 1}',
        b'{"a": 1e999999999999999999999',
        b"[" * 60000, b'{"a": 1' + b"0" * 400 + b"}", b'{"a":' + b" " * 70000 + b"1}",
        b'{"' + b"n" * 201 + b'": 1}', b"\xff\xfe", b'{"a": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_hostile_lines_are_dropped_and_counted(line: bytes) -> None:
    found = parse_metrics(line.decode(errors="replace") + '\n{"ok": 1}\n', at=0.0)
    assert found.points == (MetricPoint("ok", 1.0, 0.0),)
    assert found.dropped == 1


@pytest.mark.parametrize("step", ["1.5", "true", '"2"', "1" + "0" * 30])
def test_an_odd_step_is_no_step(step: str) -> None:
    (point,) = parse_metrics(f'{{"step": {step}, "a": 1}}\n', at=0.0).points
    assert point.step is None


def test_names_and_points_have_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_NAMES", 2)
    data = '{"a": 1, "b": 1, "c": 1}\n{"a": 2}\n{"b": 2}\n'
    found = parse_metrics(data, at=0.0, room=3)
    assert [point.name for point in found.points] == ["a", "b", "a"]
    assert found.dropped == 2


@given(st.text(max_size=300))
def test_nothing_makes_it_raise(data: str) -> None:
    parse_metrics(data, at=0.0)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(allow_nan=False)), max_size=20))
def test_numbers_come_through(rows: list[dict[str, float]]) -> None:
    data = "".join(json.dumps(row) + "\n" for row in rows)
    found = [(point.name, point.value) for point in parse_metrics(data, at=0.0).points]
    assert found == [item for row in rows for item in row.items()]


async def test_a_containers_metrics_while_it_runs_and_after(
    runtime: DockerRuntime, link: DirectLink
) -> None:
    line = "echo '{\"a\": 1}' > $HOSTLER_METRICS; echo up; exec sleep 100"
    job = make_job(line)
    ref = await runtime.create(link, job, silent)
    assert await read_metrics(link, job.attempt_id, "docker", ref) == ()
    workload = await runtime.start(link, job, ref)
    points: tuple[Any, ...] = ()
    while not points:
        points = await read_metrics(link, job.attempt_id, "docker", ref)
    assert last_values(points) == {"a": 1.0}
    assert points[0].at > 1.7e9
    await runtime.stop(link, workload, 0.0)
    assert await read_metrics(link, job.attempt_id, "docker", ref) == points
    await runtime.follow(link, workload, MemorySink())
    await runtime.remove(link, workload)
    assert await read_metrics(link, job.attempt_id, "docker", ref) == ()


class _Agent(DirectLink):
    """An agent with a file in place of a job, which answers a few bytes at a time."""

    def __init__(self, data: str, most: int = 9) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.data = data.encode()
        self.asked: list[int] = []
        self.at = 5.0
        self._most = most

    async def call(self, verb: str, payload: Any, timeout: float = 10.0) -> Any:
        assert verb == "job.metrics"
        self.asked.append(payload["offset"])
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(metricpiece, "SIZE", self._most)
            return metricpiece.piece(
                metricpiece.wanted(payload), len(self.data), self.at, lambda at: self.data[at:]
            )


async def test_a_processs_metrics_come_in_pieces() -> None:
    found = await read_metrics(_Agent('{"a": 1}\n{"b": 2}\n'), "x", "process", "x")
    assert found == (MetricPoint("a", 1.0, 5.0), MetricPoint("b", 2.0, 5.0))
    assert await read_metrics(_Agent(""), "x", "process", "x") == ()


async def test_a_file_is_read_on_from_where_it_was_left() -> None:
    agent, kept = _Agent('{"a": 1}\n{"a"'), Kept("x", "process", "x")
    assert await kept.read(agent)
    assert not await kept.read(agent)
    agent.data += b': 2}\n{"a": 3}'
    assert await kept.read(agent)
    assert agent.asked == [0, 9, 9, 9, 18]
    assert [point.value for point in kept.points] == [1.0, 2.0]
    assert await kept.read(agent, final=True)
    assert [point.value for point in kept.points] == [1.0, 2.0, 3.0]
    assert kept.reader.last == {"a": 3.0}


@pytest.mark.parametrize("again", ['{"b": 7}\n', '{"b": 7, "c": 8888}\n{"b": 9}\n'])
async def test_a_file_that_is_written_anew_is_read_anew(again: str) -> None:
    agent, kept = _Agent('{"a": 1}\n{"a": 2}\n', 100), Kept("x", "process", "x")
    await kept.read(agent)
    agent.data = again.encode()
    assert await kept.read(agent)
    assert {point.name for point in kept.points} <= {"b", "c"}
    assert kept.reader.last == last_values(kept.points)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ('{"acc": 0.5}\n', '{"acc": 0.9}\n'),
        ('{"acc": 0.5}\n', '{"acc": 0.9}\n{"acc": 0.8}\n'),
        ('{"acc": 0.5}\n{"b": 1}\n', '{"acc": 0.9}\n{"b": 1}\n'),
        ('{"acc": 0.5}\n{"b": 1}\n', '{"acc": 0.9}\n{"b": 1}\n{"c": 1}\n'),
    ],
)
@pytest.mark.parametrize("final", [False, True])
async def test_a_file_written_anew_with_lines_as_long_as_before_is_read_anew(
    first: str, again: str, final: bool
) -> None:
    """Who keeps the latest values only opens it to write: a gate must not see the old ones."""
    agent, kept = _Agent(first, 100), Kept("x", "process", "x")
    await kept.read(agent)
    assert not await kept.read(agent)
    agent.data, agent.at = again.encode(), 6.0
    assert await kept.read(agent, final=final)
    assert not await kept.read(agent, final=final)
    assert kept.reader.last == last_values(parse_metrics(again, 6.0).points)
    assert len(kept.points) == again.count("\n")


async def test_a_line_larger_than_a_piece_is_dropped_once_and_what_follows_is_read() -> None:
    data = '{"a": 1}\n{"b": ' + "1" * 50 + '}\n{"c": 3}\n'
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(metrics, "MAX_LINE", 12)
        kept = Kept("x", "process", "x")
        await kept.read(_Agent(data), final=True)
    assert last_values(kept.points) == {"a": 1.0, "c": 3.0}
    assert kept.reader.dropped == 1


async def test_what_could_not_be_stored_is_read_again() -> None:
    agent, kept = _Agent('{"a": 1}\n'), Kept("x", "process", "x")

    async def fail(points: object, first: int) -> None:
        raise StateError("the disk is full")

    with pytest.raises(StateError):
        await kept.reader.read(agent, fail)
    assert await kept.read(agent)
    assert last_values(kept.points) == {"a": 1.0}


async def test_points_over_all_pieces_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_POINTS", 3)
    agent, kept = _Agent('{"a": 1}\n' * 10, 20), Kept("x", "process", "x")
    await kept.read(agent, final=True)
    assert len(kept.points) == 3
    assert kept.reader.dropped
    assert max(agent.asked) < len(agent.data)


def test_objects_in_objects_are_named_by_their_path() -> None:
    found = parse_metrics('{"step": 3, "train": {"loss": 1, "top": {"k": 5}}, "lr": 0.1}', at=0.0)
    assert last_values(found.points) == {"train/loss": 1.0, "train/top/k": 5.0, "lr": 0.1}
    assert {point.step for point in found.points} == {3}


def test_what_is_dropped_is_told_with_the_first_of_it() -> None:
    found = parse_metrics('{"loss": 1}\nloss: 2\n{"loss": "x"}\n', at=0.0)
    assert (found.dropped, found.example) == (2, "loss: 2")


async def test_a_sentence_tells_it() -> None:
    kept = Kept("x", "process", "x")
    await kept.read(_Agent('{"loss": 1}\nloss: 2\n{"loss": "x"}\n', 100), final=True)
    assert "2 left out" in kept.reader.sentence()
    assert "loss: 2" in kept.reader.sentence()
