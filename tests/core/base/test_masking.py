"""Values of secrets in what arrives: all of each is masked, whatever the pieces, nothing else."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostler.base.masking import Masker, mask, patterns_of
from tests.support.worlds.hypothesis_profiles import examples

TOKEN = "hf_Ab/9+zQ== x"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nshort\n-----END KEY-----\n"


def _in_pieces(data: bytes, values: list[str], cuts: list[int]) -> bytes:
    masker, at, given_ = Masker(values), 0, b""
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        given_ += masker.feed(data[at:cut])
        assert len(given_) + masker.held == cut
        at = cut
    return given_ + masker.rest()


def _plainly(data: bytes, values: list[str]) -> bytes:
    """What the masker should give, by looking at each place for each pattern."""
    result = bytearray(data)
    for pattern in patterns_of(values):
        for at in range(len(data)):
            if data.startswith(pattern, at):
                result[at : at + len(pattern)] = b"*" * len(pattern)
    return bytes(result)


@examples(100)
@given(
    st.lists(st.text("ab\n", min_size=8, max_size=12), min_size=1, max_size=3),
    st.text("ab\n*", max_size=60),
    st.lists(st.integers(0, 90), max_size=8),
    st.lists(st.integers(0, 60), max_size=3),
)
@example(["aaaaaaaa", "\naaaaaaaaa"], "\n", [], [1])  # the end may be a value, and holds another
def test_pieces_of_any_size_give_what_the_whole_gives(
    values: list[str], text: str, cuts: list[int], places: list[int]
) -> None:
    for value, place in zip(values, places, strict=False):
        text = text[:place] + value + text[place:]
    data = text.encode()
    assert _in_pieces(data, values, cuts) == _plainly(data, values)


@pytest.mark.parametrize(
    "spelled",
    [
        TOKEN,
        quote(TOKEN),
        quote(TOKEN, safe=""),
        quote(TOKEN, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d"),
        json.dumps(TOKEN)[1:-1],
        base64.b64encode(TOKEN.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("="),
    ],
)
def test_a_value_is_masked_however_it_is_spelled(spelled: str) -> None:
    masked = mask(f"<{spelled}>", [TOKEN])
    assert len(masked) == len(spelled) + 2
    kept = masked[1:-1].replace("*", "")
    assert len(kept) <= 2, kept  # of base64, characters that hold bits of what comes after, too
    assert masked.startswith("<*")


@pytest.mark.parametrize(
    "spelled",
    [
        r"päss&<\"it's\">/x",  # JSON of JavaScript, Rust and others
        r"p\u00e4ss&<\"it's\">\/x",  # of PHP
        r"päss\u0026\u003c\"it's\"\u003e/x",  # of Go
        r"""päss&<"it'\''s">/x""",  # `set -x` of bash
        """päss&<"it'"'"'s">/x""",  # of dash
    ],
)
def test_a_value_is_masked_however_others_quote_it(spelled: str) -> None:
    assert set(mask(spelled, ['päss&<"it\'s">/x'])) == {"*"}


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "user:"])
def test_base64_of_a_longer_text_is_masked_where_the_value_stands_in_it(before: str) -> None:
    value = "s3cr3t-v4lue-of-a-t0ken"
    encoded = base64.b64encode(f"{before}{value}&more".encode()).decode()
    masked = mask(encoded, [value])
    stars = masked.count("*")
    assert stars >= len(value) * 8 // 6 - 1
    assert len(masked) == len(encoded)


def test_each_line_of_a_value_and_all_of_it_are_masked() -> None:
    assert mask("x MIIEvQIBADANBgkqhkiG9w0BAQEFAASC y", [KEY]) == f"x {'*' * 32} y"
    assert set(mask(KEY, [KEY])) == {"*"}


def test_wrapped_base64_is_masked() -> None:
    value = "v" * 30 + "-0123456789-" + "w" * 60
    wrapped = base64.encodebytes(value.encode()).decode()
    assert len(wrapped.splitlines()) == 2
    assert set(mask(wrapped, [value])) <= set("*\n=") | set(wrapped.splitlines()[1][-4:])


def test_short_values_and_other_words_stay() -> None:
    text = "a secret1 of seven: 1234567, and a star *"
    assert mask(text, ["1234567", "12345678"]) == text
    assert patterns_of(["1234567", "", " \n "]) == ()


def test_nothing_is_held_back_at_the_end_of_a_line() -> None:
    masker = Masker([TOKEN])
    assert masker.feed(b"a line without h\n") == b"a line without h\n"
    assert masker.feed(b"prompt h") == b"prompt "
    assert masker.held == 1
    assert masker.rest() == b"h"


def test_the_end_of_a_value_that_may_begin_another_is_not_given_away() -> None:
    masker = Masker(["xyzQ1234xyz"])
    assert masker.feed(b"xyzQ1234xyz") == b"*" * 8
    assert masker.feed(b"..") == b"***.."


def test_a_value_that_lies_on_itself_takes_one_match() -> None:
    data = b"a" * 1_000_000
    assert mask(data.decode(), ["a" * 8]) == "*" * 1_000_000


def test_bytes_that_are_no_text_pass() -> None:
    data = bytes(range(256)) * 2
    assert Masker([TOKEN]).feed(data) == data
