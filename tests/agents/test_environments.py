"""Modules and conda environments of process jobs: real shells in a made-up home."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostler_agent.activate import Asked, Deadline, Late, prepared
from hostler_agent.condaenvs import Conda
from hostler_agent.jobenv import prepared_command
from tests.support.programs.agents import Agent, AgentSaysNo, Place, eventually, serving

SYSTEM = ("/usr/share/modules/init/bash", "/usr/share/lmod/lmod/init/bash")
MODULE = """
module() {
  case $1 in
    load) case ":$HOSTLER_TEST_MODULES:" in
        *":$2:"*) LOADEDMODULES=${LOADEDMODULES:+$LOADEDMODULES:}$2; export LOADEDMODULES
          export PATH="/opt/$2/bin:$PATH" CUDA_HOME=/opt/$2 CUDA_VISIBLE_DEVICES=7 ;;
        *) echo "ERROR: no $2" >&2; return ${HOSTLER_TEST_STATUS:-1} ;;
      esac ;;
    is-avail) case ":$HOSTLER_TEST_MODULES:" in *":$2:"*) return 0 ;; *) return 1 ;; esac ;;
  esac
}
"""
"""A module system for tests where none is installed, in the login's profile."""


@pytest.fixture
def home(place: Place, short_folder: Path) -> Path:
    """The login's home, without any module system or conda."""
    folder = short_folder / "home"
    folder.mkdir()
    place.variables |= {"HOME": str(folder), "SECRET": "from-the-login"}
    return folder


@pytest.fixture
def agent(place: Place, home: Path) -> Iterator[Agent]:
    """An agent of that login."""
    with serving(place) as running:
        yield running


def conda_at(root: Path, *names: str) -> None:
    """An installation with environments, as conda leaves them."""
    for prefix in (root, *(root / "envs" / name for name in names)):
        (prefix / "conda-meta").mkdir(parents=True)
        (prefix / "bin").mkdir()


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def log(agent: Agent, attempt: str) -> str:
    parts = (agent.place.base / "jobs" / attempt).glob("log.*")
    return "".join(path.read_text() for path in sorted(parts))


def variables(agent: Agent, attempt: str, **asked: object) -> dict[str, str]:
    """What the command of a job sees."""
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    agent.job(attempt, [sys.executable, "-I", "-c", code], **asked)
    assert agent.ended(attempt)["exit_code"] == 0, log(agent, attempt)
    found: dict[str, str] = json.loads(log(agent, attempt).splitlines()[-1])
    return found


def refused(agent: Agent, attempt: str, **asked: object) -> str:
    """The last words where the command was not started."""
    agent.job(attempt, ["echo", "started"], **asked)
    assert agent.ended(attempt)["exit_code"] == 125
    assert "started" not in log(agent, attempt)
    return log(agent, attempt).splitlines()[-1]


def problem(agent: Agent, **asked: object) -> str | None:
    """What the host lacks, before it is chosen."""
    found: str | None = agent.ask("environment", asked)["problem"]
    return found


def test_a_conda_environment_is_found_where_no_shell_without_a_terminal_has_conda(
    agent: Agent, home: Path
) -> None:
    conda_at(home / "elsewhere" / "conda", "subt-2026")
    (home / ".bashrc").write_text(
        '[ -z "$PS1" ] && return\n__conda_setup="$(\''
        f"{home}/elsewhere/conda/bin/conda' 'shell.bash' 'hook' 2> /dev/null)\"\n"
    )
    prefix = home / "elsewhere" / "conda" / "envs" / "subt-2026"
    program(prefix / "bin" / "train", "#!/bin/sh\necho mine\n")
    env = variables(agent, "c-1", conda="subt-2026")
    assert env["PATH"].startswith(f"{prefix}/bin:")
    assert (env["CONDA_PREFIX"], env["CONDA_DEFAULT_ENV"]) == (str(prefix), "subt-2026")
    assert problem(agent, conda="subt-2026") == ""
    agent.job("c-2", ["train"], conda="subt-2026")
    assert agent.ended("c-2")["exit_code"] == 0
    assert log(agent, "c-2") == "mine\n"


