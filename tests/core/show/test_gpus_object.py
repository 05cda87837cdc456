"""The keys that the type checker knows of `hostler.gpus/1` are those of the views that make it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hostler.model.views.gpus import FleetView, GpuView
from hostler.model.views.gpus import HostGpus as HostGpusView
from hostler.show.gpus_object import Fleet, Gpu, HostGpus


@pytest.mark.parametrize(
    ("typed", "view"), [(Gpu, GpuView), (HostGpus, HostGpusView), (Fleet, FleetView)]
)
def test_both_have_the_same_keys(typed: Any, view: Any) -> None:
    assert [*typed.__annotations__] == [field.name for field in dataclasses.fields(view)]
