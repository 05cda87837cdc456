"""Import circles are found, on made-up modules, and nothing else is taken for one."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.house.circles import circles, imports_among, inside
from tests.house.source import read_module

A, B, C = "hostler.a", "hostler.b", "hostler.c"


def rings(texts: dict[str, str], *, for_types: bool = False) -> list[list[str]]:
    imports = imports_among(
        read_module(f"core/hostler/{path}", dedent(text)) for path, text in texts.items()
    )
    return circles(i for i in imports if for_types or not i.for_types)


def test_two_that_import_each_other() -> None:
    assert rings({"a.py": "import hostler.b", "b.py": "from hostler.a import x"}) == [[A, B]]


def test_a_circle_through_a_third() -> None:
    texts = {"a.py": "import hostler.b", "b.py": "import hostler.c", "c.py": "import hostler.a"}
    assert rings(texts) == [[A, B, C]]


def test_a_diamond_and_a_module_that_leads_into_a_circle_are_none() -> None:
    both = "import hostler.b\nimport hostler.c\n"
    assert rings({"a.py": both, "b.py": "import hostler.c", "c.py": ""}) == []
    found = rings({"a.py": both, "b.py": "import hostler.c", "c.py": "import hostler.b"})
    assert found == [[B, C]]


def test_two_circles_are_two() -> None:
    texts = {
        "a.py": "import hostler.b", "b.py": "import hostler.a\nimport hostler.c",
        "c.py": "import hostler.d", "d.py": "import hostler.c",
    }  # fmt: skip
    assert rings(texts) == [[A, B], [C, "hostler.d"]]


@pytest.mark.parametrize(
    "inner",
    [
        "def f():\n    import hostler.a\n",
        "def f():\n    from hostler import a\n",
        "def f():\n    return importlib.import_module('hostler.a')\n",
        "NAME = 'hostler.a'\ndef f():\n    return import_module(NAME).x()\n",
        "from . import a\n",
        "from .a import x\n",
    ],
)
def test_an_import_counts_wherever_it_stands(inner: str) -> None:
    assert rings({"a.py": "import hostler.b", "b.py": inner}) == [[A, B]]


def test_what_only_the_type_checker_sees_is_told_apart() -> None:
    texts = {
        "a.py": "import hostler.b",
        "b.py": "if TYPE_CHECKING:\n    import hostler.a\nelse:\n    import hostler.c\n",
        "c.py": "import hostler.b",
    }
    assert rings(texts) == [[B, C]]
    assert rings(texts, for_types=True) == [[A, B, C]]


def test_a_package_that_takes_from_its_module() -> None:
    package = {"p/__init__.py": "from hostler.p.m import x"}
    assert rings({**package, "p/m.py": "from hostler.p import y"}) == [["hostler.p", "hostler.p.m"]]
    assert rings({**package, "p/m.py": "from hostler.p import n", "p/n.py": ""}) == []
    assert rings({**package, "p/m.py": "", "q.py": "import hostler.p.m"}) == []


def test_relative_imports_of_a_package_begin_in_it() -> None:
    texts = {"p/__init__.py": "from .m import x", "p/m.py": "from .. import q", "q.py": ""}
    assert rings({**texts, "q.py": "from .p import x"}) == [
        ["hostler.p", "hostler.p.m", "hostler.q"]
    ]


def test_the_places_of_a_circle_are_its_own_imports() -> None:
    modules = [
        read_module("core/hostler/a.py", "import hostler.c\nimport hostler.b\n"),
        read_module("core/hostler/b.py", "import hostler.a\n"),
        read_module("core/hostler/c.py", ""),
    ]
    found = inside([A, B], imports_among(modules))
    assert [(place.path, place.line) for place in found] == [
        ("core/hostler/a.py", 2), ("core/hostler/b.py", 1)
    ]  # fmt: skip
