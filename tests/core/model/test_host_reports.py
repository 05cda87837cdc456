"""What a host reports is what the model holds: nothing of it is left on the way."""

from __future__ import annotations

from dataclasses import fields

from hostler.model.hosts import Disk, Gpu, Machine
from hostler_agent.look_sections import DiskSpace, GpuName, GpuSlow, GpuValues, MachineRow


def test_each_value_of_a_gpu_is_a_column_of_a_row() -> None:
    columns = {*GpuName._fields, *GpuValues._fields, *GpuSlow._fields}
    told = {"index" if column == "number" else column for column in columns}
    assert told == {field.name for field in fields(Gpu)} - {"processes"}


def test_rows_have_the_order_of_the_model() -> None:
    assert list(MachineRow._fields) == [field.name for field in fields(Machine)]
    assert list(DiskSpace._fields) == [field.name for field in fields(Disk)]
