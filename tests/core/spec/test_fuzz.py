"""Whatever a file holds: a pipeline, or an error that says what is wrong. Never a traceback."""

from __future__ import annotations

import random
import shlex
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from hostler.base.errors import ConfigError, InputError, PipelineError
from hostler.base.keys import keys_of
from hostler.base.readers import split_command
from hostler.model.codec import from_json, to_json
from hostler.model.config import Config
from hostler.model.pipeline_file import PipelineTable, StageTable
from hostler.model.pipelines import Pipeline, Resources
from hostler.spec.config import read_config
from hostler.spec.pipeline import read_pipeline
from tests.core.spec.test_pipeline import DIGITS
from tests.support.worlds.hypothesis_profiles import examples

NASTY = [
    "", "'", '"', "$(touch /tmp/pwn)", "`x`", "a\nb", "\0", "../x", "-rf", "é🙂", "\u202ex",
    "y" * 99, "{params.x}", "{matrix.i}", "b", "b.0", "b.@", "b.*.o", "1h", "1GiB", "docker",
]  # fmt: skip
nasty = st.sampled_from(NASTY)
scalars = nasty | st.integers(-3, 3) | st.booleans() | st.floats(-2, 2) | st.dates()
anything = st.recursive(
    scalars,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(nasty | st.just("i"), x, max_size=3),
    max_leaves=5,
)
resources = st.dictionaries(st.sampled_from(list(keys_of(Resources))), anything, max_size=3)
stage = st.dictionaries(
    st.sampled_from([*keys_of(StageTable), "nodes", "x"]), anything, max_size=6
).flatmap(lambda table: resources.map(lambda r: {"command": "x", **table, "resources": r}))
files = st.fixed_dictionaries(
    {"name": st.just("t") | nasty, "stages": st.dictionaries(st.sampled_from("abc"), stage)},
    optional={key: anything for key in keys_of(PipelineTable) if key not in ("name", "stages")},
)


def tried(text: str) -> Pipeline | None:
    try:
        return read_pipeline(text, file="f", params={"x": "1"}, glob=lambda p: [p, p + "x"])
    except PipelineError as error:
        said(error)
        return None


def said(error: InputError) -> None:
    """An error names its problems, each with words."""
    assert error.problems
    assert all(problem.message for problem in error.problems)


@given(table=files)
@examples(50)
def test_any_table(table: dict[str, Any]) -> None:
    pipeline = tried(tomli_w.dumps(table))
    if pipeline is not None:
        assert from_json(Pipeline, to_json(pipeline)) == pipeline
        check_order(pipeline)


def check_order(pipeline: Pipeline) -> None:
    """Names are unique, all needs exist, and something can always go first."""
    left = {stage.name: set(stage.needs) for stage in pipeline.stages}
    assert len(left) == len(pipeline.stages)
    while left:
        ready = {name for name, needs in left.items() if not needs & set(left)}
        assert ready
        left = {name: needs for name, needs in left.items() if name not in ready}


@given(seed=st.integers(0, 2**32), changes=st.integers(1, 6))
@examples(50)
def test_a_good_file_with_characters_changed(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    text = list(DIGITS)
    for _ in range(changes):
        at = chance.randrange(len(text))
        text[at] = chance.choice(["", "\n", '"', *"{}[]='ß\0", text[at] * 2])
    tried("".join(text))


@given(text=st.text(max_size=60))
@examples(50)
def test_any_text(text: str) -> None:
    tried(text)
    try:
        read_config(text, file="f")
    except ConfigError as error:
        said(error)


@given(text=st.text(st.sampled_from("ab \t\n\x0b\x1f\"'\\#$é\xa0")))
@examples(60)
def test_commands_are_split_as_a_shell_would(text: str) -> None:
    try:
        expected = shlex.split(text)
    except ValueError:
        with pytest.raises(ValueError, match="cannot be split"):
            split_command(text)
        return
    assert split_command(text) == expected


sections = dict.fromkeys(keys_of(Config), anything)
hosts = st.dictionaries(
    nasty | st.sampled_from(["g[1-3]", "g[2-4]", "g2", "g[1-", "[1-9999]"]),
    st.dictionaries(st.sampled_from(["user", "port", "address", "env", "x"]), anything, max_size=3),
    max_size=3,
)


@given(table=st.fixed_dictionaries({}, optional={**sections, "hosts": hosts | anything}))
@examples(60)
def test_any_config(table: dict[str, Any]) -> None:
    try:
        config = read_config(tomli_w.dumps(table), file="f")
    except ConfigError as error:
        said(error)
    else:
        assert len({host.name for host in config.hosts}) == len(config.hosts) > 0
