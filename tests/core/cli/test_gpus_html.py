"""`hostler gpus --html`: one page, whatever hosts call things."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hostler.base.errors import InputError, NoDaemonError
from hostler.cli import gpus_page
from hostler.show.gpus_html import page
from tests.support.daemons.commandline import CommandLine
from tests.support.daemons.scripted_daemon import ScriptedDaemon
from tests.support.values.fleets import NOW, fleet, gpu, host

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></script><b>",
    "&lt;b&gt; &amp;",
    "\x1b]52;c;ZXZpbA==\x07 \x1b[2J",
    "\u202egpj.exe",
]
VOID = {"meta", "br", "img", "link"}


class Tree(HTMLParser):
    """Tags with their classes, the text, and every attribute; raises where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs).get("class") or ""))
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.setdefault(self.open[-1] if self.open else "", []).append(data)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def skeleton(tree: Tree) -> list[str]:
    """The body's tags with their classes, each run of equal ones once."""
    names = [f"{tag}.{kind}" if kind else tag for tag, kind in tree.tags]
    body = names[names.index("body") :]
    return [name for n, name in enumerate(body) if n == 0 or body[n - 1] != name]


@pytest.mark.parametrize("evil", HOSTILE)
def test_nothing_that_a_host_says_is_markup(evil: str) -> None:
    card = (evil, 1024**3)
    used = gpu(0, "F", card, owners=[evil], why=evil, uuid=evil)
    plain = host("h", "F", ("model", 1024**3), problem="p", drained="d")
    hostile = {**host(evil, "F", problem=evil, drained=evil), "gpus": [used]}
    other = host(evil, "?", condition=evil, problem=evil, age_s=90.0)
    quiet = host("q", "?", condition="unreachable", problem="p", age_s=90.0)
    tree, calm = (
        Tree(page(fleet(hostile, other), problem=evil)),
        Tree(page(fleet(plain, quiet), problem="p")),
    )
    assert tree.tags == calm.tags
    assert {name for name, _ in tree.attributes} == {name for name, _ in calm.attributes}
    said = "".join("".join(parts) for tag, parts in tree.text.items() if tag != "script")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", said)
    assert "".join(tree.text["script"]) == "".join(calm.text["script"])
    if evil.isprintable():  # it is all there to read
        assert evil + "~" in "".join(tree.text["h2"])
        assert any(evil in title for title in tree.values("title"))


def test_the_structure_of_a_page() -> None:
    made = page(fleet(host("gpu1", "L.i"), host("gpu2", "??", condition="unreachable", age_s=61.0)))
    assert skeleton(Tree(made)) == [
        "body", "header", "h1", "b", "ul.models", "li.some", "b", "p.asof", "time", "span", "p.old",
        "span", "main.c1", "section.host some", "h2", "p.model", "ol.gpus", "li.leased", "b",
        "small", "li.free", "b", "small", "li.idle", "b", "small", "p.count", "p.notes", "p.age",
        "section.host stale", "h2", "p.model", "ol.gpus", "li.unknown", "b", "small", "li.unknown",
        "b", "small", "p.count", "p.notes", "p.age", "footer", "ul.legend", "li", "i.free", "b",
        "li", "i.leased", "b", "li", "i.idle", "b", "li", "i.foreign", "b", "li", "i.unknown", "b",
        "li.memory", "li", "script",
    ]  # fmt: skip
    tree = Tree(made)
    assert tree.text["h2"] == ["gpu1", "gpu2~"]
    assert tree.values("data-at") == [f"{NOW:.3f}"]
    assert "1 of 5" in tree.text["title"][0]


def test_every_state_is_a_letter_as_well_as_a_colour() -> None:
    tree = Tree(page(fleet(host("a", ".LiFCDE?"))))
    letters = [b for b in tree.text["b"] if len(b) == 1 and not b.isdigit()]
    assert letters == list(".LiFCDE?")


def test_it_needs_nothing_from_elsewhere() -> None:
    made = page(fleet(host("a", ".")))
    assert not re.search(r"https?:|//|@import|url\(|<link|src=", made)
    policy = next(v for v in Tree(made).values("content") if v.startswith("default-src"))
    script = "".join(Tree(made).text["script"])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


@pytest.mark.parametrize(("count", "shape"), [(10, "c1"), (50, "c2"), (90, "c3 dense")])
def test_many_hosts_take_more_columns(count: int, shape: str) -> None:
    tree = Tree(page(fleet(*(host(f"h{n}", "." * 8) for n in range(count)))))
    assert ("main", shape) in tree.tags


def test_a_simulated_lab_is_marked_and_a_real_one_is_not() -> None:
    made = page(fleet(host("a", ".", transport="sim")))
    assert ("p", "sim") in Tree(made).tags
    assert Tree(made).text["title"] == ["SIM: 1 of 1 GPUs free"]
    assert "SIM" not in page(fleet(host("a", ".")))


def test_the_command_writes_to_stdout_or_a_file(
    daemon: ScriptedDaemon, hostler: CommandLine, tmp_path: Path
) -> None:
    daemon.on("GET", "/v1/gpus", fleet(host("a", ".L"), host("b", "..")))
    assert Tree(hostler("gpus", "--html").out).text["h2"] == ["a", "b"]
    target = tmp_path / "page.html"
    ran = hostler("gpus", "--host", "b", "--html", str(target))
    assert (ran.code, ran.out) == (0, "")
    assert Tree(target.read_text()).text["h2"] == ["b"]
    assert list(tmp_path.glob(".*")) == []
    assert "refresh" not in target.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--html", "--watch"), "needs a file"),
        (("--html", "--need", "2"), "cannot be combined"),
        (("--html", "--json"), "cannot be combined"),
        (("--html", "/nowhere/x.html"), "/nowhere/x.html cannot be written: No such file"),
    ],
)
def test_what_cannot_be_is_said(
    daemon: ScriptedDaemon, hostler: CommandLine, words: tuple[str, ...], said: str
) -> None:
    daemon.on("GET", "/v1/gpus", fleet(host("a", ".")))
    ran = hostler("gpus", *words)
    assert ran.code == 2
    assert said in ran.err


def test_a_page_that_is_watched_says_when_nothing_new_comes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = tmp_path / "page.html"
    looks: list[Any] = [
        fleet(host("first", ".")), NoDaemonError("the daemon is <gone>"), fleet(host("third", ".")),
    ]  # fmt: skip
    seen: list[Tree] = []

    def look() -> Any:
        found = looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return dict(found)

    def rest(seconds: float) -> None:
        seen.append(Tree(target.read_text()))
        if not looks:
            raise KeyboardInterrupt

    monkeypatch.setattr("hostler.cli.gpus_page.time.sleep", rest)
    with pytest.raises(KeyboardInterrupt):
        gpus_page.keep_written(str(target), look, 5.0)
    assert [tree.text["h2"] for tree in seen] == [["first"], ["first"], ["third"]]
    assert [("p", "problem") in tree.tags for tree in seen] == [False, True, False]
    assert "the daemon is <gone>" in "".join(seen[1].text["p"])
    assert all("5" in tree.values("content") for tree in seen)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "page.html"]


def test_a_page_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "page.html"
    folder.mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        gpus_page.write_once(str(folder), lambda: fleet(host("a", ".")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "page.html"]


@pytest.mark.programs
def test_the_quick_question_does_not_load_it() -> None:
    program = (
        "import sys\nfrom hostler.cli.commands import gpus\nimport hostler.show.gpus\n"
        "sys.exit('hostler.show.gpus_html' in sys.modules or 'html' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
