from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.golden import stored
from tests.golden.differences import differences


@pytest.mark.parametrize(
    ("golden", "now", "said"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {}, ["$.a was removed (it was 1)"]),
        ({}, {"a": [1]}, ["$.a was added: [1]"]),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["$.a.b changed from 1 to 2"]),
        ({"a": 1}, {"a": True}, ["$.a changed from 1 to True"]),
        ({"a": 1}, {"a": 1.0}, ["$.a changed from 1 to 1.0"]),
        ([1, 2], [1], ["$ has 1 items instead of 2"]),
        (
            ["a", "c"],
            ["a", "b", "d"],
            ["$ was added: 'b'", "$ was added: 'd'", "$ was removed: 'c'"],
        ),
        (["a", "b"], ["b", "a"], ["$ has another order: ['b', 'a'] instead of ['a', 'b']"]),
        ([{"a": 1}], [{"b": 1}], ["$[0].a was removed (it was 1)", "$[0].b was added: 1"]),
    ],
)
def test_each_difference_names_its_key(golden: Any, now: Any, said: list[str]) -> None:
    assert sorted(differences(golden, now)) == said


def test_what_may_grow_grows_and_loses_nothing() -> None:
    golden = {"answers": {"200": {}, "names": ["a"]}, "closed": {}}
    grown = {"answers": {"200": {"type": "object"}, "names": ["b", "a"]}, "closed": {}}
    assert differences(golden, grown, grows=("answers",)) == []
    shrunk = {"answers": {"names": []}, "closed": {"more": 1}}
    assert sorted(differences(golden, shrunk, grows=("answers",))) == [
        "$.answers.200 was removed (it was {})",
        "$.answers.names was removed: 'a'",
        "$.closed.more was added: 1",
    ]


def test_a_failure_names_the_key_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    monkeypatch.delenv("HOSTLER_GOLDEN", raising=False)
    (tmp_path / "runs.json").write_text(json.dumps({"runs": [{"owner": "ana"}]}))
    with pytest.raises(AssertionError) as failed:
        stored.check_golden("runs", {"runs": [{"user": "ana"}]})
    said = str(failed.value)
    assert "runs differs from runs.json in 2 places" in said
    assert "$.runs[0].owner was removed (it was 'ana')" in said
    assert "run `make golden`" in said
    monkeypatch.setenv("HOSTLER_GOLDEN", "write")
    stored.check_golden("runs", {"runs": [{"user": "ana"}]})
    monkeypatch.delenv("HOSTLER_GOLDEN")
    stored.check_golden("runs", {"runs": [{"user": "ana"}]})
