"""A small file cannot make a pipeline of gigabytes."""

from __future__ import annotations

import pytest

from hostler.base.errors import PipelineError
from hostler.base.json_types import JsonTable
from hostler.spec import matrix
from hostler.spec.pipeline import read_pipeline

HEAD = 'name = "x"\n'
LONG = f"{HEAD}[params]\np = '{'y' * 4000}'\n[stages.a]\ncommand = ['a']\n"
REPEATED = [f"{number}{'{params.p}' * 300}" for number in range(80)]
LISTED = ", ".join(f'"{text}"' for text in REPEATED)
TABLE = "".join(f'V{number} = "{text}"\n' for number, text in enumerate(REPEATED))


def line(cells: int, command: str) -> str:
    """A stage of so many cells with one shell line."""
    matrix = ", ".join(map(str, range(cells)))
    head = f"{HEAD}[stages.a]\nshell = true\nmatrix = {{ i = [{matrix}] }}\n"
    return f"{head}command = '''{command}'''\n"


@pytest.mark.parametrize(
    "text",
    [
        line(3000, "x" * 100_000),
        line(3000, "{matrix.i}" + "x" * 99_000),
        f"{LONG}[stages.a.env]\n{TABLE}",
        f"{LONG}[defaults.env]\n{TABLE}",
        f"{LONG}matrix = {{ i = [{LISTED}] }}\n",
    ],
    ids=["constant", "cell", "parameter", "defaults", "matrix"],
)
def test_what_comes_to_too_much_is_refused_before_it_is_made(text: str) -> None:
    assert len(text) < 500_000
    with pytest.raises(PipelineError) as caught:
        read_pipeline(text, file="pipeline.toml")
    assert any("is larger than 64 MiB" in p.message for p in caught.value.problems)


@pytest.mark.slow
def test_ten_thousand_cells_of_usual_size_are_none_too_many() -> None:
    text = line(10_000, "{matrix.i}" + "x" * 3000)
    assert len(read_pipeline(text, file="pipeline.toml").stages) == 10_000


def test_cells_of_refused_matrices_count(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    product = matrix._Reader.product

    def counted(self: matrix._Reader, table: JsonTable) -> list[matrix.Cell]:
        cells = product(self, table)
        made.append(len(cells))
        return cells

    monkeypatch.setattr(matrix._Reader, "product", counted)
    twice = "command = ['a']\nmatrix = { a = [1, 1], b = { from = 1, to = 3000 } }\n"
    text = HEAD + "".join(f"[stages.a{number}]\n{twice}" for number in range(10))
    with pytest.raises(PipelineError) as caught:
        read_pipeline(text, file="pipeline.toml")
    assert made == [6000, 6000]
    assert any("more than 10000 stages" in p.message for p in caught.value.problems)
