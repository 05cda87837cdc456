"""The actions of an open run's screen that it does not share with the queue. Pure."""

from __future__ import annotations

from hostler_tui.actions import Action

RUN = ("run",)

RUN_ACTIONS: tuple[Action, ...] = (
    Action("page('log')", ("l",), "log", "The log of the stage", RUN, footer=1,
           command="hostler logs {id}"),
    Action("page('metrics')", ("m",), "metrics", "Charts: what the stage wrote, and its GPUs", RUN,
           footer=2, command="hostler usage {id}"),
    Action("page('why')", ("W",), "why", "Why stages wait, are where they are, or ended", RUN,
           footer=3, command="hostler why {id}"),
    Action("page('info')", ("i",), "info", "Parameters, code, commands and attempts", RUN,
           footer=5, command="hostler show {id}"),
    Action("page('artifacts')", ("a",), "artifacts", "Outputs that were kept", RUN, footer=6),
    Action("files", ("g",), "files", "Files: mark them, fetch them, read them", RUN, footer=6,
           command="hostler get {id} --list"),
    Action("page('events')", ("e",), "events", "What happened, the newest first", RUN, footer=8,
           command="hostler events --run {id}"),
    Action("page('diff')", ("D",), "diff", "The changes that were not committed", RUN, footer=9),
    Action("log_do('follow')", ("f",), "follow", "Log: go with its end, or stay", RUN, footer=13),
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
    Action("full", ("F",), "full", "The page alone, or with the stages beside it", RUN, footer=10),
    Action("unfold", ("enter",), "open", "Open the stage's log, or the cells of a matrix", RUN),
    Action("back", ("escape",), "back", "Back to the screen before", RUN, footer=70),
)  # fmt: skip
