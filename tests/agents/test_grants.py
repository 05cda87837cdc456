"""Which GPUs a container was given, by everything that Docker's inspect can say."""

from __future__ import annotations

from typing import Any

import pytest

from hostler_agent.grants import grants, resolve

PAIRS = [(0, "GPU-aaaa-0"), (1, "GPU-aaab-1"), (2, "GPU-cccc-2")]


def granted(runtime: str = "", default: str = "", **more: Any) -> tuple[str, ...]:
    host = {"Runtime": runtime, **{k: v for k, v in more.items() if k != "Env"}}
    return grants({"HostConfig": host, "Config": {"Env": more.get("Env", [])}}, default)


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ({"Driver": "nvidia", "Count": -1}, ("all",)),
        ({"Driver": "nvidia"}, ("all",)),
        ({"Driver": "nvidia", "Count": "2"}, ("all",)),
        ({"Driver": "nvidia", "Count": 0}, ()),
        ({"Driver": "nvidia", "Count": 2}, ("0", "1")),
        ({"Driver": "nvidia", "Count": 1, "DeviceIDs": ["2"]}, ("2",)),
        ({"Capabilities": [["gpu"]], "Count": 1}, ("0",)),
        ({"Capabilities": [["nvidia"], ["x"]], "Count": 1}, ("0",)),
        ({"Capabilities": [["x"]], "Count": 1}, ()),
        ({"Count": 1}, ()),
        ({"Driver": "amd", "Capabilities": [["gpu"]], "Count": 1}, ()),
        ({"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=2", "x.com/y=1"]}, ("2",)),
        ({"Driver": "cdi", "DeviceIDs": ["x.com/y=1"]}, ()),
        ({"DeviceIDs": ["nvidia.com/gpu=GPU-a", "1"]}, ("GPU-a",)),
        ({"DeviceIDs": ["1"], "Capabilities": [["gpu"]]}, ("1",)),
    ],
)
def test_a_device_request(request_: dict[str, Any], found: tuple[str, ...]) -> None:
    assert granted(DeviceRequests=[request_]) == found


def test_a_count_is_believed_up_to_sixty_four() -> None:
    many = granted(DeviceRequests=[{"Driver": "nvidia", "Count": 10_000}])
    assert len(many) == 64
    uuids = [(index, f"GPU-{index}") for index in range(100)]
    assert len(resolve(["all"], uuids)) == 64


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/dev/nvidia1", ("1",)),
        ("/dev/nvidia12", ("12",)),
        ("/dev/nvidiactl", ()),
        ("/dev/nvidia-uvm", ()),
        ("/dev/sda1", ()),
        ("/other/dev/nvidia1", ()),
    ],
)
def test_a_device_node(path: str, found: tuple[str, ...]) -> None:
    assert granted(Devices=[{"PathOnHost": path}]) == found


@pytest.mark.parametrize(
    ("runtime", "default", "value", "found"),
    [
        ("nvidia", "", "0,1", ("0", "1")),
        ("nvidia", "", " 0 ,, GPU-a ", ("0", "GPU-a")),
        ("nvidia-legacy", "", "all", ("all",)),
        ("", "nvidia", "all", ("all",)),
        ("runc", "nvidia", "all", ()),
        ("", "", "all", ()),
        ("nvidia", "", "none", ()),
        ("nvidia", "", "void", ()),
        ("nvidia", "", "", ()),
    ],
)
def test_the_variable_counts_under_nvidias_runtime(
    runtime: str, default: str, value: str, found: tuple[str, ...]
) -> None:
    environment = ["PATH=/bin", f"NVIDIA_VISIBLE_DEVICES={value}", "X=1"]
    assert granted(runtime, default, Env=environment) == found
    assert granted(runtime, default, Env=[f"OTHER={value}"]) == ()


def test_each_grant_counts_once_and_all_ways_count() -> None:
    assert granted(
        "nvidia",
        DeviceRequests=[{"Driver": "nvidia", "DeviceIDs": ["1"]}],
        Devices=[{"PathOnHost": "/dev/nvidia1"}, {"PathOnHost": "/dev/nvidia2"}],
        Env=["NVIDIA_VISIBLE_DEVICES=2,0"],
    ) == ("1", "2", "0")


@pytest.mark.parametrize(
    ("given", "uuids"),
    [
        (["all"], ["GPU-aaaa-0", "GPU-aaab-1", "GPU-cccc-2"]),
        (["1"], ["GPU-aaab-1"]),
        (["7"], []),
        (["GPU-aaa"], ["GPU-aaaa-0", "GPU-aaab-1"]),
        (["GPU-aaab"], ["GPU-aaab-1"]),
        (["GPU-gone"], ["GPU-gone"]),
        (["GPU-" + "a" * 100], ["GPU-" + "a" * 100]),
        (["GPU-" + "b" * 101], []),
        (["MIG-x"], []),
        (["2", "all", "2"], ["GPU-cccc-2", "GPU-aaaa-0", "GPU-aaab-1"]),
    ],
)
def test_what_a_grant_means_on_a_machine(given: list[str], uuids: list[str]) -> None:
    assert resolve(given, PAIRS) == uuids


def test_a_number_is_an_index_and_not_the_beginning_of_a_uuid() -> None:
    assert resolve(["1"], [(0, "1234"), (1, "GPU-b")]) == ["GPU-b"]
