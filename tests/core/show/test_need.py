from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.show.need import Answer, Need, answer
from tests.support.values.fleets import GIB, NOW, RTX3090, fleet, gpu, host


def ask(need: Need, *hosts: dict[str, Any]) -> Answer:
    return answer(fleet(*hosts), need)


def test_yes_takes_the_smallest_room_that_is_large_enough() -> None:
    found = ask(Need(2), host("big", "........"), host("small", "L.."), host("full", "LL"))
    assert found.exit_code == 0
    assert found.picks == [("small", [1, 2])]
    assert found.sentence.startswith("yes: small gpus 1,2 (A100-80G, 79.6 GiB free each)")
    assert found.sentence.endswith("1 more host fits")


def test_no_names_the_best_host() -> None:
    found = ask(Need(4), host("a", "...L"), host("b", "."))
    assert (found.exit_code, found.sentence) == (3, "no: best is a with 3 free")


def test_no_says_when_at_the_latest_where_time_limits_tell() -> None:
    def until(*ends: float | None) -> list[Any]:
        return [gpu(n, "L", until=end and NOW + end) for n, end in enumerate(ends)]

    soon = host("a", "", gpus=until(3600.0, 600.0, None))
    later = host("b", "", gpus=until(7200.0, 7200.0))
    assert "; a has 2 in 1h at the latest" in ask(Need(2), later, soon).sentence
    assert "; a has 1 in 10m at the latest" in ask(Need(1), later, soon).sentence
    assert "latest" not in ask(Need(3), later, soon).sentence


# (states of a host that is heard, of one that is not, GPUs wanted) -> exit code
@pytest.mark.parametrize(
    ("heard", "silent", "wanted", "code"),
    [
        ("..", "??", 2, 0),  # yes, whatever the silent one has
        (".L", "??", 2, 4),  # the silent one could have two
        (".L", "?", 2, 3),  # it could not
        ("LL", "", 1, 4),  # never heard: nobody knows what it has
    ],
)
def test_silent_hosts_make_a_no_uncertain_only_where_they_could_change_it(
    heard: str, silent: str, wanted: int, code: int
) -> None:
    lost = host("lost", silent, condition="unreachable", age_s=200.0 if silent else None)
    assert ask(Need(wanted), host("a", heard), lost).exit_code == code


def test_cannot_tell_names_who_is_silent() -> None:
    lost = host("gpu-07", "????", RTX3090, condition="unreachable", age_s=184.0)
    found = ask(Need(4, models=["3090"]), host("gpu-06", "...L", RTX3090), lost)
    expected = "cannot tell: 3 free on hosts that answer; gpu-07 (4 GPUs) is stale for 3m04s"
    assert found.sentence == expected


def test_a_host_whose_gpus_cannot_be_read_makes_a_no_uncertain() -> None:
    hung = host("gpu3", "", gpu_problem="NVML does not answer for 4 s")
    found = ask(Need(1), host("a", "L"), hung)
    assert found.exit_code == 4
    assert "gpu3 shows no GPUs: NVML does not answer for 4 s" in found.sentence
    assert ask(Need(1), host("a", "L"), host("cpu", "")).exit_code == 3


def test_a_host_whose_containers_cannot_be_seen_makes_a_no_uncertain() -> None:
    silent = host("gpu3", "??", problem="Docker is not running")
    found = ask(Need(1), host("a", "L"), silent)
    assert found.exit_code == 4
    assert "gpu3 (2 GPUs) cannot say who uses them: Docker is not running" in found.sentence


def test_more_than_there_are_is_told_as_such() -> None:
    hosts = host("a", ".L"), host("b", "..L")
    found = ask(Need(4), *hosts)
    assert found.hopeless
    assert found.sentence == "no: b has the most, 3 such GPUs, of 4 requested"
    spread = ask(Need(6, spread=True), *hosts)
    assert spread.sentence == "no: there are 5 such GPUs, of 6 requested"


