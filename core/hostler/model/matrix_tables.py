"""What `matrix` of a stage in pipeline.toml may say: values of each key, as they are or where from."""

from __future__ import annotations

from dataclasses import dataclass, field

from hostler.base.json_types import JsonTable
from hostler.base.keys import Kind, Shape, reference, toml_key
from hostler.base.value_kinds import IDENTIFIER, LINE, SCALAR


@dataclass(frozen=True, slots=True)
class GlobTable:
    """Values of a matrix key taken from file names."""

    glob: str = field(metadata=toml_key(LINE, "Pattern of files in the source, like `data/*.csv`."))


def _by_identifier(value: JsonTable) -> JsonTable:
    return {"type": "object", "patternProperties": {str(IDENTIFIER.schema["pattern"]): value}}


_VALUES: JsonTable = {"type": "array", "items": SCALAR.schema}
MATRIX = Kind(
    lambda value: value,  # read by `spec.matrix`, before this table is
    {
        "anyOf": [
            _by_identifier({"anyOf": [_VALUES, reference(GlobTable)]}),
            {"type": "array", "items": _by_identifier(SCALAR.schema)},
        ]
    },
    Shape.IN_FILE,
    tables=(GlobTable,),
)
"""`matrix` of a stage."""