@pytest.mark.parametrize(
    "line",
    [
        "source ~/soft/conda/etc/profile.d/conda.sh",
        '. "$HOME/soft/conda/etc/profile.d/conda.sh"',
        'export PATH="HERE/soft/conda/bin:$PATH"',
        "export PATH=${HOME}/soft/conda/condabin:$PATH",
        "export MAMBA_ROOT_PREFIX='HERE/soft/conda';",
        "__conda_setup=\"$('HERE/soft/conda/bin/conda' 'shell.bash' 'hook' 2> /dev/null)\"",
    ],
)
def test_what_people_write_for_their_own_shells_leads_to_conda(tmp_path: Path, line: str) -> None:
    conda_at(tmp_path / "soft" / "conda", "a")
    (tmp_path / ".bashrc").write_text(f"return\n{line.replace('HERE', str(tmp_path))}\n")
    found = Conda({}, str(tmp_path)).find("a")
    assert found == (f"{tmp_path}/soft/conda/envs/a", f"{tmp_path}/soft/conda")


def test_an_activation_runs_the_scripts_of_packages_and_changes_nothing_of_ours(
    agent: Agent, home: Path
) -> None:
    conda_at(home / "miniconda3", "a")
    prefix = home / "miniconda3" / "envs" / "a"
    scripts = prefix / "etc" / "conda" / "activate.d"
    scripts.mkdir(parents=True)
    (scripts / "gdal.sh").write_text(
        "export GDAL_DATA=$CONDA_PREFIX/share\nexport CUDA_VISIBLE_DEVICES=5 MINE=theirs\n"
        "export HOSTLER_WORK=/elsewhere PATH=$PATH:/added TOKEN=stolen\n"
    )
    state = {"env_vars": {"PROJECT": "x", "GONE": "***unset***"}}
    (prefix / "conda-meta" / "state").write_text(json.dumps(state))
    given = {"MINE": "mine", "LINES": "a\nb", "TOKEN_PATH": "kept"}
    env = variables(agent, "c-1", conda="a", env=given)
    assert (env["GDAL_DATA"], env["PROJECT"]) == (f"{prefix}/share", "x")
    assert (env["MINE"], env["LINES"], env["CUDA_VISIBLE_DEVICES"]) == ("mine", "a\nb", "")
    assert env["HOSTLER_WORK"].endswith("/jobs/c-1/work")
    assert env["PATH"].split(":")[0] == f"{prefix}/bin"
    assert env["PATH"].endswith(":/added")
    assert env["TOKEN_PATH"] == "kept"


def test_an_environment_has_a_path_or_stands_in_the_list_of_conda(agent: Agent, home: Path) -> None:
    conda_at(home / "data" / "envs" / "far")
    (home / ".conda").mkdir()
    (home / ".conda" / "environments.txt").write_text(f"{home}/data/envs/far\n/gone/envs/far\n")
    assert problem(agent, conda="far") == ""
    assert problem(agent, conda="~/data/envs/far") == ""
    assert problem(agent, conda=f"{home}/data/envs/far") == ""
    said = problem(agent, conda="~/data/envs")
    assert said == "has no conda environment at ~/data/envs: there is no folder conda-meta in it"
    assert variables(agent, "c-1", conda="far")["CONDA_PREFIX"] == f"{home}/data/envs/far"


