"""Carries out deploy, rollback, scale, stop, extend and compare on the screen: which service is
meant, the question, the answer shown. Each asks first, and reports the answer."""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from textual import work

from hostler.base.errors import HostlerError
from hostler.base.units import parse_duration
from hostler_tui.deploy.changes import ChangesReader
from hostler_tui.deploy.deploying import deploy_pipeline
from hostler_tui.deploy.questions import (
    extend_command,
    extend_lines,
    rollback_question,
    scale_command,
    scale_hint,
    scale_lines,
    scale_name,
    stop_question,
)
from hostler_tui.runs.questions import Question
from hostler_tui.services import Replica, Service
from hostler_tui.widgets.form import Field, Form
from hostler_tui.widgets.lab_screen import LabScreen
from hostler_tui.widgets.modal import Confirm


def user_name() -> str:
    """The user of the screen, by the daemon's name for this user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as some containers have it
        return str(os.getuid())


class DeployActs(LabScreen):
    """Deploy, roll back, scale, stop, compare. Subclasses return the selected objects."""

    @property
    def chosen(self) -> Service | None:
        """The selected service."""
        return None

    @property
    def chosen_replica(self) -> Replica | None:
        """The selected replica."""
        return None

    def chosen_releases(self) -> Sequence[int]:
        """The marked releases, or the release at the cursor."""
        return ()

    def nothing(self) -> str:
        """Why no service is selected."""
        return "no service is selected"

    def acted(self, service: str = "") -> None:
        """An action on that service was done."""

    def action_deploy(self) -> None:
        """Choose a pipeline file, and deploy it."""
        self._deploy()

    def action_log(self) -> None:
        """Show the log of a replica."""
        replica = self.chosen_replica
        if replica is None:
            self.app.tell(self.nothing() if self.chosen is None else "it has no replicas",
                          "warning")  # fmt: skip
            return
        self.app.open_run(replica.part.run_id, replica.view.name, "log")

    def action_rollback(self) -> None:
        """Roll back, after showing the effect."""
        one = self._deployed()
        if one is not None:
            number = next((n for n in self.chosen_releases() if n in one.ended), None)
            if number is None and one.is_stopped and one.live is not None:
                number = one.live.number  # what served last, not the one before
            self._rollback(one, number)

    def action_scale(self) -> None:
        """Scale, after asking for the number."""
        if (one := self._meant_running()) is not None:
            self._scale(one)

    def action_stop(self) -> None:
        """Stop, after asking for the service's name."""
        if (one := self._meant_running()) is not None:
            self._stop(one)

    def action_extend(self) -> None:
        """Extend, after asking for how long."""
        if (one := self._meant_running()) is None:
            return
        if one.parts[0].until is None:
            self.app.tell(f"{one.name} has no end: it runs until it is stopped", "warning")
            return
        self._extend(one)

    def action_diff(self) -> None:
        """Compare two marked releases, or the selected one and the live one."""
        one = self._deployed()
        if one is None:
            return
        numbers = sorted(self.chosen_releases())[-2:]
        if len(numbers) == 1 and one.live is not None:
            numbers = sorted({*numbers, one.live.number})
        if len(numbers) < 2 and len(one.releases) > 1:
            numbers = sorted(release.number for release in one.releases[:2])
        if len(numbers) < 2:
            self.app.tell(f"{one.name} has one release", "warning")
            return
        self.app.push_screen(ChangesReader(one.name, numbers[1], numbers[0]))

    def _meant(self) -> Service | None:
        if self.chosen is None:
            self.app.tell(self.nothing(), "warning")
        return self.chosen

    def _meant_running(self) -> Service | None:
        one = self._meant()
        if one is not None and one.is_stopped:
            told = f"{one.name} does not run: R restores a release, d deploys a file"
            self.app.tell(told, "warning")
            return None
        return one

    def _deployed(self) -> Service | None:
        one = self._meant()
        if one is not None and not one.is_deployed:
            told = f"{one.name} has no releases: it was started with its run; d deploys a file"
            self.app.tell(told, "warning")
            return None
        return one

    @work(exclusive=True, group="act", exit_on_error=False)
    async def _deploy(self) -> None:
        made = await deploy_pipeline(self.app)
        if made is not None:
            self.app.tell(f"release {made.number} of {made.service} is {made.state}")
            self.acted(made.service)
            self.app.action_refresh()

    @work(exclusive=True, group="act", exit_on_error=False)
    async def _rollback(self, one: Service, number: int | None) -> None:
        is_usual = one.target is not None and one.target.number == number and not one.is_stopped
        wanted = None if is_usual else number
        try:
            plan = await self.app.client.plan_rollback(one.name, wanted)
        except HostlerError as error:
            self.app.tell_error(error)
            return
        if not await self._confirmed(rollback_question(one, wanted, plan)):
            return
        done = f"release {plan.replaces} of {one.name} is being undone"
        if plan.strategy:
            done = f"release {plan.release} of {one.name} is restored as a new release"
        await self._try(partial(self.app.client.rollback, one.name, wanted), done)

    @work(exclusive=True, group="act", exit_on_error=False)
    async def _scale(self, one: Service) -> None:
        form = Form(
            f"Change the number of replicas of {one.name}?",
            scale_lines(one, user_name()),
            [("scale", "scale it")],
            fields=[Field("replicas", str(one.parts[0].wanted), scale_hint(one))],
            command=lambda values: scale_command(one, values["replicas"]),
        )
        answer = await self.app.push_screen_wait(form)
        if answer is None:
            return
        text = answer.values["replicas"].strip()
        if not (text.isascii() and text.isdigit() and len(text) < 6):
            told = f"{text!r} is no number of replicas: type {scale_hint(one)}"
            self.app.tell(told, "error")
            return
        scale = partial(self.app.client.scale, scale_name(one), int(text))
        await self._try(scale, f"{one.name}: {text} replicas wanted")

    @work(exclusive=True, group="act", exit_on_error=False)
    async def _extend(self, one: Service) -> None:
        form = Form(
            f"Let {one.name} run longer?",
            extend_lines(one, user_name()),
            [("extend", "extend it")],
            fields=[Field("by", "7d", "a time like 12h or 7d")],
            command=lambda values: extend_command(one, values["by"]),
        )
        answer = await self.app.push_screen_wait(form)
        if answer is None:
            return
        text = answer.values["by"].strip()
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            self.app.tell(str(error), "error")
            return
        extend = partial(self.app.client.extend, scale_name(one), seconds)
        await self._try(extend, f"{one.name} runs {text} longer")

    @work(exclusive=True, group="act", exit_on_error=False)
    async def _stop(self, one: Service) -> None:
        if await self._confirmed(stop_question(one, user_name())):
            for name in one.names:
                await self._try(partial(self.app.client.stop, name), f"{name}: stopping")

    async def _confirmed(self, question: Question) -> bool:
        dialog = Confirm(
            question.text, question.effects, question.yes,
            command=question.command, typed=question.typed,
        )  # fmt: skip
        answer: bool | None = await self.app.push_screen_wait(dialog)
        return answer is True

    async def _try(self, do: Callable[[], Awaitable[object]], done: str) -> None:
        try:
            await do()
        except HostlerError as error:
            self.app.tell_error(error)
            return
        self.app.tell(done)
        self.acted()
        self.app.action_refresh()
