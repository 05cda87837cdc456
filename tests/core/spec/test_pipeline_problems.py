"""What is wrong with a pipeline is told all at once: key, line, nearest right word."""

from __future__ import annotations

import pytest

from hostler.base.errors import PipelineError, Problem, error_from_json
from hostler.spec.pipeline import read_pipeline


def problems(text: str, **params: str) -> list[Problem]:
    with pytest.raises(PipelineError) as caught:
        read_pipeline(text, file="p.toml", params=params, glob=lambda pattern: [])
    assert caught.value.problems
    return list(caught.value.problems)


def stage(keys: str, more: str = "") -> str:
    return f'name = "t"\n[stages.a]\n{keys}\n{more}'


def test_all_problems_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        """
        name = "Digits"
        titel = "x"
        [stages.a]
        command = "x {param.lr}"
        [stages.a.resources]
        gpu = 1
        ram = "4"
        [stages.b]
        needs = ["a", "c"]
        """
    )
    assert [(p.line, p.path) for p in found] == [
        (2, "name"),
        (3, "titel"),
        (5, "stages.a.command"),
        (7, "stages.a.resources.gpu"),
        (8, "stages.a.resources.ram"),
        (9, "stages.b.command"),
        (10, "stages.b.needs[1]"),
    ]
    assert str(found[3]) == (
        "line 7: stages.a.resources.gpu: unknown key 'gpu' (did you mean 'gpus'?)"
    )


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ('code = "none"', "[defaults], or to a stage"),
        ("gpus = 1", "[defaults.resources]"),
        ('command = "x"', "[stages.NAME]"),
    ],
)
def test_a_stages_key_at_the_top_is_shown_its_place(key: str, where: str) -> None:
    (found,) = problems(f'name = "p"\n{key}\n[stages.a]\ncommand = "x"\n')
    assert found.line == 2
    assert where in found.hint


