"""Which archives are unpacked into a stage's working folder before it starts."""

from __future__ import annotations

from hostler.base.errors import NotFoundError
from hostler.model.jobs import Placement
from hostler.model.pipelines import Stage
from hostler.model.runs import Attempt, Phase, Run
from hostler.store.content import ContentStore


def placements_of(run: Run, stage: Stage, content: ContentStore) -> tuple[Placement, ...]:
    """The source snapshot first, then each input under `inputs/NAME`.

    An input of a whole matrix contains a folder per cell, named like the cell. Raises NotFoundError
    if a file is gone (removed by hand, or by gc).
    """
    found = []
    if stage.code == "snapshot" and run.source.digest is not None:
        found.append(_placement(run.source.digest, "", content))
    ended = _succeeded(run)
    for name, references in stage.inputs.items():
        for reference in references:
            producer, output = reference.rsplit(".", 1)
            digest = ended[producer].outputs.get(output) if producer in ended else None
            if digest is None:
                raise NotFoundError(
                    f"output {output} of stage {producer} was not kept",
                    remedy="rerun the pipeline from the start",
                )
            target = f"inputs/{name}/{producer}" if name in stage.spread else f"inputs/{name}"
            found.append(_placement(digest, target, content))
    return tuple(found)


def _succeeded(run: Run) -> dict[str, Attempt]:
    ended = dict(run.kept)
    ended |= {a.stage: a for a in run.attempts if a.phase is Phase.SUCCEEDED}
    return ended


def _placement(digest: str, target: str, content: ContentStore) -> Placement:
    return Placement(digest=digest, size=content.size(digest), target=target)
