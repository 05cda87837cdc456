"""Notes for the submitter on a `gpu_model` that matches no GPU of this lab, or several models; how
names match is in `base.gpu_models`. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from hostler.base.gpu_models import is_glob, model_matches, short_model, split_count
from hostler.base.text import shown
from hostler.decide.requests import Card, card_of
from hostler.model.hosts import Host
from hostler.model.pipelines import Stage

_MOST_MODELS = 8


def told_of_models(hosts: Sequence[Host], stages: Iterable[Stage]) -> str | None:
    """Which names in `gpu_model` match no GPU here, or several models, in one sentence; None: each
    means one model. Patterns with a `*` may mean several."""
    asked = (name for stage in stages for name in stage.resources.gpu_models)
    patterns = dict.fromkeys(split_count(name)[0] for name in asked)
    if not patterns:
        return None
    cards = Counter(card_of(gpu) for host in hosts if host.look for gpu in host.look.gpus)
    silent = [host.name for host in hosts if host.look is None]
    return "; ".join(_sentences(patterns, cards, silent)) or None


def models_text(cards: Counter[Card]) -> str:
    """ "4 A100-80G, 2 3090-24G": how many there are of each model, the most frequent first."""
    models: Counter[str] = Counter()
    for (name, memory), count in cards.items():
        models[short_model(name, memory)] += count
    told = [f"{count} {model}" for model, count in models.most_common(_MOST_MODELS)]
    more = len(models) - _MOST_MODELS
    return ", ".join([*told, *([f"{more} more models"] if more > 0 else [])])


def _sentences(
    patterns: Iterable[str], cards: Counter[Card], silent: Sequence[str]
) -> Iterator[str]:
    for pattern in patterns:
        meant: Counter[Card] = Counter(
            {card: n for card, n in cards.items() if model_matches(*card, [pattern])}
        )
        if not meant and cards:
            unheard = f" (unknown for {', '.join(silent[:3])})" if silent else ""
            yield f"no GPU here is called {shown(pattern)}{unheard}; here are {models_text(cards)}"
        elif len({short_model(name) for name, _ in meant}) > 1 and not is_glob(pattern):
            yield f"{shown(pattern)} means several models here: {models_text(meant)}"
