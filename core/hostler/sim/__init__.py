"""The simulated lab: hosts in memory, behind the same Protocols as the real ones; always marked
SIM.

lab = demo_lab()
daemon = await assemble(lab.config(), state, outside(lab))
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hostler.model.config import HostConfig
from hostler.model.generations import Generation
from hostler.model.runtimes import NAMES
from hostler.ports import Outside
from hostler.sim.builder import SimBuilder
from hostler.sim.fleet import demo_lab
from hostler.sim.lab import Pace, SimLab
from hostler.sim.link import SimLink
from hostler.sim.runtime import SimRuntime

__all__ = ["Pace", "SimLab", "SimLink", "SimRuntime", "demo_lab", "outside"]


def outside(lab: SimLab) -> Callable[[Callable[[str], Path]], Outside]:
    """The hosts of this lab as an `Outside`, which `assemble` takes in place of the real one."""

    def make(blob_path: Callable[[str], Path]) -> Outside:
        def link(
            config: HostConfig, daemon_id: str, generation: Generation | None = None
        ) -> SimLink:
            return SimLink(lab, config.target, daemon_id, generation)

        runtimes = {name: SimRuntime(name, blob_path) for name in NAMES}
        return Outside(link=link, runtimes=runtimes, builder=SimBuilder(lab))

    return make
