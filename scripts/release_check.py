"""Whether this checkout may become a release: one line for each thing that is missing.

usage: release_check.py [--tag]

Without --tag it checks the texts: one version in pyproject.toml and in the package, and a dated
section of CHANGELOG.md for it. With --tag it also asks git: a clean tree, the tag on this commit.
Exit code 1 if something is missing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_SECTION = re.compile(r"^## \[(.+?)\](.*)$", re.MULTILINE)
_DATE = re.compile(r" - \d{4}-\d\d-\d\d")


def text_problems(project: str, package: str, changelog: str) -> list[str]:
    """What keeps these texts (pyproject.toml, base/version.py, CHANGELOG.md) from a release."""
    version = tomllib.loads(project)["project"]["version"]
    found = _VERSION.search(package)
    problems = []
    if found is None or found[1] != version:
        named = "none" if found is None else found[1]
        problems.append(
            f"pyproject.toml has version {version}, the package {named}: make them equal"
        )
    return problems + changelog_problems(changelog, version)


def changelog_problems(changelog: str, version: str) -> list[str]:
    """What is wrong with the changelog as that of a release of `version`."""
    sections = [(match[1], match[2], match.end()) for match in _SECTION.finditer(changelog)]
    if [name for name, _, _ in sections[:2]] != ["Unreleased", version]:
        return [f"CHANGELOG.md: write an empty [Unreleased], then [{version}] - YYYY-MM-DD"]
    problems = []
    start = changelog.index("\n## [", sections[0][2])
    if changelog[sections[0][2] : start].strip():
        problems.append(f"CHANGELOG.md: move what [Unreleased] has to [{version}]")
    if not _DATE.fullmatch(sections[1][1]):
        problems.append(f"CHANGELOG.md: give [{version}] its date: ## [{version}] - YYYY-MM-DD")
    return problems


def git_problems(version: str) -> list[str]:
    """What git has against it: changes that are not committed, no tag on this commit."""
    problems = []
    if _git("status", "--porcelain"):
        problems.append("git: commit or remove what `git status` lists")
    if f"v{version}" not in _git("tag", "--points-at", "HEAD").split():
        problems.append(f'git: tag this commit: git tag -a v{version} -m "Hostler {version}"')
    return problems


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    """Print what is missing."""
    parser = argparse.ArgumentParser(description="Whether this checkout may become a release.")
    parser.add_argument("--tag", action="store_true", help="also ask git: a clean tree and the tag")
    options = parser.parse_args()
    project = (ROOT / "pyproject.toml").read_text()
    package = (ROOT / "core/hostler/base/version.py").read_text()
    problems = text_problems(project, package, (ROOT / "CHANGELOG.md").read_text())
    if options.tag:
        problems += git_problems(tomllib.loads(project)["project"]["version"])
    print(*problems, sep="\n", end="\n" if problems else "")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
