"""The calls about the caller's secrets: list names, set, remove. Pure."""

from __future__ import annotations

from hostler.base.wire import target
from hostler.client.call import CHANGE_S, Call, delete, get, nothing
from hostler.model import views
from hostler.model.codec import from_answer as read


def names() -> Call[tuple[views.secrets.SecretView, ...]]:
    """The caller's secrets: names, time of setting, and which open runs use them; never a value."""
    return get(lambda told: read(views.secrets.SecretList, told).secrets, "secrets")


def put(name: str, value: str) -> Call[None]:
    """Set a secret of the caller; stages that start from now on get the new value."""
    data = value.encode("utf-8", "surrogateescape")
    return Call("PUT", target(["secrets", name]), nothing, data, least=CHANGE_S)


def remove(name: str) -> Call[None]:
    """Remove a secret of the caller."""
    return delete(nothing, "secrets", name)
