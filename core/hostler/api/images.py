"""Routes about container images that the daemon keeps for hosts that cannot pull them: list,
send, remove."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from hostler.api.answers import answer, gives, service_of
from hostler.api.bodies import ImageBody, SendImageBody
from hostler.api.peer import Who
from hostler.model.views.images import ImageList, RemovedImages, SentImages

router = APIRouter()


@router.get("/images", responses=gives(ImageList))
async def images(request: Request, who: Who) -> JSONResponse:
    """The images that the daemon keeps."""
    return answer(await service_of(request).images.list(who))


@router.post("/images/send", responses=gives(SentImages))
async def send(request: Request, body: SendImageBody, who: Who) -> JSONResponse:
    """Copy an image to hosts; answers once each copy has succeeded or failed."""
    return answer(await service_of(request).images.send(body.image, body.hosts, who))


@router.post("/images/remove", responses=gives(RemovedImages))
async def remove(request: Request, body: ImageBody, who: Who) -> JSONResponse:
    """Remove the daemon's images of that name or digest; those on hosts stay."""
    return answer(await service_of(request).images.remove(body.image, who))
