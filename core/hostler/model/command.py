"""What a single command may say without a pipeline file: keys of a stage and of its resources."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType

from hostler.base.keys import Key, keys_of
from hostler.model.pipeline_file import StageTable
from hostler.model.pipelines import Resources


@functools.cache
def command_keys() -> Mapping[str, Key]:
    """Those keys, by their names. Names of `resources` stand beside the others in a command."""
    tables: tuple[type, ...] = (Resources, StageTable)
    found = (key for table in tables for key in keys_of(table).values() if key.of_command)
    return MappingProxyType({key.name: key for key in found})