def test_the_command_to_take_them_asks_for_the_same() -> None:
    need = Need(2, memory=24 * GIB, models=["RTX 3090"], hosts=["gpu*"])
    found = ask(need, host("gpu1", "...", RTX3090))
    assert need.command(found.picks) == (
        "hostler run --gpus 2 --gpu-memory 24GiB --model 'RTX 3090' --host 'gpu*' -- CMD"
    )


def test_the_command_for_gpus_of_several_hosts_asks_for_what_one_of_them_has() -> None:
    need = Need(5, spread=True)
    found = ask(need, host("a", "..."), host("b", ".."))
    assert need.command(found.picks) == "hostler run --gpus 3 -- CMD"


def test_a_silent_host_of_another_model_changes_nothing() -> None:
    lost = host("lost", "????", RTX3090, condition="unreachable", age_s=200.0)
    assert ask(Need(1, models=["A100"]), host("a", "L"), lost).exit_code == 3


def test_drained_hosts_cannot_be_had_even_when_silent() -> None:
    lost = host("lost", "????", condition="unreachable", age_s=200.0, drained="PSU")
    assert ask(Need(1), host("a", "L"), lost).exit_code == 3


def test_memory_is_nominal_with_some_slack() -> None:
    assert ask(Need(1, memory=80 * GIB), host("a", ".")).exit_code == 0
    assert ask(Need(1, memory=24 * GIB), host("a", ".", RTX3090)).exit_code == 0
    found = ask(Need(2, memory=40 * GIB), host("a", "..", RTX3090))
    assert found.exit_code == 3
    assert found.hints == ["2 with 23.7 GiB each are free; ask --gpu-memory 24GiB"]


def test_a_free_gpu_of_unknown_size_is_no_answer() -> None:
    odd = host("a", "", gpus=[gpu(0, ".", ("NVIDIA A100", None))])
    assert ask(Need(1, memory=24 * GIB), odd).exit_code == 4
    assert ask(Need(1), odd).exit_code == 0


def test_spread_takes_gpus_of_several_hosts() -> None:
    hosts = host("a", "..L"), host("b", "L.L")
    assert ask(Need(3), *hosts).exit_code == 3
    assert ask(Need(3), *hosts).hints[0].endswith("ask with --spread")
    found = ask(Need(3, spread=True), *hosts)
    assert found.picks == [("a", [0, 1]), ("b", [1])]


def test_near_misses_name_other_models_and_idle_leases() -> None:
    found = ask(Need(1, models=["H100"]), host("a", "."))
    assert found.sentence == "no: no GPU matches"
    assert "of another model: a 0" in found.hints
    idle = ask(Need(2), host("a", ".i"))
    assert idle.hints == ["a would have enough: 1 leased by ana but idle"]


def test_hosts_can_be_named() -> None:
    hosts = host("gpu-01", "."), host("cpu-01", "L")
    assert ask(Need(1, hosts=["cpu*"]), *hosts).exit_code == 3
    assert ask(Need(1, hosts=["gpu-0?"]), *hosts).exit_code == 0
    assert ask(Need(1, hosts=["x"]), *hosts).sentence == "no: no matching host accepts work"


STATES = st.text(alphabet=".LiFCE?", max_size=5)


@given(st.lists(STATES, max_size=5), st.integers(1, 6), st.booleans())
def test_the_verdict_brackets_the_truth(states: list[str], wanted: int, spread: bool) -> None:
    """Yes means enough are free now; no means not even with every unknown GPU free."""
    hosts = [host(f"h{n}", text) for n, text in enumerate(states)]
    verdict = ask(Need(wanted, spread=spread), *hosts).verdict
    gather = sum if spread else max
    free = gather([text.count(".") for text in states] or [0])
    most = gather([text.count(".") + text.count("?") for text in states] or [0])
    expected = "yes" if free >= wanted else "cannot tell" if most >= wanted else "no"
    assert verdict == expected


def test_the_json_form_says_all() -> None:
    need = Need(1, memory=GIB, models=["A100"])
    made = ask(need, host("a", ".")).to_json(need)
    assert made["verdict"] == "yes"
    assert made["picks"] == [{"host": "a", "indices": [0]}]
    assert made["gpu_memory"] == GIB
