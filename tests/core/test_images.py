from __future__ import annotations

import pytest

from hostler.model.images import choose_digest, repository

ONE, OTHER = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("busybox", "busybox"),
        ("lab/tool:1", "lab/tool"),
        ("r:5000/lab/tool", "r:5000/lab/tool"),
        ("r:5000/lab/tool:1", "r:5000/lab/tool"),
        (f"r:5000/lab/tool:1@{ONE}", "r:5000/lab/tool"),
    ],
)
def test_the_repository_is_the_name_without_tag_and_digest(image: str, name: str) -> None:
    assert repository(image) == name


def test_of_several_digests_the_one_of_the_wanted_name_counts() -> None:
    known = [f"mirror:5000/tool@{ONE}", f"tool@{ONE}", f"tool@{OTHER}"]
    assert choose_digest("docker.io/library/tool:1", known) == f"tool@{ONE}"
    assert choose_digest(f"tool@{OTHER}", known) == f"tool@{OTHER}"
    assert choose_digest("renamed:1", known) == f"mirror:5000/tool@{ONE}"
    assert choose_digest("tool:1", []) is None
