"""The steps of deploying from the screen: choose a file, set parameters, --env and --strategy,
see the changes, confirm.

Nothing is deployed before the difference was shown and answered. Esc goes one step back.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hostler.base.errors import InputError
from hostler.client.submission import Parcel, choose_code, parcel_of, sent
from hostler.model.views.services import DeployView, ReleaseView
from hostler.show.releases import deploy_lines
from hostler.submit.body import pipeline_body
from hostler_tui.lines import Line, line, wrapped
from hostler_tui.submit.pipeline_files import changed
from hostler_tui.submit.screen import Say, WorkScreen, with_chosen_file
from hostler_tui.widgets.form import Field, Form

if TYPE_CHECKING:
    from hostler.base.json_types import JsonTable
    from hostler_tui.lab_app import LabApp

STRATEGIES = ("surge", "recreate")
_OWN = {"--env": "NAME=VALUE ..., variables of the service",
        "--strategy": "surge or recreate; the best there is room for if empty"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chosen:
    """The chosen file and the typed values."""

    file: Path
    params: Mapping[str, str]
    env: str
    strategy: str

    @classmethod
    def of(cls, file: Path, defaults: Mapping[str, str], values: Mapping[str, str]) -> Chosen:
        """From the fields of the form."""
        own = changed(defaults, values)
        return cls(file, own, values["--env"].strip(), values["--strategy"].strip())

    def told(self, *ends: str) -> str:
        """The same as a command."""
        words = ["hostler", "deploy", str(self.file)]
        for name, value in self.params.items():
            words += ["-p", f"{name}={value}"]
        for pair in _words(self.env):
            words += ["--env", pair]
        words += ["--strategy", self.strategy] if self.strategy else []
        return shlex.join([*words, *ends])

    def how(self) -> JsonTable:
        """The options that are sent with the pipeline. Raises InputError."""
        return {"set_env": dict(map(_pair, _words(self.env))), "strategy": self._strategy()}

    def body(self) -> JsonTable:
        """The pipeline, with its parameters. Raises InputError."""
        return pipeline_body(self.file, dict(self.params), os.environ)

    def _strategy(self) -> str | None:
        if self.strategy and self.strategy not in STRATEGIES:
            raise InputError(
                f"{self.strategy!r} is no strategy", remedy=f"Type {' or '.join(STRATEGIES)}"
            )
        return self.strategy or None


def _words(text: str) -> list[str]:
    """The words, split as a shell splits them; unsplit if that is not possible."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--env: {text!r} is not NAME=VALUE", remedy="Type NAME=VALUE")
    return name, value


async def deploy_pipeline(app: LabApp) -> ReleaseView | None:
    """All steps; the release, or None if nothing was deployed."""
    return await with_chosen_file(app, _with_parameters)


async def _with_parameters(
    app: LabApp, file: Path, defaults: Mapping[str, str]
) -> ReleaseView | None:
    """Parameters, difference and answer; None to go back to the files."""
    values: Mapping[str, str] = {**defaults, **dict.fromkeys(_OWN, "")}
    while True:
        form = Form(
            f"Deploy {file.name}",
            [f"from {file.parent}, which is sent if the service uses a copy of the code"],
            [("plan", "show what changes")],
            fields=[Field(name, value, _OWN.get(name, "")) for name, value in values.items()],
            command=lambda of: Chosen.of(file, defaults, of).told(),
            leave="back",
            is_safe=True,
        )
        answer = await app.push_screen_wait(form)
        if answer is None:
            return None
        values = answer.values
        made = await _plan_and_deploy(app, Chosen.of(file, defaults, values))
        if made is not None:
            return made


async def _plan_and_deploy(app: LabApp, chosen: Chosen) -> ReleaseView | None:
    """The code is packed once: the sent code is the code that was shown."""
    folder, client = chosen.file.parent, app.client
    parcels: list[Parcel] = []

    async def planned(say: Say) -> DeployView:
        body = await client.carry_out(choose_code(chosen.body(), folder))
        parcels.append(await client.carry_out(parcel_of(body, folder)))
        return await client.plan_deploy({**parcels[-1].plan, **chosen.how()})

    async def deployed(say: Say) -> ReleaseView:
        body = await client.carry_out(sent(parcels[-1], say))
        return await client.deploy({**body, **chosen.how()})

    told = f"Planned changes: {chosen.told('--plan')}"
    picture = WorkScreen(told, planned, picture=plan_lines, yes="deploy it", leave="back")
    try:
        if await app.push_screen_wait(picture) is None:
            return None
        return await app.push_screen_wait(WorkScreen(chosen.told("-d", "-y"), deployed))
    finally:
        for parcel in parcels:
            parcel.drop()


def plan_lines(plan: DeployView, width: int) -> Sequence[Line]:
    """The difference from the live release, then how the new one takes over, with the gap."""
    head, *told = deploy_lines(plan)
    changes = 0 if plan.replaces is None else len(plan.changes)
    lines = wrapped(head, width, "", "title")
    for text in told[:changes]:
        lines += wrapped(text, width, "  ")
    for text in told[changes:]:
        lines += wrapped(text, width, "", "warn" if plan.gap else "accent")
    return [*lines, line(""), line(("nothing is started yet", "dim"))]
