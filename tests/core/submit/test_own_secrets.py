"""Secrets that a submission brings along: by name from the environment, never in a message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hostler.base.errors import InputError
from hostler.base.json_types import JsonTable
from hostler.submit.body import command_body, pipeline_body
from hostler.submit.secrets import (
    all_own_secrets,
    check_params,
    own_secrets,
    told_variables,
    with_own,
)

ENVIRON = {"HF_TOKEN": "sesame-1", "EMPTY": "", "ODD": "sesame\udcff", "LONG": "sesame" * 4000}


def test_values_are_those_of_the_environment_or_as_given() -> None:
    assert own_secrets(["HF_TOKEN", "GONE"], ENVIRON) == {"HF_TOKEN": "sesame-1"}
    assert own_secrets({"HF_TOKEN": "other"}, ENVIRON) == {"HF_TOKEN": "other"}
    assert all_own_secrets(["HF_TOKEN"], ENVIRON) == {"HF_TOKEN": "sesame-1"}
    assert with_own({}) == {}
    with pytest.raises(InputError, match="your shell does not set this variable") as caught:
        all_own_secrets(["HF_TOKEN", "GONE"], ENVIRON)
    assert "hostler secret set GONE" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("HF_TOKEN=sesame", "a command line must not contain the value"),
        ("EMPTY", "the value is empty"),
        ("ODD", "no valid Unicode"),
        ("LONG", "bytes, more than"),
        ("PATH", "cannot name a secret"),
        ("hf-token", "cannot name a secret"),
    ],
)
def test_what_is_refused_does_not_echo_a_value(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        own_secrets([name], ENVIRON)
    assert "sesame" not in str(caught.value)


def test_a_command_names_them_and_brings_along_what_there_is(tmp_path: Path) -> None:
    body = command_body(["true"], {"secrets": ["HF_TOKEN", "GONE"]}, ENVIRON, tmp_path)
    assert body["command"]["secrets"] == ["HF_TOKEN", "GONE"]  # type: ignore[index,call-overload]
    assert body["secrets"] == {"HF_TOKEN": "sesame-1"}
    body = command_body(["true"], {"secrets": {"A": "sesame-2"}}, ENVIRON, tmp_path)
    assert body["command"]["secrets"] == ["A"]  # type: ignore[index,call-overload]
    assert body["secrets"] == {"A": "sesame-2"}
    assert "secrets" not in command_body(["true"], {}, ENVIRON, tmp_path)


def test_a_value_that_the_shell_put_into_the_command_is_refused(tmp_path: Path) -> None:
    named: JsonTable = {"secrets": ["HF_TOKEN"]}
    file = tmp_path / "pipeline.toml"
    file.write_text('name = "x"\n[stages.a]\ncommand = "login {t}"\nsecrets = ["HF_TOKEN"]\n')
    shown: list[Callable[[], object]] = [
        lambda: command_body(["sh", "-c", "login sesame-1"], named, ENVIRON, tmp_path),
        lambda: command_body(["true"], {**named, "env": ["A=x-sesame-1"]}, ENVIRON, tmp_path),
        lambda: pipeline_body(file, {"t": "sesame-1"}, ENVIRON, secrets=["HF_TOKEN"]),
        lambda: pipeline_body(file, {}, ENVIRON, ["sesame-1"], secrets=["HF_TOKEN"]),
    ]
    for call in shown:
        with pytest.raises(InputError, match="value of the secret HF_TOKEN is in") as caught:
            call()
        assert "sesame" not in str(caught.value)
        assert "'$HF_TOKEN'" in caught.value.remedy
    # A short one stands in many a word.
    command_body(["sh", "-c", "abc"], {"secrets": {"A": "abc"}}, ENVIRON, tmp_path)


def test_a_value_in_a_file_of_lines_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text(
        'name = "x"\n[stages.a]\ncommand = "x"\nmatrix = { i = { lines = "args.txt" } }\n'
    )
    (tmp_path / "args.txt").write_text("--user me\n--token sesame-1\n")
    with pytest.raises(InputError, match="value of the secret HF_TOKEN is in") as caught:
        pipeline_body(file, {}, ENVIRON, secrets=["HF_TOKEN"])
    assert "sesame" not in str(caught.value)


def test_a_pipeline_file_brings_them_along(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text('name = "x"\n[stages.a]\ncommand = "true"\nsecrets = ["HF_TOKEN"]\n')
    assert pipeline_body(file, {}, ENVIRON, secrets=["HF_TOKEN"])["secrets"] == {
        "HF_TOKEN": "sesame-1"
    }
    assert "secrets" not in pipeline_body(file, {}, ENVIRON)
    with pytest.raises(InputError, match="your shell does not set this variable"):
        pipeline_body(file, {}, ENVIRON, secrets=["GONE"])
    with pytest.raises(InputError, match="this looks like a secret") as caught:
        pipeline_body(file, {"hf-token": "sesame"}, ENVIRON)
    assert "sesame" not in str(caught.value)
    assert "--secret HF_TOKEN" in caught.value.remedy


def test_numbers_are_parameters_like_others() -> None:
    check_params({"max_token": "512", "lr": "0.1", "sort": "sesame", "pad_token": "-1"})
    for name in ("token", "API_KEY", "db.password", "client-secret"):
        with pytest.raises(InputError, match="parameters are stored and visible to all users"):
            check_params({name: "sesame"})


def test_variables_that_look_like_secrets_are_warned_of() -> None:
    given = ["A=1", "API_KEY=sesame", "MAX_TOKEN=5", "HF_TOKEN", "EMPTY"]
    lines = told_variables(given, ENVIRON)
    assert [line.split(" is stored")[0] for line in lines] == ["--env API_KEY", "--env HF_TOKEN"]
    assert "sesame" not in str(lines)
