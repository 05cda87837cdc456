"""The search through all runs, against the same search written plainly."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.base.errors import InputError
from hostler.insight.search import COLUMNS, Search, read_conditions, read_order
from hostler.model.records import RunFilter
from hostler.model.runs import Outcome, Phase, Source
from hostler.model.views.runs import RunRow
from hostler.store import filters
from hostler.store.database import Store
from tests.support.values import stored

PARAMS: list[dict[str, Any]] = [
    {"lr": 0.1, "model": "resnet"},
    {"lr": "0.1", "fast": True},
    {"lr": 0.01, "model": "vit"},
    {"lr": 1, "fast": False, "odd.name": 3},
    {},
]
ACCURACY: list[float | None] = [0.5, 0.9, None, math.nan, 0.95]


async def fill(store: Store) -> None:
    for number, (params, accuracy) in enumerate(zip(PARAMS, ACCURACY, strict=True)):
        run_id = f"r{number}aaaaa"
        run = stored.run(
            run_id,
            params=params,
            submitted_at=100.0 + number,
            owner="bo" if number % 2 else "ana",
            title=f"Title {number}",
            source=Source(git_commit=f"c0ffee{number}", path="/home/ana"),
            stages=(stored.stage("a"), stored.stage("b")),
        )
        await store.create_run(run, "", [])
        first = {"accuracy": 0.1, "loss": float(number)}
        for stage, metrics in (
            ("a", first),
            ("b", {} if accuracy is None else {"accuracy": accuracy}),
        ):
            attempt = stored.attempt(run_id, stage, gpus=())
            await store.add_attempt(attempt)
            ended = stored.attempt(
                run_id,
                stage,
                gpus=(),
                phase=Phase.FAILED if number == 4 and stage == "b" else Phase.SUCCEEDED,
                started_at=200.0,
                finished_at=200.0 + number,
                metrics=metrics,
                usage={"gpu_seconds_allocated": 3600.0 * number, "energy_wh": 5.0},
            )
            await stored.put_attempt(store, ended)
        outcome = Outcome.FAILED if number == 4 else Outcome.SUCCEEDED
        await store.end_run(run_id, outcome, 200.0 + number)


@pytest.fixture(scope="module")
def filled() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:

        async def make() -> None:
            store = await Store.open(Path(folder))
            await fill(store)
            await store.close()

        asyncio.run(make())
        yield Path(folder)


def find(
    folder: Path, wanted: Search, limit: int = 100, offset: int = 0
) -> tuple[int, list[RunRow]]:
    async def ask() -> tuple[int, list[RunRow]]:
        store = await Store.open(folder)
        try:
            return await store.search_runs(wanted, limit, offset)
        finally:
            await store.close()

    return asyncio.run(ask())


def numbers(folder: Path, **wanted: Any) -> list[int]:
    total, found = find(folder, Search(**wanted))
    assert total == len(found)
    return [int(summary.run_id[1]) for summary in found]


@pytest.mark.parametrize(
    ("params", "metrics", "expected"),
    [
        (["lr=0.1"], [], [1, 0]),
        (["lr=1e-1"], [], [0]),
        (["lr!=0.1"], [], [3, 2]),
        (["lr<1"], [], [2, 0]),
        (["lr>=0.1"], [], [3, 0]),
        (["lr>0.01", "model=resnet"], [], [0]),
        (["fast=true"], [], [1]),
        (["fast=false"], [], [3]),
        (["fast!=true"], [], [3]),
        (["odd.name=3"], [], [3]),
        (["nothing=1"], [], []),
        ([], ["accuracy>=0.9"], [4, 1]),
        ([], ["accuracy<0.9"], [2, 0]),
        ([], ["accuracy=0.5"], [0]),
        ([], ["accuracy!=0.5"], [4, 2, 1]),
        ([], ["accuracy>0.2", "loss<2"], [1, 0]),
        (["lr=0.1"], ["accuracy>0.6"], [1]),
    ],
)
def test_conditions(
    filled: Path, params: list[str], metrics: list[str], expected: list[int]
) -> None:
    found = numbers(
        filled,
        params=read_conditions(params, numbers=False),
        metrics=read_conditions(metrics, numbers=True),
    )
    assert found == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (None, [4, 3, 2, 1, 0]),
        ("submitted", [0, 1, 2, 3, 4]),
        ("-accuracy", [4, 1, 0, 2, 3]),
        ("accuracy", [2, 0, 1, 4, 3]),
        ("-took", [4, 3, 2, 1, 0]),
        ("gpu_hours", [0, 1, 2, 3, 4]),
        ("state", [4, 3, 2, 1, 0]),
        ("loss", [0, 1, 2, 3, 4]),
    ],
)
def test_sorting_puts_the_unknown_last(filled: Path, sort: str | None, expected: list[int]) -> None:
    assert numbers(filled, order=read_order(sort)) == expected


def test_a_parameter_of_a_metrics_name_is_not_sorted_among_its_values(tmp_path: Path) -> None:
    async def fill_both() -> None:
        store = await Store.open(tmp_path)
        for number, (param, metric) in enumerate([(9, 0.5), (8, None), (0.1, 0.9), (7, None)]):
            run_id, params = f"r{number}aaaaa", {"accuracy": param}
            await store.create_run(
                stored.run(run_id, params=params, submitted_at=100.0 + number), "", []
            )
            if metric is not None:
                await store.add_attempt(stored.attempt(run_id, gpus=()))
                ended = stored.attempt(run_id, gpus=(), phase=Phase.SUCCEEDED)
                await stored.put_attempt(store, replace(ended, metrics={"accuracy": metric}))
        await store.close()

    asyncio.run(fill_both())
    assert numbers(tmp_path, order=read_order("-accuracy")) == [2, 0, 3, 1]
    assert numbers(tmp_path, order=read_order("accuracy")) == [0, 2, 3, 1]
    given = read_conditions(["accuracy>=7", "accuracy<9"], numbers=False)
    assert numbers(tmp_path, params=given, order=read_order("accuracy")) == [3, 1]


def test_the_columns_to_sort_by_are_those_that_people_are_told() -> None:
    assert tuple(filters.COLUMNS) == COLUMNS


def test_text_and_the_columns_of_the_list(filled: Path) -> None:
    assert numbers(filled, text="COFFEE3".lower()) == []
    assert numbers(filled, text="C0FFEE3") == [3]
    assert numbers(filled, text="title 2") == [2]
    assert numbers(filled, text="resnet") == [0]
    assert numbers(filled, text="%") == []
    assert numbers(filled, runs=RunFilter(owner="bo", state="succeeded", until=103.0)) == [1]
    with pytest.raises(InputError):
        numbers(filled, runs=RunFilter(state="odd"))


def test_a_page_says_how_many_there_are(filled: Path) -> None:
    total, (last,) = find(filled, Search(), limit=1, offset=0)
    assert (total, last.run_id) == (5, "r4aaaaa")
    assert (last.failed_stage, last.cause) == ("b", "b: user error")
    assert (last.started_at, last.energy_wh, last.gpu_seconds) == (200.0, 10.0, 28_800.0)
    assert find(filled, Search(), limit=2, offset=4)[1][0].run_id == "r0aaaaa"
    assert find(filled, Search(), limit=2, offset=9) == (5, [])


names = st.sampled_from(["lr", "model", "fast", "accuracy", "o'dd", "x%y", "日本", "a.b$c[0]"])
values = st.text(max_size=8) | st.floats().map(str)


@given(
    params=st.lists(st.tuples(names, st.sampled_from(["=", "!="]), values), max_size=3),
    metrics=st.lists(
        st.tuples(names, st.sampled_from(["<", "<=", "=", "!=", ">", ">="]), st.floats(-9, 9)),
        max_size=3,
    ),
    text=st.none() | st.text(max_size=5),
    sort=st.none() | names,
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_searched_for_is_only_data(
    filled: Path, params: Any, metrics: Any, text: str | None, sort: str | None
) -> None:
    wanted = Search(
        params=read_conditions(("".join(p) for p in params), numbers=False),
        metrics=read_conditions((f"{n}{o}{v}" for n, o, v in metrics), numbers=True),
        text=text and text.encode("utf-8", "replace").decode(),
        order=read_order(sort),
    )
    total, found = find(filled, wanted)
    assert total == len(found) <= 5
