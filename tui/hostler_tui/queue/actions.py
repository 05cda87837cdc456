"""The keys of the queue screen, and keys for runs that several screens share (cancel, retry,
rerun, priority). Pure."""

from __future__ import annotations

from hostler_tui.actions import Action

QUEUE = ("queue",)
RUNS = ("queue", "run")

QUEUE_ACTIONS: tuple[Action, ...] = (
    Action("open", ("enter",), "open", "Open the run with this stage", QUEUE, footer=1,
           command="hostler show {id}"),
    Action("log", ("l",), "log", "The log of this stage", QUEUE, footer=2,
           command="hostler logs {id}"),
    Action("submit", ("n",), "submit", "Submit a pipeline: choose the file, its parameters, look "
           "at the plan", QUEUE, footer=3, needs_daemon=True, command="hostler run FILE"),
    Action("filter", ("slash",), "filter", "Filter: words, or field=value", QUEUE,
           footer=6, types=True),
    Action("mark", ("space",), "mark", "Mark the row, or unmark it", QUEUE),
    Action("mark_all", ("M",), "mark all", "Mark all rows that are shown", QUEUE),
    Action("unmark", ("escape",), "unmark", "Unmark everything", QUEUE),
    Action("compare", ("c",), "compare", "Compare the marked runs", QUEUE, footer=8,
           needs_daemon=True),
    Action("order", ("o",), "order", "Sort by run, or pending stages first", QUEUE, footer=9),
    Action("boxes", ("b",), "boxes", "The graph of stages as boxes, or as rails", QUEUE,
           footer=10),
    Action("cancel", ("X",), "cancel", "Stop the marked runs, or this one; asks", RUNS, footer=4,
           needs_daemon=True, command="hostler cancel {id}"),
    Action("rerun", ("R",), "rerun",
           "Run all stages again; asks which code to use", RUNS, footer=11,
           needs_daemon=True, command="hostler rerun {id}"),
    Action("retry", ("t",), "retry", "Run unsuccessful stages again; asks", RUNS, footer=12,
           needs_daemon=True, command="hostler retry {id}"),
    Action("lower", ("minus",), "lower", "Lower the priority; asks", RUNS,
           footer=7, needs_daemon=True, command="hostler priority {id} -1"),
)  # fmt: skip
