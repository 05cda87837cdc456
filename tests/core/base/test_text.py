from __future__ import annotations

import pytest

from hostler.base.text import first_of, last_words

TRACEBACK = (
    'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\n    exec("""\n'
    "    ~~~~^^^\nOSError: [Errno 28] No space left on device: '/var/tmp'\n"
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("one\n\ntwo\n", "one two"),
        (TRACEBACK, "OSError: [Errno 28] No space left on device: '/var/tmp'"),
        (f"motd\n{TRACEBACK}", "motd OSError: [Errno 28] No space left on device: '/var/tmp'"),
        (TRACEBACK[20:], "OSError: [Errno 28] No space left on device: '/var/tmp'"),
        ('Traceback (most recent call last):\n  File "x", line 1', ""),
        ("", ""),
        ("\x1b[31mred", "␛[31mred"),
    ],
)
def test_of_what_a_command_said_only_the_end_of_a_traceback_is_told(said: str, told: str) -> None:
    assert last_words(said, 500) == told


def test_it_is_cut_to_a_width() -> None:
    assert last_words("x" * 50, 10) == "x" * 9 + "…"


def test_of_many_texts_the_first_are_named_and_the_others_counted() -> None:
    assert first_of([], 2) == ""
    assert first_of(["a", "b"], 2) == "a, b"
    assert first_of(["a", "b", "c", "d"], 2) == "a, b and 2 more"