def test_problems_travel() -> None:
    with pytest.raises(PipelineError) as caught:
        read_pipeline(stage('comand = "x"'), file="p.toml")
    again = error_from_json(caught.value.to_json())
    assert isinstance(again, PipelineError)
    assert again.problems == caught.value.problems


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        ('command = "x"\nimagee = "x"', "stages.a.imagee", "did you mean 'image'?"),
        ("", "stages.a.command", "is missing"),
        ('command = ""', "stages.a.command", "is empty"),
        ("command = []", "stages.a.command", "is empty"),
        ('command = ["", "x"]', "stages.a.command", "is empty"),
        ('command = ["x", 1]', "stages.a.command", "in quotes"),
        ('command = "it\'s"', "stages.a.command", "no closing quotation"),
        ('command = ["x", "y"]\nshell = true', "stages.a.command", "one text"),
        ('command = "x"\ngpus = 1', "stages.a.gpus", "resources"),
        ('command = "x"\nresources = { timeout = "1h" }', "stages.a.resources.timeout", "itself"),
        ('command = "x"\nresources = { gpus = -1 }', "stages.a.resources.gpus", "from 0 to"),
        ('command = "x"\nresources = { gpus = true }', "stages.a.resources.gpus", "whole number"),
        (
            'command = "x"\nresources = { gpus = 1, gpu_memory = 24 }',
            "stages.a.resources.gpu_memory", "size in quotes",
        ),
        (
            'command = "x"\nresources = { gpu_model = "A100" }',
            "stages.a.resources.gpu_model", "`gpus` is 0",
        ),
        ('command = "x"\nresources = { ram = "1e9" }', "stages.a.resources.ram", "not a size"),
        (f'command = "x"\nresources.ram = "{"9" * 400}G"', "stages.a.resources.ram", "too large"),
        ('command = "x"\nresources = { cpus = 0 }', "stages.a.resources.cpus", "more than 0"),
        ('command = "x"\nresources = { host = [] }', "stages.a.resources.host", "empty list"),
        ('command = "x"\nresources = { labels = 1 }', "stages.a.resources.labels", "a table"),
        ('command = "x"\nresources = 1', "stages.a.resources", "a table"),
        ('command = "x"\ntimeout = 3600', "stages.a.timeout", "a duration in quotes"),
        ('command = "x"\ntimeout = "0s"', "stages.a.timeout", "not between"),
        ('command = "x"\ntimeout = "99999d"', "stages.a.timeout", "not between"),
        ('command = "x"\ncheckpoint = "c"\non_timeout = "requeue"', "stages.a.on_timeout",
         "no time limit"),
        ('command = "x"\ntimeout = "3m"\non_timeout = "requeue"', "stages.a.on_timeout",
         "names none"),
        ('command = "x"\non_timeout = "retry"', "stages.a.on_timeout", "fail, requeue"),
        ('command = "x"\nwarn = "USR1@4m"', "stages.a.warn", "no time limit"),
        ('command = "x"\nwarn = "USR1@4m"', "stages.a.warn", "hostler run -- CMD: --time-limit"),
        ('command = "x"\ntimeout = "3m"\nwarn = "USR1@3m"', "stages.a.warn.before", "is 3m"),
        ('command = "x"\ntimeout = "3m"\nwarn = "USR1"', "stages.a.warn", "like USR1@4m"),
        ('command = "x"\ntimeout = "3m"\nwarn = 4', "stages.a.warn", "is a whole number"),
        ('command = "x"\ntimeout = "3m"\nwarn = "KILL@1m"', "stages.a.warn.signal", "USR1"),
        ('command = "x"\ntimeout = "3m"\nwarn = { signal = "USR1" }',
         "stages.a.warn.before", "missing"),
        ('command = "x"\ntimeout = "3m"\nwarn = { signal = "USR1", before = "1m", to = "x" }',
         "stages.a.warn.to", "command, children"),
        ('command = "x"\nimage = "-v /:/x"', "stages.a.image", "not an image"),
        ('command = "x"\nimage = "a b"', "stages.a.image", "not an image"),
        ('command = "x"\nimage = "a\\u001bb"', "stages.a.image", "control character"),
        ('command = "x"\nruntime = "docker"', "stages.a.runtime", "needs an image"),
        ('command = "x"\nimage = "i"\nruntime = "process"', "stages.a.runtime", "no image"),
        ('command = "x"\nruntime = "podman"', "stages.a.runtime", "one of: auto"),
        ('command = "x"\nimage = "i"\nvenv = "r.txt"', "stages.a.venv", "for processes"),
        ('command = "x"\nimage = "i"\nconda = "e"', "stages.a.conda", "for processes"),
        ('command = "x"\nimage = "i"\nmodules = ["m"]', "stages.a.modules", "for processes"),
        ('command = "x"\nconda = "e"\nvenv = "r"', "stages.a.conda", "remove `conda` or `venv`"),
        ('command = "x"\nconda = "/abs/environment.yml"', "stages.a.conda", "should be relative"),
        ('command = "x"\nconda = "../environment.yaml"', "stages.a.conda", "should not contain .."),
        ('command = "x"\nconda = "e"\nsetup_timeout = "1h"', "stages.a.setup_timeout", "`setup`"),
        ('command = "x"\nconda = "a b"', "stages.a.conda", "the name of a conda environment"),
        ('command = "x"\nconda = "-p"', "stages.a.conda", "the name of a conda environment"),
        ('command = "x"\nconda = "/a/../b"', "stages.a.conda", "without .."),
        ('command = "x"\nconda = "~/"', "stages.a.conda", "the folder of a conda environment"),
        ('command = "x"\nconda = "//"', "stages.a.conda", "the folder of a conda environment"),
        ('command = "x"\nmodules = ["cuda gcc"]', "stages.a.modules[0]", "one name for each item"),
        ('command = "x"\nmodules = ["$(rm x)"]', "stages.a.modules[0]", "the name of a module"),
        ('command = "x"\nmodules = ["--force"]', "stages.a.modules[0]", "the name of a module"),
        ('command = "x"\nworkdir = "/abs"', "stages.a.workdir", "relative"),
        ('command = "x"\nworkdir = "../x"', "stages.a.workdir", ".."),
        ('command = "x"\nkind = "gate"', "stages.a", "needs `pass`"),
        ('command = "x"\npass = "a > 1"', "stages.a.pass", "is for gates"),
        ('command = "x"\nkind = "gate"\npass = "a >"', "stages.a.pass", "not an expression"),
        ('command = "x"\nkind = "gate"\npass = "params.x > 1"', "stages.a.pass", "unknown name"),
        ('command = "x"\nkind = "gate"\npass = "a > live.a"', "stages.a.pass", "not supported yet"),
        ('command = "x"\nwhen = "loss > 1"', "stages.a.when", "unknown name"),
        ('command = "x"\nwhen = "b.loss > 1"', "stages.a.when", "unknown name"),
        ('command = "x"\noutputs = { o = "/abs" }', "stages.a.outputs.o", "relative"),
        ('command = "x"\noutputs = { o = "a/../../b" }', "stages.a.outputs.o", ".."),
        ('command = "x"\noutputs = { o = "./" }', "stages.a.outputs.o", "working folder itself"),
        ('command = "x"\noutputs = { o = "" }', "stages.a.outputs.o", "empty"),
        ('command = "x"\noutputs = { "a/b" = "o" }', 'stages.a.outputs."a/b"', "at most 63"),
        ('command = "x"\ncheckpoint = "/c"', "stages.a.checkpoint", "relative"),
        ('command = "x"\nenv = { "A B" = "1" }', "stages.a.env", "not a variable name"),
        ('command = "x"\nenv = { "1A" = "1" }', "stages.a.env", "not a variable name"),
        ('command = "x"\nenv = { A = true }', "stages.a.env", "in quotes"),
        ('command = "x"\nenv = { HOSTLER_RUN = "1" }', "stages.a.env", "set by Hostler"),
        ('command = "x"\nenv = { CUDA_VISIBLE_DEVICES = "0" }', "stages.a.env", "set by Hostler"),
        ('command = "x"\nretries = "2"', "stages.a.retries", "a number of tries"),
        ('command = "x"\nretries = { on = ["GPU los"] }', "stages.a.retries.on[0]", "GPU lost"),
        ('command = "x"\nretries = { mx = 1 }', "stages.a.retries.mx", "'max'"),
        ('command = "x"\non_lost = "restrt"', "stages.a.on_lost", "wait, restart"),
        ('command = "x"\npriority = 1', "stages.a.priority", "to 0"),
        ('command = "x"\nresources.gpu_model = "L4:0"', "stages.a.resources.gpu_model", "L4:8"),
        ('command = "x"\nresources.gpu_model = ["L4:1", "A:x"]',
         "stages.a.resources.gpu_model[1]", "like L4:8"),
        ('command = "x"\nresources.gpu_model = ["L4:1", "A10"]',
         "stages.a.resources.gpu_model", "'A10' has no number of GPUs"),
        ('command = "x"\nresources.gpu_model = "A10"', "stages.a.resources.gpu_model", "is 0"),
        ('command = "x"\nmax_parallel = 1', "stages.a.max_parallel", "matrix"),
        ('command = "x"\nmounts = "data"', "stages.a.mounts", "a list"),
        ('command = "x"\nmounts = { "/o" = "d" }', "stages.a.mounts", "paths in a container"),
        ('command = "x"\nimage = "i"\nmounts = { "/o" = "d/runs" }', 'stages.a.mounts."/o"',
         "name the mount alone ('d')"),
        ('command = "x"\nimage = "i"\nmounts = { "/o" = "/d" }', 'stages.a.mounts."/o"', "63"),
        ('command = "x"\nimage = "i"\nmounts = { "/o" = 1 }', 'stages.a.mounts."/o"', "quotes"),
        ('command = "x"\nimage = "i"\nmounts = { "/work/x" = "d" }', 'stages.a.mounts."/work/x"',
         "files of its own in /work"),
        ('command = "x"\nimage = "i"\nmounts = { "/o" = "d", "/o/p" = "e" }', "stages.a.mounts",
         "'/o/p' is inside '/o'"),
        ('command = "x"\ncode = "git"', "stages.a.code", "snapshot, here, none"),
        ('command = "x"\nneeds = ["a"]', "stages.a.needs[0]", "needs itself"),
        ('command = "x"\nneeds = ["b"]', "stages.a.needs[0]", "no stage 'b'"),
        ('command = "x"\nneeds = [1]', "stages.a.needs[0]", "text"),
        ('command = "x"\ninputs = { i = "a.o" }', "stages.a.inputs.i", "needs itself"),
        ('command = "x"\ninputs = { i = "b" }', "stages.a.inputs.i", "STAGE.OUTPUT"),
        ('command = "x"\nmatrix = {}', "stages.a.matrix", "empty table"),
        ('command = "x"\nmatrix = []', "stages.a.matrix", "empty list"),
        ('command = "x"\nmatrix = 1', "stages.a.matrix", "table of lists"),
        ('command = "x"\nmatrix = { i = [] }', "stages.a.matrix.i", "empty list"),
        ('command = "x"\nmatrix = { i = 1 }', "stages.a.matrix.i", "list of values"),
        ('command = "x"\nmatrix = { "a b" = [1] }', 'stages.a.matrix."a b"', "letters"),
        ('command = "x"\nmatrix = { i = [1, 1] }', "stages.a.matrix", "same cell twice"),
        ('command = "x"\nmatrix = { i = [[1]] }', "stages.a.matrix.i[0]", "is a list"),
        ('command = "x"\nmatrix = [{ a = 1 }, { b = 1 }]', "stages.a.matrix[1]", "first table"),
        ('command = "x"\nmatrix = { i = { glob = "*.x" } }', "stages.a.matrix.i", "no file"),
        ('command = "x {matrix.i}"', "stages.a.command", "unknown placeholder {matrix.i}"),
        ('command = "x"\nshell = true\nenv = 1', "stages.a.env", "a table"),
        ('command = "x"\nshell = "bash"', "stages.a.shell", 'true, false or "plain"'),
    ],
)  # fmt: skip
def test_one_wrong_thing(keys: str, path: str, said: str) -> None:
    found = problems(stage(keys))
    assert [problem.path for problem in found] == [path]
    assert said in str(found[0])
    assert found[0].line is not None


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("nodes = 2", "`nodes` (several hosts at once) is not supported yet; this version runs"),
        ('launcher = "torchrun"', "not supported yet"),
        ("preemptible = true", "not supported yet"), ("cache = true", "not supported yet"),
        ("ports = [8000]", "a service has one `port`"),
        ("release = {}", "`hostler deploy FILE` makes"), ("sessions = 1", "not supported yet"),
        ('user = "root"', "not supported"), ("resources = { nodes = 2 }", "not supported yet"),
        ('resources = { memory = "1GiB" }', "`gpu_memory`"),
    ],
)  # fmt: skip
def test_keys_of_later_versions_are_refused_by_name(key: str, said: str) -> None:
    (found,) = problems(stage(f'command = "x"\n{key}'))
    assert said in found.message
    assert found.line == 4


