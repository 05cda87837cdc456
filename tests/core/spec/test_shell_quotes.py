"""Where in a shell line a value may be put, as one word that the shell does not read itself."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from hostler.base.errors import PipelineError
from hostler.spec.pipeline import command_pipeline, read_pipeline
from hostler.spec.shell_quotes import EXPANDED, Quotes

HOSTILE = "a'$(touch run)`touch run`\";touch run;#"
"""A file's name."""


def mark(line: str) -> str:
    quotes = Quotes()
    return [quotes.read(part) for part in line.split("{}")[:-1]][-1]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("echo '{}'", "'"),
        ('echo "{}"', '"'),
        ("`ls {}`", "`"),
        ("# don't\necho 'run-{}'", "'"),
        ("(cd x) # it's\necho 'a {}'", "'"),
        (r"echo $'it\'s {}'", "$'"),
        ('x="$(basename "{}")"', '"'),
        ('x=$(basename "{}")', '"'),
        ('x="${y:-$(echo "{}")}"', '"'),
        (r"echo \{}", "\\"),
        ("echo ${}", "$"),
        ("echo a#'b {}'", "'"),
        ("echo $()#'{}'", "'"),
        ("${x:-<<'E'\n}'\nE\n{}'", "'"),
        ("$${x:-<<E\n{}", EXPANDED),
        ("echo $(({} + 1))", EXPANDED),
        ("(({} > 1)) && train", EXPANDED),
        ("cat <<END\nit's {}\nEND\n", EXPANDED),
        ("cat <<A <<-'B'\na\nA\n{}\n\tB\n", EXPANDED),
        ("cat <<END\nx\\\nEND\n{}", EXPANDED),
        ("cat <<END\n$(\nEND\n){}", EXPANDED),
        (r"echo $'a\'b' {}", "$'"),
    ],
)
def test_no_value_is_put_where_the_shell_would_read_it(
    line: str, found: str, tmp_path: Path
) -> None:
    assert mark(line) == found
    with pytest.raises(PipelineError) as raised:
        command_pipeline([line], each=[HOSTILE], shell=True)
    assert "inside quotes" in raised.value.problems[0].message
    if found != "$":  # there it is no placeholder
        with pytest.raises(PipelineError):
            piped(line, HOSTILE)


@pytest.mark.programs
@pytest.mark.parametrize(
    "line",
    [
        "echo {}",
        "# don't\necho {} # it's {}",
        'echo "it\'s" {}',
        r"echo \' {} $'its' {}",
        "x=$(basename {})",
        'echo "${x:-it\'s}" {}',
        "echo ${#x} $# {}",
        "echo $((1 << 2))\necho {}",
        "cat <<< 'a'\necho {}",
        "cat <<END\nit's\nEND\necho {}",
        "cat <<-'END'\n\tit's\n\tEND\necho {}",
        "cat <<A <<B\na\nA\nb'\nB\necho {}",
        "cat <<END\n$(date) ${HOME} `id` {\nEND\necho {}",
        "awk '{print $1}' {}",
        "f() { echo 'x'; }; f {}",
    ],
)
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_elsewhere_it_is_one_word(line: str, shell: str, tmp_path: Path) -> None:
    """The shells say so."""
    [stage] = command_pipeline([line], each=[HOSTILE], shell=True).stages
    assert stage.command == (piped(line, HOSTILE),)
    subprocess.run([shell, "-c", *stage.command], cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert not (tmp_path / "run").exists()


def test_in_a_document_stand_values_that_no_shell_reads_otherwise() -> None:
    line = "cat > c.yaml <<END\nlr: {}\nEND\ntrain $(({} * 2))\n"
    assert piped(line, "0.1") == line.replace("{}", "0.1")
    with pytest.raises(PipelineError) as raised:
        piped(line, "a b")
    [problem] = raised.value.problems
    assert "is in a here-document" in problem.message
    assert "x={params.x}" in problem.hint


def test_no_line_takes_long() -> None:
    begun = time.thread_time()
    for line in ("(" * 200_000 + "{}" * 20_000, "<<E\n" + "\\\n{}" * 50_000, "<<'" * 50_000 + "{}"):
        quotes = Quotes()
        for part in line.split("{}"):
            quotes.read(part)
    assert time.thread_time() - begun < 10


def test_a_line_is_read_once_for_all_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Quotes.read

    def note(self: Quotes, text: str) -> str:
        read.append(text)
        return real(self, text)

    monkeypatch.setattr(Quotes, "read", note)
    text = 'name = "p"\n[stages.a]\nmatrix.n = [%s]\nshell = true\ncommand = "once {matrix.n}"\n'
    stages = read_pipeline(text % ", ".join(map(str, range(50))), file="p.toml").stages
    assert [stage.command for stage in stages[::49]] == [("once 0",), ("once 49",)]
    assert read == ["once "]


def piped(line: str, value: str) -> str:
    """The line of a stage of a pipeline with a value in its places."""
    text = (
        f'name = "p"\n[params]\nx = ""\n[stages.a]\nshell = true\ncommand = """{escaped(line)}"""\n'
    )
    read = read_pipeline(text, file="p.toml", params={"x": value})
    return read.stages[0].command[0]


def escaped(line: str) -> str:
    return line.replace("{}", "{params.x}").replace("\\", "\\\\").replace('"', '\\"')
