"""Addresses that MONAI Label has not: to serve what training has made, and to take that back."""

from typing import Any

from fastapi import APIRouter
from monailabel.interfaces.utils.app import app_instance

router = APIRouter(tags=["Model"])
# As MONAI Label's own: coroutines that wait for nothing, so that one request at a time changes images and models.


@router.post("/promote")
async def promote(force: bool = False) -> dict[str, Any]:
    """Serve the candidate, unless it is worse on held-out patients; ``force`` serves it all the same."""
    return app_instance().promote(force)


@router.post("/go_back")
async def go_back() -> dict[str, Any]:
    """Serve the model that was served before the last promotion."""
    return app_instance().go_back()