def test_later_keys_at_the_top() -> None:
    found = problems(stage('command = "x"') + '[[triggers]]\nschedule = "0 3 * * *"\n')
    assert [(p.path, p.line) for p in found] == [("triggers", 4)]


def test_cycles_are_named() -> None:
    text = 'name = "t"\n' + "".join(
        f'[stages.{name}]\ncommand = "x"\nneeds = ["{need}"]\n'
        for name, need in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"), ("e", "f"), ("f", "e")]
    )
    found = problems(text)
    assert [p.message for p in found] == [
        "the needs of these stages form a cycle: a -> b -> c -> a",
        "the needs of these stages form a cycle: e -> f -> e",
    ]
    assert [p.line for p in found] == [4, 16]


def test_references_to_cells_and_outputs() -> None:
    matrix = '[stages.b]\ncommand="x"\nmatrix={i=[1,2]}\noutputs={shard="s", other="o"}\n'
    more = matrix + '[stages.c]\ncommand="x"\nmatrix={i=[9]}\nneeds=["b.@"]\n'
    found = problems(
        stage(
            'command = "x"\nneeds = ["b.2", "b.@", "b.x", "b.01"]\n'
            'inputs = { i = "b.shrd", j = "b.0.shard.x", k = ["b.shard", "b.0.other"] }',
            more,
        )
    )
    said = {problem.path: str(problem) for problem in found}
    assert "no cell '2' (its cells: b.0 to b.1" in str(found[0])
    assert "no matrix key in common" in said["stages.a.needs[1]"]
    assert "no cell 'x'" in said["stages.a.needs[2]"]
    assert "no cell '01'" in said["stages.a.needs[3]"]
    assert "did you mean 'shard'?" in said["stages.a.inputs.i"]
    assert "STAGE.OUTPUT" in said["stages.a.inputs.j"]
    assert "takes two outputs of b.0" in said["stages.a.inputs.k"]
    assert "no cell with 'i = 9'" in said["stages.c.needs[0]"]