@pytest.mark.parametrize("by", ["the list", "conda"])
def test_what_others_put_in_the_place_of_a_listed_environment_is_not_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Conda does not take what is gone from its list, and in /tmp anybody may make it anew."""
    path = home / "tmp" / "gone" / "env"
    conda_at(path)
    (home / "tmp").chmod(0o1777)
    if by == "conda":
        listed = json.dumps({"envs": [str(path)]})
        program(home / "conda", f"#!/bin/sh\necho '{listed}'\n")
    else:
        (home / ".conda").mkdir()
        (home / ".conda" / "environments.txt").write_text(f"{path}\n")
    conda = Conda({"HOME": str(home), "CONDA_EXE": str(home / "conda")})
    assert conda.find("env") or conda.ask("env", 10.0)
    if os.getuid():
        monkeypatch.setattr("hostler_agent.condaenvs.os.getuid", lambda: os.geteuid() + 1)
    else:
        os.chown(path, 12345, 12345)
    assert conda.find("env") is None
    assert conda.ask("env", 10.0) is None
    assert conda.find(str(path))


def test_settings_of_conda_name_other_folders(agent: Agent, home: Path) -> None:
    conda_at(home / "scratch" / "b")
    (home / ".condarc").write_text("channels: [x]\nenvs_dirs:\n  - ~/scratch  # big\nauto: no\n")
    assert problem(agent, conda="b") == ""
    (home / ".condarc").unlink()
    assert problem(agent, conda="b") == "has no conda environment called b, and no conda was found"


def test_conda_itself_is_asked_where_no_file_tells(agent: Agent, home: Path) -> None:
    conda_at(home / "miniconda3")
    conda_at(home / "odd" / "place" / "c")
    listed = json.dumps({"envs": [f"{home}/miniconda3", f"{home}/odd/place/c"]})
    program(home / "miniconda3" / "bin" / "conda", f"#!/bin/sh\necho '{listed}'\n")
    assert problem(agent, conda="c") == ""
    assert variables(agent, "c-1", conda="c")["CONDA_EXE"] == f"{home}/miniconda3/bin/conda"


def test_what_is_missing_is_said_before_the_command_with_what_is_there(
    agent: Agent, home: Path
) -> None:
    conda_at(home / "miniconda3", "a", "b")
    words = "has no conda environment called train; conda has base, a, b"
    assert problem(agent, conda="train") == words
    assert refused(agent, "c-1", conda="train") == f"hostler: this host {words}"


def test_the_shells_of_a_login_end_with_what_they_were_asked(agent: Agent, home: Path) -> None:
    """A profile that starts an agent for keys would leave one for each question."""
    mark = home / "pid"
    (home / ".bash_profile").write_text(f"setsid sleep 600 & echo $! >{mark}\n")
    assert "no conda was found" in (problem(agent, conda="x") or "")
    pid = int(mark.read_text())
    eventually(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize("profile", ["exit 3\n", "kill -9 $$\n", "exec true\n"])
def test_a_profile_that_ends_the_shell_hides_no_environment(
    agent: Agent, home: Path, profile: str
) -> None:
    (home / ".bash_profile").write_text(f"echo odd >&2\n{profile}")
    conda_at(home / "miniconda3", "a")
    assert problem(agent, conda="a") == ""
    said = "has a login shell that ends before it can be used: odd"
    assert problem(agent, modules=["m"]) == said
    assert refused(agent, "m-1", modules=["m"]) == f"hostler: this host {said}"


def test_a_shell_that_hangs_is_ended_and_tells_nothing(home: Path) -> None:
    # No program of its own, which would outlive it: here is no supervisor.
    os.mkfifo(home / "never")
    (home / ".bash_profile").write_text(f"read -r word <{home}/never\n")
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    asked = Asked((), "x", (), ())
    null = os.open(os.devnull, os.O_WRONLY)
    with pytest.raises(Late):
        prepared(asked, env, Deadline(0.5), null, is_check=True)
    with pytest.raises(Late, match="did not answer within"):
        prepared(Asked(("m",), None, (), ()), env, Deadline(0.5), null)
    os.close(null)


def test_a_stage_is_stopped_while_its_environment_is_loaded(agent: Agent, home: Path) -> None:
    (home / ".bash_profile").write_text(f"touch {home}/begun\nsleep 600\n")
    agent.job("m-1", ["echo", "started"], modules=["m"])
    eventually((home / "begun").exists)
    agent.ask("job.stop", attempt_id="m-1", grace=5)
    assert agent.ended("m-1")["exit_code"] == 143
    assert log(agent, "m-1") == ""


def test_modules_are_loaded_before_a_virtual_environment_is_built(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "r.txt").touch()
    asked: dict[str, Any] = {"venv": "r.txt", "modules": ["gcc"]}
    argv = prepared_command(["train"], asked, str(tmp_path), "/venvs", ["TOKEN"])
    at = argv.index("--module")
    assert argv[at : at + 5] == ["--module", "gcc", "--keep", "TOKEN", "--"]
    assert argv[-1] == "train"
    assert at < next(i for i, word in enumerate(argv) if word.endswith("/venv.py"))


def test_names_are_never_part_of_a_script(agent: Agent, home: Path) -> None:
    for asked in (
        {"modules": ["a; touch x"]},
        {"modules": ["$(touch x)"]},
        {"modules": ["-h"]},
        {"conda": "a b"},
        {"conda": "-p"},
        {"conda": "../x"},
    ):
        with pytest.raises(AgentSaysNo):
            problem(agent, **asked)
    odd = home / "a $(touch x); touch y" / "env"
    conda_at(odd)
    assert variables(agent, "c-1", conda=str(odd))["CONDA_PREFIX"] == str(odd)
    assert not list(agent.place.base.rglob("[xy]"))


@pytest.fixture
def profile(home: Path) -> Path:
    """A profile that defines a module command."""
    made = home / ".bash_profile"
    made.write_text(
        MODULE + "export HOSTLER_TEST_MODULES=cuda/12.4:gcc PATH=/login/bin:/usr/bin:/bin\n"
        "export PROFILE=yes MINE=profile\n"
    )
    return made


def test_a_module_adds_to_what_the_job_has(agent: Agent, profile: Path) -> None:
    env = variables(agent, "m-1", modules=["gcc", "cuda/12.4"], env={"MINE": "mine"})
    assert env["PATH"].startswith("/opt/cuda/12.4/bin:/opt/gcc/bin:")
    assert "/login/bin" in env["PATH"].split(":")
    assert (env["LOADEDMODULES"], env["CUDA_HOME"]) == ("gcc:cuda/12.4", "/opt/cuda/12.4")
    assert (env["MINE"], env["PROFILE"], env["CUDA_VISIBLE_DEVICES"]) == ("mine", "yes", "")
    assert not [name for name in env if name.startswith("hostler_")]


def test_folders_of_the_submitters_shell_come_before_those_of_the_login(
    agent: Agent, home: Path, profile: Path
) -> None:
    (home / "mine").mkdir()
    given = {"PATH": f"{home}/mine:/usr/bin"}
    path = variables(agent, "m-1", modules=["gcc"], env=given)["PATH"].split(":")
    assert path.index("/opt/gcc/bin") < path.index(f"{home}/mine") < path.index("/login/bin")


@pytest.mark.parametrize(
    "line", ["set -x", "set -v", "set -euo pipefail", "trap 'echo $TOKEN' DEBUG ERR"]
)
def test_what_a_profile_sets_for_its_shell_writes_no_variable_to_the_log(
    agent: Agent, home: Path, profile: Path, line: str
) -> None:
    profile.write_text(profile.read_text() + line + "\n")
    agent.job("m-1", ["true"], modules=["gcc"], env={"TOKEN": "value-of-it"})
    assert agent.ended("m-1")["exit_code"] == 0
    assert "value-of-it" not in log(agent, "m-1")


def test_a_module_that_breaks_every_program_leaves_no_empty_environment(
    agent: Agent, home: Path, profile: Path
) -> None:
    """Such as one with a C library of its own; here a variable that is too long for any."""
    profile.write_text("module() { export LOADEDMODULES=m BIG=$(printf '%0200000d' 0); }\n")
    assert "that ends before it can be used" in (problem(agent, modules=["m"]) or "")
    assert "that ends before it can be used" in refused(agent, "m-1", modules=["m"])


@pytest.mark.parametrize("status", ["0", "1"])
def test_a_module_that_is_unknown_is_named(
    agent: Agent, home: Path, profile: Path, status: str
) -> None:
    """Old versions of Tcl modules succeed whatever happens."""
    profile.write_text(profile.read_text() + f"export HOSTLER_TEST_STATUS={status}\n")
    assert problem(agent, modules=["gcc", "cuda/12.4"]) == ""
    assert problem(agent, modules=["gcc", "cuda/13"]) == "has no module cuda/13"
    said = refused(agent, "m-1", modules=["gcc", "cuda/13"])
    assert said == "hostler: this host has no module cuda/13"
    assert "ERROR: no cuda/13" in log(agent, "m-1"), "what the module system says is told"


def test_secrets_stay_whatever_a_profile_sets(agent: Agent, home: Path, profile: Path) -> None:
    profile.write_text(profile.read_text() + "export TOKEN=profile TOKEN_PATH=profile\n")
    given = {"secrets": {"TOKEN": "dmFsdWU=", "TOKEN_PATH": "dmFsdWU="}}
    named = {"secret_variables": ["TOKEN", "TOKEN_PATH"]}
    env = variables(agent, "m-1", modules=["gcc"], **given, **named)
    assert (env["TOKEN"], env["TOKEN_PATH"]) == ("value", "value")


def test_no_secret_is_in_the_arguments_of_a_shell(agent: Agent, home: Path) -> None:
    (home / ".bash_profile").write_text(f"touch {home}/begun\nsleep 600\n")
    value = b"a-secret-of-this-test"
    given = {"TOKEN": base64.b64encode(value).decode()}
    agent.job("m-1", ["true"], modules=["m"], secrets=given, secret_variables=["TOKEN"])
    eventually((home / "begun").exists)
    seen = [line for path in Path("/proc").glob("[0-9]*/cmdline") for line in arguments(path)]
    assert b"--module" in b"".join(seen)
    assert value not in b"".join(seen)
    agent.ask("job.stop", attempt_id="m-1", grace=5)


def arguments(path: Path) -> list[bytes]:
    try:
        return [path.read_bytes()]
    except OSError:
        return []  # it has just ended


def test_a_conda_of_a_module_is_used(agent: Agent, home: Path, profile: Path) -> None:
    conda_at(home / "apps" / "conda", "x")
    profile.write_text(
        f"export APPS={home}/apps\n"
        "module() { [ $1 = load ] && export LOADEDMODULES=$2 CONDA_EXE=$APPS/conda/bin/conda; }\n"
    )
    assert problem(agent, conda="x") == (
        "has no conda environment called x, and no conda was found"
    )
    assert problem(agent, conda="x", modules=["anaconda"]) == ""
    env = variables(agent, "m-1", conda="x", modules=["anaconda"])
    assert env["CONDA_PREFIX"] == f"{home}/apps/conda/envs/x"


def test_a_login_without_modules_says_so(agent: Agent, home: Path) -> None:
    (home / ".bash_profile").write_text("unset -f module\n")
    if not any(map(os.path.exists, SYSTEM)):
        said = "has no `module` command (Lmod or Environment Modules)"
        assert problem(agent, modules=["cuda"]) == said
    else:
        assert problem(agent, modules=["no-such-module"]) == "has no module no-such-module"


def test_modules_of_a_real_module_system(agent: Agent, home: Path) -> None:
    if not any(map(os.path.exists, SYSTEM)):
        pytest.skip("no module system is installed here")
    files = home / "modules" / "cuda"
    files.mkdir(parents=True)
    (files / "12.4").write_text(
        "#%Module\nprepend-path PATH /opt/cuda/bin\nsetenv CUDA_HOME /opt/cuda\n"
        "setenv CUDA_VISIBLE_DEVICES 3\nprepend-path LD_LIBRARY_PATH /opt/cuda/lib\n"
    )
    (files / "broken").write_text("#%Module\nerror {no licence}\n")
    given = {"MODULEPATH": str(home / "modules")}
    mine = {**given, "LD_LIBRARY_PATH": "/mine"}
    env = variables(agent, "m-1", modules=["cuda/12.4"], env=mine)
    assert env["PATH"].startswith("/opt/cuda/bin:")
    assert (env["CUDA_HOME"], env["LD_LIBRARY_PATH"]) == ("/opt/cuda", "/opt/cuda/lib:/mine")
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert problem(agent, modules=["cuda/12.4"], env=given) == ""
    assert problem(agent, modules=["cuda/13"], env=given) == "has no module cuda/13"
    assert refused(agent, "m-2", modules=["cuda/13"], env=given).endswith("no module cuda/13")
    assert refused(agent, "m-3", modules=["cuda/broken"], env=given).startswith("hostler: this")
