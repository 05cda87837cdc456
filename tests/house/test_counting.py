"""The measures of the house count what they say, on made-up modules."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from tests.house import runtimes, sizes, words
from tests.house.measures import MEASURES
from tests.house.source import Module, Place, read_module


def made(text: str, path: str = "core/hostler/decide/a.py") -> Module:
    return read_module(path, dedent(text))


def lines(places: list[Place]) -> list[int]:
    return sorted(place.line for place in places)


def test_a_modules_name_is_what_an_import_calls_it() -> None:
    assert made("", "core/hostler/decide/plan.py").name == "hostler.decide.plan"
    assert made("", "tui/hostler_tui/__init__.py").name == "hostler_tui"


def test_any_is_counted_where_it_is_used_under_any_name() -> None:
    module = made(
        """\
        import typing as t
        from typing import Any, Any as Whatever, cast
        a: Any = 1
        b: dict[str, Whatever] = {}
        def f(x: t.Any, y: "list[Any]") -> "Any": ...
        c = cast("dict[str, Any]", a)
        Any2 = any = "Any"
        """
    )
    assert lines(words.anys([module])) == [3, 4, 5, 5, 5, 6]


def test_another_any_is_not_counted() -> None:
    assert words.anys([made("from here import Any\na: Any = 1\n")]) == []


def test_a_name_for_a_type_with_any_counts_wherever_it_goes() -> None:
    first = made("from typing import Any\nRun = dict[str, Any]\nx: Run = {}\n")
    second = made(
        "from hostler.decide.a import Run as Row\nRuns = list[Row]\ny: Runs = []\nz: int\n",
        "core/hostler/decide/b.py",
    )
    found = sorted(words.stand_ins([second, first]))
    assert [(place.path[-4:], place.line) for place in found] == [
        ("a.py", 3), ("b.py", 2), ("b.py", 3)
    ]  # fmt: skip
    assert lines(words.anys([first, second])) == [2]


def test_a_value_made_with_any_is_no_name_for_a_type() -> None:
    module = made("from typing import Any\nx = make(Any)\nprint(x)\n")
    assert words.stand_ins([module]) == []


def test_any_above_the_client_is_that_of_tui_and_cli() -> None:
    measure = next(m for m in MEASURES if m.name == "any_above_client")
    text = "from typing import Any\na: Any\n"
    paths = ["tui/hostler_tui/a.py", "core/hostler/cli/a.py", "core/hostler/client/a.py"]
    assert measure.value([made(text, path) for path in paths]) == 2


def test_casts_are_those_of_typing() -> None:
    module = made("import typing\nfrom typing import cast\ncast(int, 1)\ntyping.cast(int, 2)\n")
    assert lines(words.casts([module])) == [3, 4]
    assert words.casts([made("from sql import cast\ncast(int, 1)\n")]) == []


def test_ignores_are_comments_and_no_text() -> None:
    module = made('x = "# type: ignore"\ny = f()  # type: ignore[arg]\nz = 1  #type:ignore\n')
    assert lines(words.ignores([module])) == [2, 3]


def test_loose_dictionaries() -> None:
    module = made(
        """\
        a: dict[str, object]
        b: Mapping[str, object]
        c: dict[str, int]
        def f() -> "dict[str, object]": ...
        d: tuple[str, object]
        """
    )
    assert lines(words.loose_dicts([module])) == [1, 2, 4]


@pytest.mark.parametrize(
    "asks",
    [
        'stage.runtime == "docker"',
        '"process" != stage.runtime',
        '"docker" in host.runtimes',
        'runtime in ("docker", "process")',
        'folders = {"docker": 1, "process": 2}',
        'match runtime:\n    case "docker": pass',
        'match runtime:\n    case "docker" | other.name: pass',
        "runtime is RuntimeKind.DOCKER",
        "runtime is model.RuntimeKind.DOCKER",
        "runtime == CONTAINERS",
    ],
)
def test_a_question_for_a_runtimes_name(asks: str) -> None:
    kinds = 'CONTAINERS = "docker"\nclass RuntimeKind:\n    DOCKER = "docker"\n    P = "process"\n'
    model = made(kinds, "core/hostler/model/kinds.py")
    assert len(runtimes.questions([made(asks), model])) == 1


@pytest.mark.parametrize(
    "other",
    [
        "stage.gives_gpus",
        'stage.runtime == "slurm"',
        'run("docker")',
        '{"docker": version}',
        "holder is Holder.PROCESS",
        'class Holder:\n    PROCESS = "process"\n    RUN = "run"',
    ],
)
def test_what_is_no_question_for_a_runtimes_name(other: str) -> None:
    assert runtimes.questions([made(other)]) == []


def test_only_some_rooms_must_not_ask() -> None:
    asks = 'a == "docker"'
    must_not = ("core/hostler/daemon/a.py", "core/hostler/client.py", "tui/hostler_tui/a.py")
    may = ("core/hostler/runtimes/a.py", "core/hostler/spec/a.py", "agents/hostler_agent/a.py")
    assert len(runtimes.questions([made(asks, path) for path in must_not])) == len(must_not)
    assert runtimes.questions([made(asks, path) for path in may]) == []


def test_statements_are_counted_with_those_inside_and_without_docstrings() -> None:
    module = made(
        '''\
        """Docstring."""
        import a
        def f():
            """Docstring."""
            if a:
                return 1
            return 2
        '''
    )
    assert sizes.statements(module.tree) == 5
    assert sizes.statements_of_functions([module]) == [3]
    assert sizes.lengths_of_functions([module]) == [5]
    assert sizes.statements(ast.parse("a = 1; b = 2")) == 2


def test_spread_and_short_files() -> None:
    assert sizes.spread([1, 9, 2]) == sizes.Spread(2, 9)
    assert sizes.spread([]) == sizes.Spread(0, 0)
    sized = [made("a\n" * count, f"core/hostler/{count}.py") for count in (0, 1, 39, 40)]
    assert [place.path for place in sizes.short_files(sized)] == [
        "core/hostler/1.py", "core/hostler/39.py"
    ]  # fmt: skip


def test_files_that_name_a_field_count_once() -> None:
    measure = next(m for m in MEASURES if m.name == "gpu_memory")
    texts = ["gpu_memory = 1\ngpu_memory = 2\n", "gpu_memory_used = 1\n", "# of gpu_memory\n"]
    assert measure.value([made(text) for text in texts]) == 2
