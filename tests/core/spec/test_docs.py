"""The reference and the example say what the models know, no more and no less."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import hostler
from hostler.base.errors import PipelineError
from hostler.base.keys import keys_of
from hostler.model.config import Config
from hostler.model.pipeline_file import PipelineTable
from hostler.spec.config import read_config
from hostler.spec.pipeline import read_pipeline

ROOT = Path(__file__).parents[3]
PIPELINE = (ROOT / "docs/pipeline.md").read_text(encoding="utf-8")
COMING = (ROOT / "docs/coming-from.md").read_text(encoding="utf-8")
CONFIG = (ROOT / "docs/config.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "config.example.toml").read_text(encoding="utf-8")
SECTIONS = tuple(keys_of(Config))


def blocks(text: str) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def all_keys(table: type) -> set[str]:
    """The keys of a table and of all tables in it."""
    found = set(keys_of(table))
    for key in keys_of(table).values():
        for inner in key.kind.tables:
            found |= all_keys(inner)
    return found


def uncommented(text: str) -> str:
    return re.sub(r"^#(?=[^ \n#])", "", text, flags=re.MULTILINE)


def as_pipeline(block: str) -> str:
    """A fragment of a stage, or of a file, as a whole file."""
    values = tomllib.loads(block)
    if not set(values) & set(keys_of(PipelineTable)):
        values = {"stages": {"fragment": values}}
    values.setdefault("name", "doc")
    values.setdefault("stages", {"x": {"command": "x"}})
    values.setdefault("params", {}).update(
        archive="a.gz", max_loss=1.0, augment=True, data="small", gpus=1
    )
    others = values["stages"]
    for stage in list(others.values()):
        if stage.get("kind") != "build":
            stage.setdefault("command", "x")
        if stage.get("kind") == "gate":
            stage.setdefault("pass", ["accuracy > 0"])
        if "pass" in stage:
            stage["kind"] = "gate"
        if "max_parallel" in stage:
            stage.setdefault("matrix", {"lr": [1, 2]})
        if "when" in stage:
            stage["needs"] = ["train", "pre-train"]
    if "fragment" in others:
        matrix = {"shard": [0, 1]}
        model = {"outputs": {"model": "m"}, "command": "x"}
        others |= {
            "prepare": {"command": "x", "matrix": matrix, "outputs": {"shard": "o"}},
            "download": {"command": "x", "matrix": matrix},
            "train": model, "pre-train": model, "small": model, "large": model,
        }  # fmt: skip
    return dumps(values)


def dumps(values: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(values)


@pytest.mark.parametrize("block", blocks(PIPELINE) + blocks(COMING))
def test_every_block_of_the_pipeline_reference_is_a_pipeline(block: str) -> None:
    pipeline = read_pipeline(
        as_pipeline(block),
        file="docs",
        glob=lambda pattern: [pattern.replace("*", "a")],
        lines={"args.txt": ("--lr 0.1",)},
    )
    assert pipeline.stages


@pytest.mark.parametrize("block", blocks(CONFIG))
def test_every_block_of_the_config_reference_is_a_config(block: str) -> None:
    values = tomllib.loads(block)
    if not set(values) & set(SECTIONS) or block.startswith("env ="):
        block = f"[hosts.fragment]\n{block}"
    assert read_config(block, file="docs") != Config()


def test_every_key_of_a_pipeline_is_in_the_reference() -> None:
    missing = {
        key
        for key in all_keys(PipelineTable) - {"glob", "lines", "from", "to", "step"}
        if f"### {key}\n" not in PIPELINE and f"| `{key}` |" not in PIPELINE
    }
    assert missing == set()
    for form in ('{ glob = "', '{ lines = "', "{ from = "):
        assert form in PIPELINE


def test_the_pipeline_reference_describes_no_other_key() -> None:
    described = set(re.findall(r"^### (\w+)$", PIPELINE, re.MULTILINE))
    assert described <= all_keys(PipelineTable)


def test_every_key_of_the_config_is_in_the_reference() -> None:
    known = all_keys(Config)
    described = set(re.findall(r"^### (\w+)$", CONFIG, re.MULTILINE))
    described |= set(re.findall(r"^## \[(\w+)\]$", CONFIG, re.MULTILINE))
    described |= set(re.findall(r"^\| `(\w+)` \|", CONFIG, re.MULTILINE))
    assert described == known


def test_every_example_in_the_reference_is_checked() -> None:
    assert len(blocks(PIPELINE)) > 30
    assert len(blocks(CONFIG)) > 25
    with pytest.raises(PipelineError):
        read_pipeline(as_pipeline("gpu = 1\n"), file="docs")


def test_the_example_config_as_it_is_says_nothing_but_defaults() -> None:
    assert read_config(EXAMPLE, file="config.example.toml") == Config()


def test_the_example_config_has_every_key() -> None:
    values = tomllib.loads(uncommented(EXAMPLE))
    host: dict[str, object] = {}
    for table in values["hosts"].values():
        host |= table
    present = set(values) | set(host)
    for section in (
        "daemon",
        "policy",
        "limits",
        "shared",
        "docker",
        "packages",
        "slurm",
        "gateway",
    ):
        present |= set(values[section])
    present |= set(values["mounts"]["data"])
    assert present == all_keys(Config)


def test_the_example_config_shows_the_defaults() -> None:
    config, default = read_config(uncommented(EXAMPLE), file="x"), Config()
    assert config.policy == default.policy
    assert config.limits == default.limits
    assert config.daemon.allow == default.daemon.allow
    assert config.daemon.operators == default.daemon.operators
    assert config.daemon.look_interval == default.daemon.look_interval
    assert config.daemon.look_timeout == default.daemon.look_timeout
    assert config.daemon.connect_timeout == default.daemon.connect_timeout
    gpu1 = config.host("gpu1")
    gpu5 = config.host("gpu05")
    assert gpu1 is not None
    assert gpu5 is not None
    assert (gpu5.transport, gpu5.python, gpu5.runtimes) == (
        gpu1.transport,
        gpu1.python,
        gpu1.runtimes,
    )
    assert config.mounts[0].read_only
    assert not config.mounts[0].default


def test_the_example_config_travels_in_the_package() -> None:
    inside = Path(hostler.__file__).parent / "config.example.toml"
    assert inside.read_text(encoding="utf-8") == EXAMPLE
