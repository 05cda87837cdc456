"""Carries out cancel, retry, rerun and lower priority on all screens: which runs are meant, the
question, the notice after it. Each asks first."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from textual import work

from hostler.base.errors import HostlerError
from hostler.client.submission import rerun
from hostler.model.views.runs import NewRun, RunView
from hostler_tui.runs.questions import (
    Question,
    cancel_question,
    priority_lines,
    rerun_lines,
    retry_question,
)
from hostler_tui.submit.pipeline_files import command_text
from hostler_tui.submit.screen import WorkScreen
from hostler_tui.widgets.form import Field, Form
from hostler_tui.widgets.lab_screen import LabScreen
from hostler_tui.widgets.modal import Confirm

T = TypeVar("T")


class RunActs(LabScreen):
    """Cancel, retry, rerun, lower the priority. Subclasses return the selected runs."""

    def targets(self) -> Sequence[RunView]:
        """The marked runs, else the run at the cursor."""
        return ()

    def nothing(self) -> str:
        """Why no run is selected."""
        return "no run is selected"

    def acted(self) -> None:
        """An action was done: clear the marks."""

    def action_cancel(self) -> None:
        """Cancel runs, after asking."""
        meant = self.targets()
        runs = [run for run in meant if run.outcome is None]
        if not runs:
            said = "no stage here is running or pending" if meant else self.nothing()
            self.app.tell(said, "warning")
            return
        self._cancel(runs)

    def action_retry(self) -> None:
        """Retry stages that did not succeed, after asking."""
        for run in self._one(self.targets()):
            self._retry(run)

    def action_rerun(self) -> None:
        """Run everything again, after asking for the code to use."""
        for run in self._one(self.targets()):
            self._rerun(run)

    def action_lower(self) -> None:
        """Lower a run's priority, after asking by how much."""
        for run in self._one(self.targets()):
            self._lower(run)

    def _one(self, runs: Sequence[T]) -> Sequence[T]:
        """The selected run, if there is exactly one."""
        if len(runs) != 1:
            what = self.nothing() if not runs else "this is for one run: unmark the others"
            self.app.tell(what, "warning")
            return ()
        return runs

    @work(exclusive=True, group="act", exit_on_error=False)
    async def _cancel(self, runs: Sequence[RunView]) -> None:
        if not await self._confirmed(cancel_question(runs, os.getuid())):
            return
        done = 0
        for run in runs:
            run_id = run.run_id
            done += await self._try(partial(self.app.client.cancel, run_id))
        if done:
            self.app.tell(f"cancelling {runs[0].run_id if len(runs) == 1 else f'{done} runs'}")
        self._done()

    @work(exclusive=True, group="act", exit_on_error=False)
    async def _retry(self, run: RunView) -> None:
        if await self._confirmed(retry_question(run)):
            await self._try(lambda: self._made(self.app.client.retry(run.run_id)))
            self._done()

    @work(exclusive=True, group="act", exit_on_error=False)
    async def _rerun(self, run: RunView) -> None:
        run_id = run.run_id
        has_code = bool(run.source.digest)
        answers = [("today", "with the current code")] if has_code else []
        form = Form(
            f"Run {run_id} again from the start?",
            rerun_lines(run) if has_code else rerun_lines(run)[:1],
            [*answers, ("same", "with the same code" if has_code else "run it")],
            command=lambda _: f"hostler rerun {run_id} [--same-code]",
        )
        answer = await self.app.push_screen_wait(form)
        if answer is None:
            return
        same = answer.button == "same"
        client = self.app.client
        made = await self.app.push_screen_wait(
            WorkScreen(
                command_text(["rerun", run_id, *(["--same-code"] if same else [])]),
                lambda say: client.carry_out(rerun(run_id, same_code=same, say=say)),
            )
        )
        if made is not None:
            self.app.tell(f"{made.run_id} is a rerun of {run_id}")
            self._done()

    @work(exclusive=True, group="act", exit_on_error=False)
    async def _lower(self, run: RunView) -> None:
        run_id, now = run.run_id, run.priority
        form = Form(
            f"Lower the priority of {run_id}?",
            priority_lines(run),
            [("lower", "lower it")],
            fields=[
                Field(
                    "priority",
                    str(now - 1),
                    "0 or less, lower than now",
                )
            ],
            command=lambda values: f"hostler priority {run_id} {values['priority']}",
        )
        answer = await self.app.push_screen_wait(form)
        if answer is None:
            return
        try:
            wanted = int(answer.values["priority"])
        except ValueError:
            self.app.tell(f"{answer.values['priority']!r} is not a whole number", "error")
            return
        if await self._try(lambda: self.app.client.priority(run_id, wanted)):
            self.app.tell(f"{run_id}: priority {wanted}")
        self._done()

    async def _confirmed(self, question: Question) -> bool:
        dialog = Confirm(
            question.text, question.effects, question.yes,
            command=question.command, typed=question.typed,
        )  # fmt: skip
        answer: bool | None = await self.app.push_screen_wait(dialog)
        return answer is True

    async def _made(self, call: Awaitable[NewRun]) -> None:
        self.app.tell(f"submitted {(await call).run_id}")

    async def _try(self, do: Callable[[], Awaitable[object]]) -> bool:
        try:
            await do()
        except HostlerError as error:
            self.app.tell_error(error)
            return False
        return True

    def _done(self) -> None:
        self.acted()
        self.app.action_refresh()
