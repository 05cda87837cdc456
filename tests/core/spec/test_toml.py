"""TOML of any kind: lines of keys, and texts that mean harm."""

from __future__ import annotations

import time
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import ConfigError, PipelineError
from hostler.spec.config import read_config
from hostler.spec.pipeline import read_pipeline
from hostler.spec.problems import Path, positions
from hostler.spec.toml import load
from tests.support.worlds.hypothesis_profiles import examples

MIB = 1024 * 1024


def test_lines_of_keys() -> None:
    text = '''
# comment = 1
name = "x" # c
[a.b]
c = [1,
  # in between
  2, { x = 1, "y z" = [3,
  4] }]
"q.\\u0041" = """multi
[not.header]
x = "y"""""
d.e.f = 1979-05-27 07:32:00
g = 'it"s'
[[t]]
a = 1
[[t]]
a = 2
[t.sub]
z = 1
[[t.list]]
[[t.list]]
end = true'''
    lines = positions(text)
    assert lines[("name",)] == 3
    assert lines[("a", "b")] == 4
    assert lines[("a", "b", "c")] == 5
    assert lines[("a", "b", "c", 1)] == 7
    assert lines[("a", "b", "c", 2, "y z", 1)] == 8
    assert lines[("a", "b", "q.A")] == 9
    assert lines[("a", "b", "d", "e", "f")] == 12
    assert lines[("a", "b", "g")] == 13
    assert [lines[("t", n, "a")] for n in (0, 1)] == [15, 17]
    assert lines[("t", 1, "sub", "z")] == 19
    assert lines[("t", 1, "list", 1, "end")] == 22
    assert positions(text.replace("\n", "\r\n")) == lines


def all_paths(value: Any, path: Path = ()) -> set[Path]:
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, item in value.items():
            found |= all_paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found |= all_paths(item, (*path, index))
    return found


scalars = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.integers(-9, 99)
    | st.booleans()
    | st.datetimes()
)
keys = st.text(st.sampled_from("ab_-9. \"'é#[]=\n\\"), max_size=4)
values = st.recursive(
    scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(keys, x, max_size=3), max_leaves=8
)


@given(table=st.dictionaries(keys, values, max_size=4), multiline=st.booleans())
@examples(60)
def test_every_key_of_any_file_has_a_line(table: dict[str, Any], multiline: bool) -> None:
    text = tomli_w.dumps(table, multiline_strings=multiline)
    lines = positions(text)
    assert all_paths(table) <= set(lines)
    count = text.count("\n") + 1
    assert all(1 <= line <= count for line in lines.values())


HOSTILE = {
    "long key": "a." * (MIB // 2 - 5) + "b=1",
    "long quoted key": '"a".' * 200_000 + "b=1",
    "many keys under a long header": "[" + ".".join("a" * 15) + "]\n" + "b=1\n" * 9,
    "deep lists": "a=" + "[" * (MIB - 9),
    "deep tables": "a=" + "{a=" * 300_000,
    "closed deep lists": "a=" + "[" * 200 + "]" * 200,
    "deep but readable": "[a.b.c.d.e.f.g.h.i.j.k.l.m.n]\nx=1",
    "huge number": "a=" + "9" * (MIB - 9),
    "huge hex": "a=0x" + "f" * (MIB - 9),
    "not finite": "a=nan",
    "infinite": "[params]\na=-inf",
    "open string": 'a="' + "x" * (MIB - 9),
    "quotes": '"' * MIB,
    "one word": "a" * MIB,
    "nul": 'a="\\u0000"',
    "nul key": '"\\u0000"=1',
    "bidi key": '"\\u202e"=1',
    "surrogate": "a='\ud800'",
    "escape bytes": "a='\x1b[2J'",
    "too large": "#" * (MIB + 1),
    "a hundred megabytes": "#" * (100 * MIB),
    "numbers": "a=[" + "1," * (MIB // 4) + "]",
    "tables": "[[a]]\n" * (MIB // 14),
    "not toml": "\x00\xff",
    "dates": "a = 2020-99-99",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_in_time(text: str) -> None:
    started = time.process_time()
    with pytest.raises(PipelineError) as caught:
        read_pipeline(text, file="x.toml")
    assert caught.value.problems
    assert time.process_time() - started < 10, "minutes would mean a quadratic reader"


def test_a_hostile_config_is_refused_by_the_same_reader() -> None:
    with pytest.raises(ConfigError):
        read_config(HOSTILE["deep lists"], file="x.toml")


@pytest.mark.parametrize(
    ("text", "line"), [("a=1\nb=", 2), ("a=1\na=2\n", 2), ('\n\nx="""', 3), ("[a\n", 1), ("=", 1)]
)
def test_syntax_errors_have_their_line(text: str, line: int) -> None:
    with pytest.raises(PipelineError) as caught:
        load(text, "p.toml", PipelineError)
    assert caught.value.problems[0].line == line
    assert f"p.toml line {line}" in str(caught.value)
    assert "at line" not in str(caught.value)


def test_a_byte_order_mark_is_no_problem() -> None:
    assert load("\ufeffa = 1", "x", PipelineError)[0] == {"a": 1}
