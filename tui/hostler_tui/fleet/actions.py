"""The keys of the fleet screen and the host screen. Pure."""

from __future__ import annotations

from hostler_tui.actions import Action

FLEET = ("fleet",)
HOST = ("host",)
BOTH = (*FLEET, *HOST)

FLEET_ACTIONS: tuple[Action, ...] = (
    Action("open", ("enter",), "open", "Open the host: its last hour, processes, disks, findings",
           FLEET, footer=1),
    Action("gpu(1)", ("right",), "gpu", "Select the next GPU of the host", FLEET, footer=2),
    Action("gpu(-1)", ("left",), "gpu back", "Select the previous GPU", FLEET),
    Action("open_run", ("l",), "run", "Open the run that holds the selected GPU, with its logs",
           FLEET, footer=4),
    Action("filter", ("slash",), "filter",
           "Filter: words, and state=free model~a100 free>=2; Enter keeps, Esc "
           "clears, up recalls", FLEET, footer=5, types=True,
           command="hostler gpus --host GLOB --model A100"),
    Action("sort", ("o",), "sort", "Choose what hosts are sorted by", FLEET, footer=6),
    Action("sort_beside(-1)", ("less_than_sign",), "sort left", "Sort by the previous column",
           FLEET),
    Action("sort_beside(1)", ("greater_than_sign",), "sort right", "Sort by the next column",
           FLEET),
    Action("group", ("g",), "group", "Group by host, model, owner or state", FLEET, footer=8),
    Action("fold", ("x",), "fold", "One row per GPU, or one per host", FLEET, footer=7),
    Action("back", ("escape",), "back", "Back to the fleet", HOST, footer=1),
    Action("other_pane", ("tab",), "pane",
           "Switch between the GPUs and the details below", HOST, footer=2),
    Action("doctor", ("d",), "doctor", "Check this host and show remedies", HOST,
           footer=3, command="hostler doctor {id}"),
    Action("drain", ("D",), "drain",
           "Drain or undrain the host; running work continues. Asks first",
           BOTH, footer=10, needs_daemon=True, command="hostler drain {id} --reason TEXT"),
    Action("trust", ("K",), "trust key", "Check the host's key in the terminal and trust it",
           HOST, footer=11, command="hostler host trust {id}"),
    Action("reconnect", ("c",), "connect", "Reconnect to the host now", BOTH, footer=12,
           needs_daemon=True),
)  # fmt: skip
