"""Lists every module with the first sentence of its docstring, at the end of docs/architecture.md.

usage: file_list.py (from the root of the repository; `make files`)
"""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import groupby
from pathlib import Path

ROOTS = ("core/hostler", "tui/hostler_tui", "agents/hostler_agent")
PAGE = Path("docs/architecture.md")
HEADING = "## Files, a line each"
INTRODUCTION = "The first sentence of each docstring, by folder. `make files` writes this list."
_SENTENCE_END = re.compile(r"(?<=\.)\s+(?=[A-Z`])")


@cache
def first_sentence(text: str) -> str:
    """The first sentence of a module's docstring, on one line. Only that is parsed: to parse all
    of each file takes seconds."""
    before, quotes, rest = text.partition('"""')
    docstring = before + quotes + rest.partition(quotes)[0] + quotes if quotes else text
    paragraph = (ast.get_docstring(ast.parse(docstring)) or "").partition("\n\n")[0]
    return _SENTENCE_END.split(" ".join(paragraph.split()), maxsplit=1)[0]


def modules(root: Path) -> list[Path]:
    """All modules below the source folders, those of one folder together."""
    found = [path for top in ROOTS for path in (root / top).rglob("*.py")]
    return sorted(found, key=lambda path: (ROOTS.index(_top(path, root)), path.parent, path))


def _top(path: Path, root: Path) -> str:
    return "/".join(path.relative_to(root).parts[:2])


def section(root: Path) -> str:
    """The section as it should be. A folder's own line is that of its `__init__.py`."""
    lines = [HEADING, "", INTRODUCTION, ""]
    for folder, paths in groupby(modules(root), key=lambda path: path.parent):
        said = {path.name: first_sentence(path.read_text()) for path in paths}
        lines += [f"**{folder.relative_to(root)}**: {said.pop('__init__.py')}", ""]
        lines += [f"- `{name}`: {sentence}" for name, sentence in said.items()]
        lines += [""] if said else []
    return "\n".join(lines)


def page(root: Path) -> str:
    """The architecture page with the section as it should be, at its end."""
    before, _, _ = (root / PAGE).read_text().partition(f"\n{HEADING}\n")
    return f"{before.rstrip()}\n\n{section(root)}"


if __name__ == "__main__":
    PAGE.write_text(page(Path()))
