"""Builds of images in the simulated lab; the argument SIM sets their behaviour, as for a stage."""

from __future__ import annotations

import asyncio
import hashlib

from hostler.base.errors import EngineError, InputError
from hostler.model.builds import BuildJob, Built
from hostler.ports import HostLink, LogSink, Progress
from hostler.sim.behaviour import Behaviour, behaviour_of
from hostler.sim.lab import SimLab

_STEP_S = 0.02


class SimBuilder:
    """Lets time pass, writes a line for each step, and invents a digest."""

    def __init__(self, lab: SimLab) -> None:
        self._lab = lab

    async def build(
        self, link: HostLink, job: BuildJob, sink: LogSink, progress: Progress
    ) -> Built:
        """See `Builder`. Equal arguments and files make one image, on any host."""
        try:
            does = behaviour_of(job.attempt_id, job.args)
        except ValueError as error:
            raise InputError(str(error)) from error
        if does.start_error:
            raise EngineError(link.host, does.start_error)
        await self._steps(link, does, sink, progress)
        if does.exit:
            return Built(exit_code=does.exit, error=f"step 2/2: RUN sim: exit code {does.exit}")
        image = _image(job)
        self._lab.hosts[link.host].images.add(image)
        return Built(image=image)

    async def holds(self, link: HostLink, image: str) -> bool:
        """See `Builder`."""
        return image in self._lab.hosts[link.host].images

    async def _steps(
        self, link: HostLink, does: Behaviour, sink: LogSink, progress: Progress
    ) -> None:
        began, total = self._lab.clock.now(), max(1, does.lines)
        for number in range(1, total + 1):
            while self._lab.clock.now() < began + does.seconds * number / total:
                await asyncio.sleep(_STEP_S)
                await link.call("stat", {"paths": []})  # it ends with the connection
            what = f"Step {number}/{total} : RUN sim"
            sink.append(f"{what}\n".encode(), {})
            progress(what, number, total)


def _image(job: BuildJob) -> str:
    told = (job.context, job.dockerfile, job.target, sorted(job.args.items()))
    files = [(each.digest, each.target) for each in job.placements]
    return f"sha256:{hashlib.sha256(repr((told, files)).encode()).hexdigest()}"
