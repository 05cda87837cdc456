from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hostler.base.table import cell_width
from hostler.show.gpus import host_rows, owners_text, render, summary_line
from tests.support.values.fleets import NOW, RTX3090, fleet, gpu, host

HOSTILE = st.text(
    alphabet=st.sampled_from("ab\x1b[]31m\x07\n\t\r\u202e\u200b日\u0301\x9b\x00/"), max_size=40
)


def shown(*hosts: dict[str, Any], form: str = "table", width: int = 80) -> list[str]:
    text = render(fleet(*hosts), form, terminal=True, width=width, color=False)
    return text.splitlines()


def test_the_table_reads_as_documented() -> None:
    assert shown(
        host("gpu-01", "..LLLLF."),
        host("gpu-05", "DDDD", RTX3090, drained="PSU"),
        host("gpu-07", "????", RTX3090, condition="unreachable", problem="timed out", age_s=184.0),
    ) == [
        "HOST     MODEL     GPUS      FREE  FREE MEM     OWNERS                    AGE",
        "gpu-01   A100-80G  ..LLLLF.   3/8  3 x 79.6GiB  ana*                       1s",
        "gpu-05   3090-24G  DDDD       0/4  -            drained: PSU               1s",
        "gpu-07~  3090-24G  ????       ?/4  -            unreachable: timed out  3m04s",
        "3 of 16 free on 2 hosts; 1 host stale; * = without a lease",
    ]


def test_owners_tell_idle_contested_and_unhealthy_apart() -> None:
    gpus = [
        gpu(0, "i", owners=["dmitri"], since=NOW - 6 * 3600),
        gpu(1, "L", owners=["bo"]),
        gpu(2, "C", owners=["carol"]),
        gpu(3, "E", why="Xid 79"),
        gpu(4, "F", owners=[]),
    ]
    text = owners_text(host("a", "", gpus=gpus), NOW)
    assert text == "dmitri (idle 6h) bo carol(contested) ?* :3 Xid 79"


def test_hosts_without_gpus_say_why() -> None:
    assert owners_text(host("a", ""), NOW) == "no GPUs"
    assert owners_text(host("a", "", problem="no driver"), NOW) == "no driver"
    assert owners_text(host("a", "", condition="refused", problem="key"), NOW) == "refused: key"
    assert owners_text(host("a", "."), NOW) == "-"


def test_free_memory_of_unlike_cards() -> None:
    mixed = host("a", "", gpus=[gpu(0, "."), gpu(1, ".", RTX3090)])
    assert host_rows(fleet(mixed))[0][4] == "1 x 79.6GiB, 1 x 23.7GiB"
    sizes = [gpu(n, ".", memory_used=n * 2**30) for n in range(3)]
    assert host_rows(fleet(host("a", "", gpus=sizes)))[0][4] == "3 x >=77.6GiB"
    assert host_rows(fleet(host("a", "", gpus=[gpu(0, ".", (None, None))])))[0][4] == "1 x -"


def test_wide_has_a_row_a_gpu_and_one_for_a_host_without() -> None:
    lines = shown(host("a", ".L"), host("b", "", condition="connecting", age_s=None),
                  form="wide", width=120)  # fmt: skip
    assert len(lines) == 5
    assert "leased" in lines[2]
    assert lines[3].startswith("b~")


def test_other_forms() -> None:
    whole = fleet(host("a", ".L."), host("b", "L"))
    assert render(whole, "ids", terminal=True, width=80, color=False) == "a 0,2\n"
    assert json.loads(render(whole, "json", terminal=True, width=80, color=True)) == whole
    lines = render(whole, "jsonl", terminal=False, width=None, color=False).splitlines()
    assert [json.loads(line)["host"] for line in lines] == ["a", "b"]
    piped = render(whole, "table", terminal=False, width=None, color=False)
    assert piped.splitlines()[1].split("\t") == ["b", "A100-80G", "L", "0/1", "-", "ana", "1s"]


def test_summary_speaks_of_one_host_in_the_singular() -> None:
    assert summary_line(fleet(host("a", "."))) == "1 of 1 free on 1 host"


@given(HOSTILE, HOSTILE, HOSTILE, st.integers(20, 120))
def test_hostile_text_cannot_touch_the_terminal(
    name: str, owner: str, why: str, width: int
) -> None:
    bad = host(name, "", problem=why, labels={name: why},
               gpus=[gpu(0, "F", (name, None), owners=[owner]), gpu(1, "E", why=why)])  # fmt: skip
    for form in ("table", "wide"):
        text = render(fleet(bad), form, terminal=True, width=width, color=False)
        assert all(char == "\n" or ord(char) >= 0x20 for char in text)
        assert not set(text) & set("\u202e\u200b\x9b\x7f")
        assert all(cell_width(line) <= max(width, 80) for line in text.splitlines())
    ids = render(fleet({**bad, "gpus": [gpu(0, ".")]}), "ids", terminal=False, width=1, color=False)
    assert "\x1b" not in ids
    assert ids.count("\n") == 1
