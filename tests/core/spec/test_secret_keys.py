"""`secrets`, `secret_files` and variables of the submitter in pipeline files and commands."""

from __future__ import annotations

import pytest

from hostler.base.errors import PipelineError
from hostler.model.pipelines import Stage
from hostler.spec.pipeline import command_pipeline, read_pipeline


def stages(text: str) -> tuple[Stage, ...]:
    return read_pipeline(f'name = "x"\n{text}', file="x").stages


def told(text: str) -> str:
    with pytest.raises(PipelineError) as caught:
        stages(text)
    return "\n".join(map(str, caught.value.problems))


def test_names_are_a_stages_own_or_a_default() -> None:
    one, two = stages(
        """
        [defaults]
        secrets = ["HF_TOKEN"]
        env = { A = "1", B = { from = "submitter" } }
        [stages.one]
        command = "true"
        secret_files = ["KEY", "HF_TOKEN"]
        [stages.two]
        command = "true"
        secrets = []
        env = { B = "here" }
        """
    )
    assert (one.secrets, one.secret_files) == (("HF_TOKEN", "B"), ("KEY",))
    assert (one.from_submitter, one.env) == (("B",), {"A": "1"})
    assert one.named_secrets == ("HF_TOKEN", "B", "KEY")
    assert (two.secrets, two.from_submitter, two.env) == ((), (), {"A": "1", "B": "here"})


def test_one_from_the_submitter_stays_so_where_it_is_named_twice() -> None:
    (one,) = stages(
        '[stages.one]\ncommand = "true"\nsecrets = ["A", "B"]\nenv = { A = { from = "submitter" } }'
    )
    assert (one.secrets, one.from_submitter, one.env) == (("A", "B"), ("A",), {})


def test_each_cell_has_them() -> None:
    cells = stages(
        '[stages.one]\ncommand = "run {matrix.x}"\nsecrets = ["A"]\nmatrix = { x = [1, 2] }'
    )
    assert [cell.secrets for cell in cells] == [("A",), ("A",)]


def test_a_command_has_them_too() -> None:
    (one,) = command_pipeline(["true"], secrets=["A"], secret_files=["B"]).stages
    assert (one.secrets, one.secret_files) == (("A",), ("B",))
    with pytest.raises(PipelineError) as caught:
        command_pipeline(["true"], secrets=["PATH"])
    assert str(caught.value.problems[0]).startswith("secrets[0]: PATH cannot name a secret")


def test_what_is_wrong_is_told() -> None:
    said = told(
        """
        [stages.a]
        command = "true"
        secrets = ["LD_PRELOAD", "{params.x}", "hf-token", 7]
        env = { C = { from = "shell" }, PATH = { from = "submitter" }, D = { from = "submitter", x = 1 } }
        """  # noqa: E501
    )
    assert "stages.a.secrets[0]: LD_PRELOAD cannot name a secret" in said
    assert "stages.a.secrets[1]: '{params.x}' cannot name a secret" in said  # it is not filled in
    assert "stages.a.secrets[2]: 'hf-token' cannot name a secret" in said
    assert "stages.a.secrets[3]: '7' cannot name a secret" in said
    assert 'C should be text, or { from = "submitter" }' in said
    assert 'D should be text, or { from = "submitter" }' in said
    assert "PATH cannot name a secret" in said
    assert "should be a list" in told('[stages.a]\ncommand = "true"\nsecrets = "HF_TOKEN"')


def test_a_secret_and_a_variable_of_one_name_are_refused() -> None:
    said = told('[stages.a]\ncommand = "true"\nsecrets = ["A"]\nenv = { A = "1" }')
    assert said == (
        "line 4: stages.a.secrets: A is a variable in `env`, too (remove it from one of them)"
    )


def test_a_stage_takes_so_many() -> None:
    names = ", ".join(f'"N{number}"' for number in range(20))
    files = names.replace("N", "F")
    said = told(f'[stages.a]\ncommand = "true"\nsecrets = [{names}]\nsecret_files = [{files}]')
    assert "a stage takes at most 32 secrets, not 40" in said
