"""Rules of the tree that no other tool holds: sizes, forbidden calls, links between documents."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("core", "tui", "agents")
MAX_LINES = 400
MAX_FUNCTION = 60

TOP_LEVEL = {
    "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md",
    "agents", "config.example.toml", "core", "docs", "examples", "pyproject.toml",
    "requirements-dev.txt", "scripts", "tests", "tui",
}  # fmt: skip

FORBIDDEN = {
    r"shell\s*=\s*True": "data would become code; pass an argv list",
    r"create_subprocess_shell": "data would become code; pass an argv list",
    r"os\.(system|popen)\(": "data would become code; pass an argv list",
    r"known_hosts\s*=\s*None": "it switches host key checking off",
    r"AutoAddPolicy|StrictHostKeyChecking[= ]no": "host keys are never trusted unasked",
    r"\.run\(\s*f[\"']": "a remote command is constant; data goes by stdin",
    r"create_process\(\s*f[\"']": "a remote command is constant; data goes by stdin",
    r"\bpickle\b|\bmarshal\b": "reading it runs code",
    r"NotImplementedError|\bTODO\b|\bFIXME\b": "finish it, or leave it out",
    r"^\s*except\s*:": "name what is caught",
}
"""Patterns that product code must not have, and why."""

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@cache
def sources() -> dict[Path, str]:
    """Every product module, with its text. Not parsed: so many objects would slow each later search
    for garbage."""
    paths = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path: path.read_text() for path in paths}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_short() -> None:
    lines = {named(path): len(text.splitlines()) for path, text in sources().items()}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


@cache
def found_wrong() -> tuple[dict[str, int], list[str]]:
    """Functions that are too long, and public things without a docstring; each file parsed once."""
    long, missing = dict[str, int](), list[str]()
    for path, text in sources().items():
        tree = ast.parse(text)
        long |= long_functions(path, tree)
        missing += undocumented(path, tree)
    return long, missing


def long_functions(path: Path, tree: ast.Module) -> dict[str, int]:
    return {
        f"{named(path)}:{node.name}": length
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION
    }


def undocumented(path: Path, tree: ast.Module) -> list[str]:
    if path.name == "bootstrap.py":
        return []  # it travels in a command line, where every byte counts
    missing = [
        f"{named(path)}:{node.name}"
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    is_without = path.name != "__main__.py" and not ast.get_docstring(tree)
    return [named(path)] * is_without + missing


def test_functions_are_short() -> None:
    long, _ = found_wrong()
    assert long == {}


def test_public_things_have_docstrings() -> None:
    _, missing = found_wrong()
    assert missing == []


def test_what_is_wrong_in_a_file_is_found() -> None:
    body = "    pass\n" * MAX_FUNCTION
    tree = ast.parse(f'"""A module."""\ndef f():\n{body}\nclass _C: pass\ndef _g(): pass\n')
    path = ROOT / "core/x.py"
    assert long_functions(path, tree) == {"core/x.py:f": MAX_FUNCTION + 1}
    assert undocumented(path, tree) == ["core/x.py:f"]
    assert undocumented(path, ast.parse("_x = 1")) == ["core/x.py"]


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_forbidden_things_are_nowhere(pattern: str) -> None:
    found = [
        f"{named(path)}:{number}: {line.strip()}: {FORBIDDEN[pattern]}"
        for path, text in sources().items()
        if re.search(pattern, text, re.MULTILINE)  # few need a look at each line
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("run(words, shell=True)", True),
        ("await conn.run(f'ls {path}')", True),
        ("connect(host, known_hosts=None)", True),
        ("connect(host, known_hosts=files)", False),
        ("done = subprocess.run(words)", False),
    ],
)
def test_the_patterns_catch_what_they_should(line: str, caught: bool) -> None:
    assert any(re.search(pattern, line) for pattern in FORBIDDEN) is caught


def tracked() -> list[str]:
    """What belongs to the project, by git: a folder may hold files of its owner's beside it."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    asked = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    return said.stdout.split("\0")[:-1]


@cache
def file_list() -> ModuleType:
    """scripts/file_list.py as a module."""
    spec = importlib.util.spec_from_file_location("file_list", ROOT / "scripts/file_list.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_architecture_page_lists_every_file() -> None:
    listed = file_list()
    is_current = (ROOT / listed.PAGE).read_text() == listed.page(ROOT)
    assert is_current, "run `make files` and commit docs/architecture.md"


def test_the_first_sentence_of_a_docstring_fits_the_list_of_files() -> None:
    listed = file_list()
    sentences = {
        named(path): listed.first_sentence(path.read_text()) for path in listed.modules(ROOT)
    }
    assert {name: said for name, said in sentences.items() if not 1 <= len(said) <= 160} == {}


def test_the_list_of_files_takes_the_first_sentence_only() -> None:
    assert (
        file_list().first_sentence('''"""Reads a.toml, the
    first half. Pure.

    More."""''')
        == "Reads a.toml, the first half."
    )


def test_the_top_level_is_as_described() -> None:
    names = {name.split("/")[0] for name in tracked()}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


def documents() -> list[Path]:
    """Every page that people read."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    pages += [*(ROOT / "examples").rglob("*.md"), ROOT / "tests/lab/README.md"]
    return sorted(pages)


def links(page: Path) -> set[Path]:
    """The files of this repository that a page links to."""
    text = page.read_text()
    return {
        (page.parent / target).resolve() for target in _LINK.findall(text) if "://" not in target
    }


def test_links_lead_somewhere() -> None:
    broken = [
        f"{named(page)}: {target}"
        for page in documents()
        for target in sorted(links(page))
        if not target.exists()
    ]
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, open_pages = set(), [ROOT / "README.md"]
    while open_pages:
        page = open_pages.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        open_pages += links(page)
    assert {named(page) for page in documents()} - {named(page) for page in reached} == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
