"""The environment that a stage's command gets (modules, conda), and which variables change where it
is searched. Hosts have them or not.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import NamedTuple

from hostler.base.environment_names import is_file

SEARCHED = frozenset(
    {"MODULEPATH", "CONDA_ENVS_PATH", "CONDA_ENVS_DIRS", "CONDA_EXE", "MAMBA_ROOT_PREFIX"}
)
"""Variables that set where modules and environments are searched."""


class Environment(NamedTuple):
    """Names on a host."""

    conda: str | None = None
    modules: tuple[str, ...] = ()

    def __str__(self) -> str:
        """ "conda environment subt and module cuda/12.4": another text for each environment."""
        conda = f"conda environment {shlex.quote(self.conda)}" if self.conda is not None else ""
        several = "s" if len(self.modules) > 1 else ""
        modules = f"module{several} {', '.join(self.modules)}" if self.modules else ""
        return " and ".join(filter(None, (conda, modules)))


def conda_file(conda: str | None) -> str | None:
    """The file of the source that `conda` of a stage names, if it names one."""
    return conda if conda is not None and is_file(conda) else None


def environment_to_ask(
    conda: str | None, modules: tuple[str, ...], variables: Collection[str]
) -> Environment | None:
    """The environment that hosts are asked about before one is chosen; None: none. A stage whose
    own `variables` change the search finds things that a host does not know."""
    if conda_file(conda) is not None:
        conda = None  # it is built there
    if (conda is None and not modules) or not SEARCHED.isdisjoint(variables):
        return None
    return Environment(conda, modules)
