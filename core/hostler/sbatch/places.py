"""Partitions, constraints and features of a batch script, turned into labels by [slurm] of
config.toml, and which feature names count as GPU models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hostler.base.errors import InputError
from hostler.sbatch.job import BatchJob
from hostler.sbatch.values import model_of

Labels = Mapping[str, str]
_CARD = re.compile(
    r"(?:nvidia[_-])?(?:[ahlptv]\d{1,3}[a-z]?|g?[bh][123]00|(?:rtx[_-]?)?(?:a[2456]000|[2345]0\d0(?:ti)?))"
    r"(?:[_-]\d{2,3}gb?)?",
    re.IGNORECASE,
)
"""The name of a feature that stands for a model of GPU."""
_COUNT = re.compile(r"\*[0-9]+$")


@dataclass(frozen=True, slots=True)
class Places:
    """Labels by the names of partitions and features: `[slurm]` of config.toml."""

    partitions: Mapping[str, Labels] = field(default_factory=dict)
    features: Mapping[str, Labels] = field(default_factory=dict)


def placed(job: BatchJob, places: Places) -> BatchJob:
    """The job with the labels that its partition and its features mean, or with the models of GPUs
    that its features name. Other names stay unused. Raises InputError where both want different
    hosts."""
    partition = _of_partition(job.partition, places.partitions)
    features = _of_features(job.constraint, places.features)
    if features is None and (models := _models(job)):
        job, features = replace(job, gpu_models=models), {}
    labels: dict[str, str] = {}
    for found in (partition or {}, features or {}):
        for name, value in found.items():
            if labels.setdefault(name, value) != value:
                raise InputError(
                    f"--partition={job.partition} and --constraint={job.constraint} ask for hosts "
                    f"with {name}={labels[name]} and {name}={value}, and no host has both",
                    remedy="Remove one of the lines, or correct [slurm] in config.toml",
                )
    return replace(
        job,
        labels=labels,
        partition="" if partition is not None else job.partition,
        constraint="" if features is not None else job.constraint,
    )


def _of_partition(text: str, known: Mapping[str, Labels]) -> Labels | None:
    """Of several partitions only if they mean the same."""
    found = [known.get(name) for name in text.split(",")]
    return found[0] if all(labels == found[0] for labels in found) else None


def _of_features(text: str, known: Mapping[str, Labels]) -> Labels | None:
    """Of several features if all are wanted; alternatives only if they mean the same."""
    plain = text.strip("[]()")
    if any(sign in plain for sign in "[]()"):
        return None
    wanted = [_either(part.split("|"), known) for part in re.split("[&,]", plain)]
    return _together(wanted)


def _models(job: BatchJob) -> tuple[str, ...]:
    """The GPU models that features name, as in many clusters; empty if they name anything else."""
    names = job.constraint.strip("[]()").split("|")
    if not job.gpus or job.gpu_models or not all(map(_CARD.fullmatch, names)):
        return ()
    return tuple(dict.fromkeys(map(model_of, names)))


def _either(names: Iterable[str], known: Mapping[str, Labels]) -> Labels | None:
    found = [known.get(_COUNT.sub("", name)) for name in names]
    return found[0] if all(labels == found[0] for labels in found) else None


def _together(parts: Iterable[Labels | None]) -> Labels | None:
    labels: dict[str, str] = {}
    for part in parts:
        if part is None or any(labels.get(name, value) != value for name, value in part.items()):
            return None
        labels.update(part)
    return labels
