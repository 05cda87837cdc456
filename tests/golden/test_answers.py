"""The JSON of every command and of every call of the API, on the lab of history.py."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import pytest

from hostler.api.app import make_app
from hostler.daemon.service import Service
from tests.golden.answers import CHANGES, COMMANDS, ELSEWHERE, GETS, NOT_ASKED
from tests.golden.asking import ask_all
from tests.golden.stored import FOLDER, check_golden

pytestmark = [pytest.mark.programs, pytest.mark.timeout(600)]
NAMES = [
    *(f"api/{each.name}" for each in GETS),
    "codes",
    *(f"cli/{each.name}" for each in COMMANDS),
    *(f"api/do-{each.name}" for each in CHANGES),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        return ask_all(tmp_path_factory.mktemp("g"), patch)


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_as_it_was(name: str, answers: dict[str, Any]) -> None:
    check_golden(name, answers[name])


def test_every_call_of_the_api_is_asked() -> None:
    asked = [each.words if " " in each.words else f"GET {each.words}" for each in GETS + CHANGES]
    calls = [" ".join(words.split("?")[0].split(" ")[:2]) for words in asked]
    for path, methods in make_app(cast("Service", None)).openapi()["paths"].items():
        for method in methods:
            call = f"{method.upper()} {path}"
            pattern = re.sub(r"{[^}]+}", "[^/]+", call)
            is_asked = any(re.fullmatch(pattern, each) for each in calls)
            assert is_asked or call in NOT_ASKED, f"ask {call} in answers.py"


def test_every_command_with_json_is_asked() -> None:
    held = json.loads((FOLDER / "commands.json").read_text())
    asked = {question.words.split()[0] for question in COMMANDS}
    with_json = {name for name, options in held.items() if "--json" in options}
    assert with_json - asked == set(ELSEWHERE), "ask it in answers.py"


def test_no_answer_is_stored_that_nobody_asks_for() -> None:
    stored = {
        f"{kind}/{path.stem}" for kind in ("api", "cli") for path in (FOLDER / kind).iterdir()
    }
    assert stored - set(NAMES) == set(), "remove these files"
