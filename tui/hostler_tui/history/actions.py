"""The keys of the screens of past runs and of compared runs. Pure."""

from __future__ import annotations

from hostler_tui.actions import Action

HISTORY = ("history",)
COMPARE = ("compare",)
BOTH = (*HISTORY, *COMPARE)

HISTORY_ACTIONS: tuple[Action, ...] = (
    Action("open", ("enter",), "open", "Open the run", HISTORY, footer=1,
           command="hostler show {id}"),
    Action("compare", ("c",), "compare", "Compare the marked runs (space marks): what differs, "
           "and their metrics", HISTORY, footer=2, needs_daemon=True,
           command="hostler compare {id} ID"),
    Action("filter", ("slash",), "filter",
           "Search: words, pipeline= owner= state= since=30d param.lr=0.1 metric.accuracy>=0.9; "
           "Enter keeps, Esc clears, up recalls", HISTORY, footer=3, types=True,
           command="hostler runs"),
    Action("sort", ("o",), "sort",
           "Choose what to sort by: any column, metric or parameter; choose it again to "
           "reverse the order", HISTORY, footer=4),
    Action("sort_beside(-1)", ("less_than_sign",), "sort left", "Sort by the previous column",
           HISTORY),
    Action("sort_beside(1)", ("greater_than_sign",), "sort right", "Sort by the next column",
           HISTORY),
    Action("columns", ("C",), "columns", "Choose the columns, metrics and parameters among them",
           HISTORY, footer=5),
    Action("export", ("e",), "export",
           "Export all runs that match the filter to a .csv or .json file",
           HISTORY, footer=6, needs_daemon=True, command="hostler runs --json"),
    Action("rerun", ("R",), "rerun",
           "Run all stages again; asks which code to use", HISTORY, footer=7,
           needs_daemon=True, command="hostler rerun {id}"),
    Action("retry", ("t",), "retry", "Run unsuccessful stages again; asks", HISTORY, footer=9,
           needs_daemon=True, command="hostler retry {id}"),
    Action("forget", ("d", "delete"), "remove",
           "Remove the marked runs, or this one, with logs and outputs; asks for the name or "
           "the count", HISTORY, footer=10, needs_daemon=True,
           command="hostler rm {id}"),
    Action("unmark", ("escape",), "unmark", "Unmark everything", HISTORY),
    Action("back", ("escape",), "back", "Back to the previous screen", COMPARE, footer=1),
    Action("all_rows", ("u",), "all rows", "All rows, or only those that differ", COMPARE,
           footer=2),
    Action("base", ("b",), "base", "Compare with the next run as base", COMPARE, footer=3),
    Action("metric(1)", ("m",), "metric", "The next metric's charts", COMPARE, footer=4),
    Action("metric(-1)", ("M",), "metric back", "The charts of the previous metric", COMPARE),
    Action("source", ("D",), "source",
           "Commit and uncommitted changes of the code", BOTH, footer=8, needs_daemon=True),
)  # fmt: skip
