"""What developers rely on: hosted CI, hooks before a commit, releases, and the pages about them."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def script(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def steps() -> list[dict[str, Any]]:
    return [
        step
        for path in WORKFLOWS
        for job in parsed(path)["jobs"].values()
        for step in job["steps"]
    ]  # fmt: skip


def test_the_hosted_ci_runs_the_pythons_that_the_package_names() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = [c.rpartition(" ")[2] for c in classifiers if re.search(r"Python :: 3\.\d+$", c)]
    assert parsed(ROOT / ".github/workflows/checks.yml")["jobs"]["unit"]["strategy"]["matrix"] == {
        "python": named
    }


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_only_and_gives_way_to_a_newer_one(path: Path) -> None:
    found = parsed(path)
    assert found["permissions"] == {"contents": "read"}
    assert found["concurrency"]["cancel-in-progress"] is True
    for job in found["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 60


def test_actions_are_pinned_by_commit_with_their_version_beside() -> None:
    used = re.findall(r"uses: (.*)", "".join(path.read_text() for path in WORKFLOWS))
    assert len(used) == len([step for step in steps() if "uses" in step]) > 0
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_the_hosted_ci_calls_what_the_makefile_and_the_tree_have() -> None:
    said = " ".join(step.get("run", "") for step in steps())
    targets = set(re.findall(r"make ([a-z-]+)", said))
    assert {"check", "unit", "test", "dist"} <= targets
    assert targets <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    for path in re.findall(r"tests/\S+", said):
        assert (ROOT / path).exists(), path


def test_the_hooks_are_the_checks_of_make_check() -> None:
    recipe = MAKEFILE.split("\ncheck:")[1].split("\n\n")[0]
    wanted = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()[1:]]
    (local,) = parsed(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == wanted
    assert all(hook["language"] == "system" for hook in local["hooks"])


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms_have_what_github_wants(path: Path) -> None:
    form = parsed(path)
    if path.name == "config.yml":
        assert form == {"blank_issues_enabled": False}
        return
    assert {"name", "description", "body"} <= form.keys()
    for part in form["body"]:
        wanted = {"value"} if part["type"] == "markdown" else {"label"}
        assert wanted <= part["attributes"].keys()


def test_the_version_stands_in_two_files_and_is_the_same() -> None:
    problems = script("release_check").text_problems(
        (ROOT / "pyproject.toml").read_text(),
        (ROOT / "core/hostler/base/version.py").read_text(),
        (ROOT / "CHANGELOG.md").read_text(),
    )
    assert not [problem for problem in problems if "pyproject.toml" in problem]


@pytest.mark.parametrize(
    ("package", "changelog", "missing"),
    [
        ("0.2.0", "## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\nAll of it.\n", []),
        ("0.1.0", "## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n", ["make them equal"]),
        ("0.2.0", "## [Unreleased]\n\nNew.\n\n## [0.2.0] - 2026-12-01\n", ["move what"]),
        ("0.2.0", "## [Unreleased]\n\n## [0.2.0]\n", ["give [0.2.0] its date"]),
        ("0.2.0", "## [Unreleased]\n\n## [0.1.0] - 2026-11-01\n", ["an empty [Unreleased], then"]),
        ("0.2.0", "nothing\n", ["an empty [Unreleased], then"]),
    ],
)
def test_a_release_has_one_version_and_a_dated_changelog(
    package: str, changelog: str, missing: list[str]
) -> None:
    project, init = '[project]\nversion = "0.2.0"\n', f'__version__ = "{package}"\n'
    problems = script("release_check").text_problems(project, init, changelog)
    assert len(problems) == len(missing)
    assert all(part in said for part, said in zip(missing, problems, strict=True))


@pytest.mark.parametrize("page", ["docs/compatibility.md", "docs/releasing.md"])
def test_tests_and_scripts_that_a_page_names_are_there(page: str) -> None:
    named = re.findall(r"((?:tests|scripts)/[\w/]+\.\w+)(?:::(\w+))?", (ROOT / page).read_text())
    assert named
    for path, function in named:
        assert (ROOT / path).is_file(), path
        tree = ast.parse((ROOT / path).read_text()) if function else None
        assert tree is None or function in {getattr(node, "name", "") for node in tree.body}


def test_coverage_is_told_by_package_folder() -> None:
    rooms = script("coverage_rooms")
    files = {
        "core/hostler/__init__.py": (10, 10),
        "core/hostler/decide/plan.py": (30, 15),
        "core/hostler/cli/commands/run.py": (5, 0),
        "core/hostler/cli/main.py": (5, 5),
        "tui/hostler_tui/widgets/table.py": (20, 20),
        "agents/hostler_agent/claims.py": (30, 30),
    }
    found = rooms.by_room({
        name: {"summary": {"num_statements": all_, "covered_lines": ran}}
        for name, (all_, ran) in files.items()
    })  # fmt: skip
    assert found == {
        "hostler": (10, 10), "hostler/cli": (10, 5), "hostler/decide": (30, 15),
        "hostler_agent": (30, 30), "hostler_tui/widgets": (20, 20),
    }  # fmt: skip
    assert rooms.table(found).splitlines()[-1].split() == ["all", "100", "80.0%"]


def test_the_modules_that_the_readme_of_the_support_folder_names_are_there() -> None:
    folder = ROOT / "tests/support"
    named = re.findall(r"^\| `([\w/]+)` \|", (folder / "README.md").read_text(), re.MULTILINE)
    there = {path.stem for path in folder.glob("*/*.py") if path.stem != "__init__"}
    there |= {path.parent.name for path in folder.glob("*/*/__init__.py")}
    assert sorted(named) == sorted(there)
