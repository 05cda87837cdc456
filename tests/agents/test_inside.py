"""What is asked of Docker before it reads or writes in a container as root."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hostler_agent import inside
from hostler_agent.boxchanges import weight
from hostler_agent.boxed import Boxed
from hostler_agent.folders import Refusal
from hostler_agent.walk import MOST_DEEP

_FOLDER, _LINK = 1 << 31, 1 << 27


class Docker:
    """As a connection: all is a folder but these links."""

    def __init__(self, *links: str) -> None:
        self.links = links
        self.asked: list[str] = []

    def head(self, path: str) -> dict[str, str]:
        wanted = parse_qs(urlsplit(path).query)["path"][0]
        self.asked.append(wanted)
        mode = _LINK if wanted in self.links else _FOLDER
        told = json.dumps({"mode": mode, "size": 0, "linkTarget": ""}).encode()
        return {"x-docker-container-path-stat": base64.b64encode(told).decode()}


def bound(*paths: str) -> dict[str, Any]:
    return {"Mounts": [{"Type": "bind", "Destination": path} for path in paths]}


def test_a_folder_above_many_mounts_is_looked_at_once() -> None:
    docker: Any = Docker()
    inside.check_binds(docker, "c", bound("/lab/data/a", "/lab/data/b", "/lab"))
    assert docker.asked == ["/lab", "/lab/data", "/lab/data/a", "/lab/data/b"]


@pytest.mark.parametrize("link", ["/lab", "/lab/data", "/lab/data/b"])
def test_a_link_above_any_mount_is_refused(link: str) -> None:
    docker: Any = Docker(link)
    with pytest.raises(Refusal, match=f"{link} is a link in the container"):
        inside.check_binds(docker, "c", bound("/lab/data/a", "/lab/data/b"))


def test_the_tree_of_folders_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes through it calls itself for each folder."""
    told = [{"Path": "/work" + "/d" * 1200, "Kind": 1}]
    monkeypatch.setattr(Boxed, "_changes", lambda _: told)
    assert weight(Boxed.__new__(Boxed).tree()) == MOST_DEEP
