"""What a secret may be called and hold, and what looks like one."""

from __future__ import annotations

import pytest

from hostler.base.secret_rules import (
    MAX_VALUE,
    check_secret_value,
    is_masked,
    looks_secret,
    read_secret_name,
    too_large_together,
)


@pytest.mark.parametrize("name", ["HF_TOKEN", "_x", "a", "A" * 64, "Path", "ENVIRONMENT", "USERS"])
def test_names(name: str) -> None:
    assert read_secret_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "1A", "A-B", "A B", "A\n", "A" * 65, "Ä", "A=B", "../x", "A/B", "{params.x}", None, 7,
        "PATH", "HOME", "SHELL", "USER", "IFS", "ENV", "BASH_ENV", "LD_PRELOAD", "LD_",
        "PYTHONPATH", "PYTHON", "HOSTLER_SECRETS", "HOSTLER_", "CUDA_VISIBLE_DEVICES",
        "NVIDIA_VISIBLE_DEVICES",
    ],
)  # fmt: skip
def test_other_names(name: object) -> None:
    with pytest.raises(ValueError, match="cannot name a secret"):
        read_secret_name(name)


@pytest.mark.parametrize(
    "value", ["x", "a\nb\n", "ä" * 8000, "x" * MAX_VALUE, "\n" * 200, "\t\x1b"]
)
def test_values(value: str) -> None:
    check_secret_value(value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "empty"),
        ("sesame\0", "NUL"),
        ("sesame\ud800", "Unicode"),
        ("sesame" + "x" * MAX_VALUE, "bytes, more than 16,384"),
        ("ä" * (MAX_VALUE // 2 + 1), "bytes, more than"),
        ("sesame\n" * 201, "201 lines, more than 200"),
    ],
)
def test_other_values_are_not_echoed(value: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        check_secret_value(value)
    assert "sesame" not in str(caught.value)


def test_all_of_a_stage_have_a_limit() -> None:
    assert too_large_together(["x" * MAX_VALUE] * 4) is None
    assert "65,537 bytes together" in str(too_large_together(["x" * MAX_VALUE] * 4 + ["x"]))


def test_short_values_are_not_masked() -> None:
    assert is_masked("12345678")
    assert not is_masked("1234567")
    assert not is_masked(" 1234567\n")


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "hf-token",
        "HF_TOKEN",
        "api_key",
        "apiKey",
        "APIKEY",
        "db.password",
        "Secret",
        "key",
    ],
)
def test_what_looks_like_a_secret(name: str) -> None:
    assert looks_secret(name, "abc")
    assert looks_secret(name, "12ab")
    for number in ("1", "-3", "1e-4", "0.5", "1_000", ".5", "true", "False", " 7 "):
        assert not looks_secret(name, number)


@pytest.mark.parametrize(
    "name", ["lr", "tokens", "token_count", "keys", "keyword", "passwords", ""]
)
def test_what_does_not(name: str) -> None:
    assert not looks_secret(name, "abc")
