"""For whoever starts and stops processes, or sends traffic: alive, ready (the words are Kubernetes')."""

from __future__ import annotations

from fastapi import APIRouter, Response

from serve_app.routes.common import IngressDep
from serve_app.schemas.admin import Alive, Ready
from serve_app.telemetry import health

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive(response: Response) -> Alive:
    """Report that this replica answers; asks nothing else, so that no fault elsewhere restarts it."""
    response.headers["cache-control"] = "no-store"
    return Alive()


@router.get("/readyz", responses={503: {"model": Ready, "description": "Send nobody here now"}})
async def ready(response: Response, ingress: IngressDep) -> Ready:
    """Report whether people can be served; 503 names the vital components that are down."""
    found = await health.check(ingress.deps)
    down = [name for name, part in found.components.items() if part.vital and part.status == "down"]
    response.status_code = 503 if down else 200
    response.headers["cache-control"] = "no-store"
    return Ready(status="down" if down else "ok", down=down)
