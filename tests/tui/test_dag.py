"""The graph of stages in rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hostler.show.fold import Cells
from hostler_tui.runs.dag import DOWN, LEFT, RIGHT, UP, Needs, dag_rows, direct, line_char, rails
from tests.support.values import run_objects

SIDES = {line_char(n): n for n in range(16) if n not in (LEFT, RIGHT)}


def drawn(needs: Needs) -> str:
    lines = []
    for rail in rails(needs):
        lines += [rail.at + rail.key, *([rail.links] if rail.links else [])]
    return "\n".join(lines)


def test_a_fork_and_its_meeting() -> None:
    needs = {"fetch": (), "clean": ("fetch",), "tokens": ("clean",), "stats": ("clean",),
             "train": ("tokens", "stats"), "eval": ("train",)}  # fmt: skip
    assert drawn(needs) == (
        "o fetch\n"
        "o clean\n"
        "├─╮\n"
        "o │ tokens\n"
        "│ o stats\n"
        "├─╯\n"
        "o train\n"
        "o eval"
    )  # fmt: skip


def test_an_edge_passes_behind_a_lane_that_it_has_nothing_to_do_with() -> None:
    needs = {"a": (), "b": (), "c": ("a", "b"), "d": ("a",), "e": ("c", "d")}
    assert drawn(needs) == (
        "o a\n"
        "├─╮\n"
        "│ │ o b\n"
        "├─│─╯\n"
        "o │ c\n"
        "│ o d\n"
        "├─╯\n"
        "o e"
    )  # fmt: skip


def test_edges_that_follow_from_others_are_not_drawn() -> None:
    assert direct({"a": (), "b": ("a",), "c": ("a", "b")})["c"] == ["b"]


def test_too_many_lanes_are_left_out() -> None:
    fan = {"root": (), **{f"k{n}": ("root",) for n in range(20)}}
    assert {rail.at for rail in rails(fan)} == {"o "}


graphs = st.lists(st.sets(st.integers(0, 8)), min_size=1, max_size=9).map(
    lambda lists: {
        str(n): tuple(str(need) for need in sorted(needs) if need < n)
        for n, needs in enumerate(lists)
    }
)


@given(graphs)
def test_lines_lead_from_each_stage_to_those_that_need_it(needs: Needs) -> None:
    found = rails(needs)
    assert [rail.key for rail in found] == list(needs)
    picture: list[tuple[str, str]] = []
    for rail in found:
        picture += [(rail.at.rstrip(), rail.key), (rail.links, "")]
    for user, needed in direct(needs).items():
        assert set(needed) <= reached(picture, user), drawn(needs)


def reached(picture: list[tuple[str, str]], start: str) -> set[str]:
    """Stages at the upper ends of the lines that come down into one."""
    at = next(n for n, (_, key) in enumerate(picture) if key == start)
    todo = [(at - 1, picture[at][0].index("o"), UP)]
    seen: set[tuple[int, int, int]] = set()
    ends = set()
    while todo:
        y, x, going = todo.pop()
        if (y, x, going) in seen or not 0 <= y < len(picture):
            continue
        seen.add((y, x, going))
        text, key = picture[y]
        if not text and not key:
            todo.append((y - 1, x, going))
            continue
        char = text[x] if x < len(text) else " "
        if char == "o":
            ends.add(key)
            continue
        sides = SIDES[char]
        if going in (LEFT, RIGHT) and char == "│":
            sides |= LEFT | RIGHT  # passed behind
        steps = {UP: (-1, 0), LEFT: (0, -1), RIGHT: (0, 1)}
        opposite = {UP: DOWN, LEFT: RIGHT, RIGHT: LEFT}
        for side, (dy, dx) in steps.items():
            if sides & side and side != opposite.get(going):
                todo.append((y + dy, x + dx, side))
    return ends


def test_a_matrix_of_a_thousand_cells_is_a_few_rows() -> None:
    done = [run_objects.stage(f"prepare.{n}", "succeeded") for n in range(10)]
    cells = [
        run_objects.stage(f"train.{n}", "running" if n < 3 else "waiting",
                          needs=[f"prepare.{n % 10}"])
        for n in range(1000)
    ]  # fmt: skip
    rows = dag_rows([*done, *cells], 6)
    assert [(row.key, row.lead) for row in rows] == [
        ("prepare/succeeded", "o "), ("train/", "o "), ("train.0", "    "), ("train.1", "    "),
        ("train.2", "    "), ("train/waiting", "    "),
    ]  # fmt: skip
    assert isinstance(rows[0].stage, Cells)
    assert len(rows[1].cells) == 1000
    assert len(dag_rows([*done, *cells], 6, {"train"})) == 1002
