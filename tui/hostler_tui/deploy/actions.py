"""The keys of the deployments screen; deploy/acts.py carries them out. Pure."""

from __future__ import annotations

from hostler_tui.actions import Action

DEPLOY = ("deploy",)

DEPLOY_ACTIONS: tuple[Action, ...] = (
    Action("open", ("enter",), "open", "Go from a service to its releases; open the run of a "
           "release, or the log of a replica", DEPLOY, footer=1, command="hostler services {id}"),
    Action("log", ("l",), "log", "The log of the selected replica, or of the first one with a "
           "problem", DEPLOY, footer=2),
    Action("deploy", ("d",), "deploy", "Deploy a pipeline file: choose it, its parameters, look at "
           "what changes, and confirm", DEPLOY, footer=3, needs_daemon=True,
           command="hostler deploy FILE"),
    Action("rollback", ("R",), "roll back", "Undo the open release, or restore the selected or "
           "last one; shows what it does, asks for the name", DEPLOY, footer=4, needs_daemon=True,
           command="hostler rollback {id}"),
    Action("scale", ("s",), "scale", "Change the number of replicas; asks", DEPLOY, footer=5,
           needs_daemon=True, command="hostler scale {id} 2"),
    Action("stop", ("X",), "stop", "Stop the service with all its replicas; asks for the name",
           DEPLOY, footer=6, needs_daemon=True, command="hostler stop {id}"),
    Action("extend", ("e",), "extend", "Let a service that has an end (`until`) run longer; asks",
           DEPLOY, footer=10, needs_daemon=True, command="hostler extend {id} 7d"),
    Action("diff", ("D",), "diff", "What differs between two marked releases, or between the "
           "selected and the live one", DEPLOY, footer=7, needs_daemon=True,
           command="hostler releases {id} --diff 1 2"),
    Action("other_pane", ("tab",), "pane", "Switch between services, replicas and releases",
           DEPLOY, footer=8),
    Action("filter", ("slash",), "filter", "Filter: words, and state=failing owner=ana; Enter "
           "keeps, Esc clears, up recalls", DEPLOY, footer=9, types=True),
    Action("back", ("escape",), "back", "Unmark releases; back to the services", DEPLOY),
)  # fmt: skip