def test_cells_of_a_stage_without_a_matrix() -> None:
    text = stage('command = "x"\nneeds = ["b.0"]', '[stages.b]\ncommand = "x"\n')
    assert "has no matrix" in problems(text)[0].message


@pytest.mark.parametrize(
    "name", ["A", "a.b", "-a", "a b", "params", "matrix", "a" * 64, "é", "", "a/b", "..", "$(x)"]
)
def test_stage_names(name: str) -> None:
    found = problems(f'name = "t"\n[stages."{name}"]\ncommand = "x"\n')
    assert "cannot" in found[0].message


def test_names_of_cells_have_room() -> None:
    base = "a" * 62
    found = problems(f'name="t"\n[stages.{base}]\ncommand="x"\nmatrix={{i=[1]}}\n')
    assert "longer than 63" in found[0].message


def test_parameters() -> None:
    text = 'name="t"\n[params]\nlr = 0.1\nn = 1\nb = true\n[stages.a]\ncommand="x {params.lrr}"\n'
    found = problems(text, lrx="1", lr="fast", n="1.5", b="maybe")
    assert {problem.path for problem in found} == {
        "params", "params.lr", "params.n", "params.b", "stages.a.command",
    }  # fmt: skip
    assert "'lrx'" in str(found[0])
    assert "did you mean 'lr'?" in str(found[0])
    assert "known" not in found[0].hint
    assert "did you mean 'params.lr'?; for the text itself write {{params.lrr}}" in str(found[-1])
    for value in ("nan", "inf", "1" * 5000, "\0", "\ud800"):
        assert problems(text.replace("lrr", "lr"), lr=value)[0].path == "params.lr"


