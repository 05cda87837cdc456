"""docs/cli.md says all that the parsers know, and nothing that they do not."""

from __future__ import annotations

import argparse
import html
import json
import re
from pathlib import Path

import pytest

from hostler.cli import parser

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### hostler (\S+)\n(.*?)(?=^##|\Z)", DOCS, re.MULTILINE | re.DOTALL))
COMMON = {"--json", "--quiet", "--color", "--socket", "--debug", "--timeout"}


def actions(name: str) -> list[argparse.Action]:
    built = parser.build_parser(name, parser.load(name))
    return [action for action in built._actions if action.dest != "help"]


def rows(text: str) -> dict[str, str]:
    """First column -> second, of the table of arguments."""
    cells = re.findall(r"^\| (`.*?) \| (.*) \|$", text, re.MULTILINE)
    return {first.replace("\\|", "|"): second for first, second in cells}


def test_every_command_has_a_section_and_no_other() -> None:
    assert list(SECTIONS) == list(parser.table())
    for name, (_, text) in parser.table().items():
        assert SECTIONS[name].strip().lower().startswith(text.lower())


@pytest.mark.parametrize("name", sorted(parser.table()))
def test_every_argument_is_described_as_in_help(name: str) -> None:
    documented = rows(SECTIONS[name])
    wanted = {}
    for action in actions(name):
        common = action.option_strings and action.option_strings[-1] in COMMON
        if not common or action.dest == "timeout":
            wanted[label(action)] = action.help
    found = {key: text for key, text in documented.items() if not key.startswith("`.`")}
    letters = {key for key in found if re.fullmatch(r"`[.LiFCDE?]`", key)}
    assert {key: found[key] for key in found if key not in letters} == wanted


def label(action: argparse.Action) -> str:
    shown = action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
    shown = " ".join(shown) if isinstance(shown, tuple) else shown
    if not action.option_strings:
        return f"`{shown}`" + ("..." if action.nargs in ("*", "+") else "")
    takes_none = action.nargs == 0 or isinstance(action.const, bool)
    last = f"`{action.option_strings[-1]}" + ("`" if takes_none else f" {shown}`")
    return ", ".join([*(f"`{o}`" for o in action.option_strings[:-1]), last])


def test_the_picture_of_a_terminal_shows_commands_as_they_are() -> None:
    picture = (ROOT / "docs/pictures/deploy.svg").read_text(encoding="utf-8")
    shown = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", picture)]
    lines = [text.replace("\xa0", " ") for text in shown]
    commands = [
        line[len("$ hostler ") :].split() for line in lines if line.startswith("$ hostler ")
    ]
    assert [words[0] for words in commands] == ["deploy", "deploy", "rollback", "releases"]
    for name, *words in commands:
        parser.build_parser(name, parser.load(name)).parse_args(words)
    answers = [json.loads(line)["release"] for line in lines if line.startswith('{"digit"')]
    assert answers == ["first", "second", "first"]
    assert "@font-face" not in picture  # nothing is loaded from elsewhere
    assert "(docs/pictures/deploy.svg)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_common_options_are_described_once() -> None:
    head = DOCS.split("## Options of every command")[1].split("\n## ")[0]
    assert set(re.findall(r"--[a-z]+", head)) >= COMMON


@pytest.mark.parametrize("code", ["0", "1", "2", "3", "4", "5", "6", "7", "8", "130", "141"])
def test_every_exit_code_is_described(code: str) -> None:
    assert f"| {code} | " in DOCS


SHOWN = sorted(
    path
    for pattern in ("README.md", "docs/*.md", "scripts/*", "core/hostler/**/*.py", "tui/**/*.py")
    for path in ROOT.glob(pattern)
    if path.is_file()
)


def test_commands_that_people_copy_call_the_python_that_debian_has() -> None:
    assert len(SHOWN) > 100
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SHOWN
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"-- python(?![3\w])", line)
    ]
    assert wrong == []
