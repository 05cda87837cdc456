"""Keys of a stage that choose its process's environment (`venv`, `conda`, `modules`, `setup`), and
the default of `setup_timeout`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hostler.base.keys import Flag, toml_key
from hostler.base.value_kinds import CONDA, DURATION, MODULES, RELATIVE, RELATIVES, SCRIPT


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentKeys:
    """Keys that a stage may set itself, or inherit from [defaults]."""

    venv: str | None = field(
        default=None,
        metadata=toml_key(
            RELATIVE,
            "Requirements file from which a virtual environment is built once, for processes.",
            flag=Flag(
                "--venv",
                "FILE",
                "run it in a virtual environment built from this requirements file",
            ),
        ),
    )
    conda: str | None = field(
        default=None,
        metadata=toml_key(
            CONDA,
            "Name or path of a conda environment that hosts have, for processes, or a file "
            "(environment.yml) from which one is built once.",
            flag=Flag(
                "--conda",
                "NAME",
                "run it in this conda environment of the host, or in one of a file",
            ),
        ),
    )
    modules: tuple[str, ...] = field(
        default=(),
        metadata=toml_key(
            MODULES,
            "Modules of the host to load before the command, for processes.",
            flag=Flag("--module", "NAME", "load this module of the host; may be repeated"),
        ),
    )
    setup: str | None = field(
        default=None,
        metadata=toml_key(
            SCRIPT,
            "Shell lines that run once on a host, before GPUs are claimed, in an environment of "
            "their own in which the command then runs: `pip install -r requirements.txt`. Beside "
            "`image` they make a layer on it, as root.",
            flag=Flag(
                "--setup", "TEXT", "run these shell lines before the command, once on each host"
            ),
        ),
    )
    setup_files: tuple[str, ...] | None = field(
        default=None,
        metadata=toml_key(
            RELATIVES,
            "Files on which the environment of `setup` depends. Default: requirements and lock "
            "files with what they include, and files that `setup` names.",
            of_command=True,
        ),
    )
    setup_timeout: float = field(
        default=1800.0,
        metadata=toml_key(DURATION, "A `setup` that takes longer is stopped.", of_command=True),
    )
