"""The calls about container images for hosts that cannot pull them, and how long sending one may
take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hostler.client.call import Call, get, post
from hostler.model import views
from hostler.model.codec import from_answer as read

SEND_S = 6 * 3600.0
"""Seconds that sending an image to all hosts may take."""


def images() -> Call[views.images.ImageList]:
    """The images that the daemon keeps, the most recently needed last."""
    return get(lambda told: read(views.images.ImageList, told), "images")


def send(image: str, hosts: Sequence[str]) -> Call[views.images.SentImages]:
    """Send an image to hosts, from a host that has it; the result for each host. Returns once all
    hosts have it or have failed; sent again after an interruption, it continues."""
    body = {"image": image, "hosts": list(hosts)}
    call = post(lambda told: read(views.images.SentImages, told), "images", "send", body=body)
    return replace(call, least=SEND_S)


def remove(name: str) -> Call[views.images.RemovedImages]:
    """Forget images of this name or digest; images on hosts stay."""
    return post(
        lambda told: read(views.images.RemovedImages, told), "images", "remove",
        body={"image": name},
    )  # fmt: skip
