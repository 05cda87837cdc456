"""The graph of stages as boxes."""

from __future__ import annotations

from hostler_tui.lines import text_of
from hostler_tui.runs.dag import Box, box_lines
from hostler_tui.runs.lines import graph_lines
from tests.support.values import run_objects

NEEDS = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("c",)}
BOXES = {key: Box(key, "waiting", "1 GPU") for key in NEEDS}


def test_a_box_says_what_a_start_is_busy_with_in_place_of_where_it_is() -> None:
    doing = {"what": "preparing its environment (setup)", "done": 0, "total": None}
    for progress, said in ((doing, "preparing its envi"), (None, "gpu1:2 GPUs")):
        starting = run_objects.stage(status="starting", progress=progress)
        lines, _ = graph_lines(run_objects.run(starting), run_objects.NOW, {}, 80, boxes=True)
        assert said in "\n".join("".join(text for text, _ in each) for each in lines)


def test_boxes_are_joined_from_left_to_right() -> None:
    lines = box_lines(NEEDS, BOXES, 80)
    assert lines is not None
    assert [text_of(line).rstrip() for line in lines] == [
        "                   ┌───────────┐       ┌───────────┐",
        "               ╭───│ b waiting │───┬───│ d waiting │",
        " ┌───────────┐ │   │ 1 GPU     │   │   │ 1 GPU     │",
        " │ a waiting │─┤   └───────────┘   │   └───────────┘",
        " │ 1 GPU     │ │   ┌───────────┐   │   ┌───────────┐",
        " └───────────┘ ╰───│ c waiting │───┴───│ e waiting │",
        "                   │ 1 GPU     │       │ 1 GPU     │",
        "                   └───────────┘       └───────────┘",
    ]


def test_what_does_not_fit_is_not_drawn() -> None:
    assert box_lines(NEEDS, BOXES, 40) is None


def test_an_edge_over_several_layers_has_a_way_of_its_own() -> None:
    needs = {"a": (), "b": ("a",), "c": ("b",), "d": ("c",), "e": ("a",), "f": ("d", "e")}
    boxes = {key: Box(key, "new", "") for key in needs}
    lines = box_lines(needs, boxes, 200)
    assert lines is not None
    assert [text_of(line).rstrip() for line in lines] == [
        "               ┌───────┐",
        "           ╭───│ b new │─╮     ┌───────┐       ┌───────┐",
        " ┌───────┐ │   │       │ ╰─────│ c new │───────│ d new │─╮     ┌───────┐",
        " │ a new │─┤   └───────┘       │       │       │       │ ╰─┬───│ f new │",
        " │       │ │   ┌───────┐       └───────┘       └───────┘   │   │       │",
        " └───────┘ ╰───│ e new │───────────────────────────────────╯   └───────┘",
        "               │       │",
        "               └───────┘",
    ]