def test_wrong_parameters_do_not_spoil_the_rest() -> None:
    found = problems('name="T"\n[params]\nx=1\ny=1970-01-01\n[stages.a]\ncommand="c {params.x}"')
    assert [problem.path for problem in found] == ["name", "params.y"]


def test_every_wrong_entry_of_a_table_or_list_is_told() -> None:
    env = problems(stage('command = "x"\nenv = {"A B"="x", CUDA_VISIBLE_DEVICES="0", L=[1]}'))
    assert [p.path for p in env] == ["stages.a.env"] * 3
    assert [p.message.split()[0] for p in env] == ["'A", "CUDA_VISIBLE_DEVICES", "L"]
    passes = problems(stage('command = "x"\nkind = "gate"\npass = ["", "accuracy >", "x"]'))
    assert [(p.path, p.message[:9]) for p in passes] == [
        ("stages.a.pass[0]", "is empty"), ("stages.a.pass[1]", "is not an"),
    ]  # fmt: skip
    needs = problems(stage('command = "x"\nneeds = [1, "b", "", "c"]'))
    assert sorted(p.path for p in needs) == [f"stages.a.needs[{n}]" for n in range(4)]
    causes = problems(stage('command = "x"\nretries = { on = ["x", "GPU lost", "y"] }'))
    assert [p.path for p in causes] == ["stages.a.retries.on[0]", "stages.a.retries.on[2]"]


def test_one_mistake_does_not_hide_others() -> None:
    text = """
    name = "t"
    [params]
    "a b" = 1
    [stages.a]
    command = "x"
    env = { "A B" = "x" }
    needs = ["nope"]
    inputs = { q = "zz.o" }
    when = "params.zzz"
    mounts = ["data"]
    venv = "r.txt"
    image = "i"
    [stages.b]
    command = "x {matrix.i}"
    matrix = { i = 1 }
    image = "{matrix.i}"
    when = "matrix.i > 1 and a.o > other.o"
    needs = ["a.7", "b"]
    [stages.c]
    command = "x"
    inputs = { q = "a.o", r = "b.3.o" }
    runtime = "docker"
    image = 1
    """
    with pytest.raises(PipelineError) as caught:
        read_pipeline(text, file="p.toml", mounts=["datasets"])
    found = {p.path: str(p) for p in caught.value.problems}
    assert list(found) == [
        'params."a b"', "stages.a.env", "stages.a.needs[0]", "stages.a.inputs.q", "stages.a.when",
        "stages.a.mounts", "stages.a.venv", "stages.b.matrix.i", "stages.b.when",
        "stages.b.needs[0]", "stages.b.needs[1]", "stages.c.inputs.q", "stages.c.inputs.r",
        "stages.c.image",
    ]  # fmt: skip
    assert "no mount 'data' (did you mean 'datasets'?)" in found["stages.a.mounts"]
    assert 'unknown name "other.o"' in found["stages.b.when"]


