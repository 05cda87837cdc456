"""The keys of the run screen that the queue screen does not share. Pure."""

from __future__ import annotations

from hostler_tui.actions import Action

RUN = ("run",)

RUN_ACTIONS: tuple[Action, ...] = (
    Action("page('log')", ("l",), "log", "The log of the stage", RUN, footer=1,
           command="hostler logs {id}"),
    Action("page('metrics')", ("m",), "metrics", "Charts of the stage's metrics and GPU use", RUN,
           footer=2, command="hostler usage {id}"),
    Action("page('why')", ("W",), "why", "Why stages are pending, were placed there, or ended", RUN,
           footer=3, command="hostler why {id}"),
    Action("page('info')", ("i",), "info", "Parameters, code, commands and attempts", RUN,
           footer=5, command="hostler show {id}"),
    Action("page('artifacts')", ("a",), "artifacts", "Kept outputs", RUN, footer=6),
    Action("files", ("g",), "files", "Files: mark them, fetch them, read them", RUN, footer=6,
           command="hostler get {id} --list"),
    Action("page('events')", ("e",), "events", "Events, newest first", RUN, footer=8,
           command="hostler events --run {id}"),
    Action("page('diff')", ("D",), "diff", "Uncommitted changes", RUN, footer=9),
    Action("log_do('follow')", ("f",), "follow",
           "Log: follow its end, or stop following", RUN, footer=13),
    Action("log_do('search')", ("slash",), "search", "Log: find a text or regular expression", RUN,
           footer=14, types=True),
    Action("log_do('wrap')", ("w",), "wrap", "Log: long lines over several rows", RUN, footer=15),
    Action("log_do('only_matches')", ("ampersand",), "only matches",
           "Log: show only the lines that match, or all again", RUN,
           types=True),
    Action("log_do('next_match(1)')", ("n",), "next", "Log: the next match", RUN),
    Action("log_do('next_match(-1)')", ("N",), "previous", "Log: the match before", RUN),
    Action("log_do('save')", ("S",), "save", "Log: save all of it to a file", RUN, footer=16,
           types=True),
    Action("log_do('range')", ("V",), "select", "Log: select lines; y copies them", RUN),
    Action("full", ("F",), "full", "Show the page alone, or beside the stages", RUN, footer=10),
    Action("unfold", ("enter",), "open", "Open the stage's log, or the cells of a matrix", RUN),
    Action("back", ("escape",), "back", "Back to the previous screen", RUN, footer=70),
)  # fmt: skip
