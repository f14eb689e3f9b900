"""For a reverse proxy: whether the desk lives, and whether it can work. Without login, without a patient, and not in the audit log."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from eye_dx_core.errors import EyeDxError
from eye_dx_review.asking import desk_of
from eye_dx_review.desk import Desk

router = APIRouter()


@router.get("/healthz")
def say_alive() -> JSONResponse:
    """The process lives."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz")
def say_ready(desk: Annotated[Desk, Depends(desk_of)]) -> JSONResponse:
    """The records answer; a desk is nothing without them. The question costs the same however much is stored."""
    try:
        desk.records.find_work()
    except EyeDxError as error:
        return JSONResponse({"ready": False, "problems": {"records": str(error)}}, status_code=503)
    return JSONResponse({"ready": True, "problems": {}})