def test_mounts_of_the_defaults_are_told_once() -> None:
    text = 'name = "t"\n[defaults]\nmounts = ["x"]\n[stages.a]\ncommand = "x"\n'
    text += '[stages.b]\ncommand = "x"\n'
    with pytest.raises(PipelineError) as caught:
        read_pipeline(text, file="p.toml", mounts=())
    (found,) = caught.value.problems
    assert (found.path, found.line) == ("defaults.mounts", 3)
    assert "known: none; add it under [mounts] in config.toml" in found.hint


def test_defaults_are_checked_once() -> None:
    text = 'name="t"\n[defaults]\ntimeout=1\ncommand="x"\nnodes=1\nimage="{matrix.i}"\n'
    text += "".join(f'[stages.s{n}]\ncommand="x"\n' for n in range(3))
    found = problems(text)
    assert [problem.path for problem in found] == [
        "defaults.timeout", "defaults.command", "defaults.nodes", "defaults.image",
    ]  # fmt: skip
    assert "cannot be a default" in found[1].hint


def test_a_placeholder_inside_quotes_of_a_shell_line() -> None:
    text = (
        "name=\"t\"\n[params]\nx=\"a\"\n[stages.a]\nshell=true\ncommand='''echo \"{params.x}\"'''\n"
    )
    assert "is inside quotes" in problems(text)[0].message


@pytest.mark.parametrize("text", ["", "name = 't'", "name = 't'\nstages = {}", "stages = 1"])
def test_no_stages(text: str) -> None:
    assert any("needs a stage" in problem.message for problem in problems(text))


def test_too_many() -> None:
    numbers = ",".join(map(str, range(101)))
    text = stage(f'command = "x"\nmatrix = {{ i = [{numbers}], j = [{numbers}] }}')
    assert "is 10201 cells; a pipeline has at most 10000" in problems(text)[0].message
    cells = f'command = "x"\nmatrix = {{ i = [{",".join(map(str, range(6000)))}] }}\n'
    both = f'name = "t"\n[stages.a]\n{cells}[stages.b]\n{cells}'
    assert "more than 10000 stages" in problems(both)[0].message
    edges = cells.replace("6000", "x") + 'needs = ["a"]\n'
    half = edges.replace(",".join(map(str, range(6000))), ",".join(map(str, range(2000))))
    first = half.replace('needs = ["a"]\n', "")
    assert (
        "1000000 dependencies"
        in problems(f'name="t"\n[stages.a]\n{first}[stages.b]\n{half}')[0].message
    )


def test_a_file_wrong_everywhere_lists_the_first_problems() -> None:
    text = 'name = "t"\n' + "".join(f"[stages.s{n}]\ncommand = 1\nimage = 2\n" for n in range(5000))
    found = problems(text)
    assert len(found) == 101
    assert found[-1].message == "and 9900 more problems"


def test_hosts_that_there_are_not_are_told_with_the_known_ones() -> None:
    text = 'name = "t"\n[defaults]\nresources = { host = "nosuch*" }\n'
    text += '[stages.a]\ncommand = "x"\n[stages.b]\ncommand = "x"\n'
    text += 'resources = { host = ["gpu*", "gpu3"] }\n'
    with pytest.raises(PipelineError) as caught:
        read_pipeline(text, file="p.toml", hosts=["gpu1", "gpu2"])
    first, second = caught.value.problems
    assert (first.path, first.line) == ("defaults.resources.host", 3)
    assert "there is no host 'nosuch*' (known: gpu1, gpu2)" in str(first)
    assert second.path == "stages.b.resources.host"
    assert "did you mean 'gpu" in str(second)
    assert read_pipeline(text.replace("nosuch*", "g*").replace("gpu3", "gpu2"), file="p.toml",
                         hosts=["gpu1", "gpu2"]).stages  # fmt: skip
