"""What is refused before MONAI Label sees it, and what the client is told of an error, whoever has raised it."""

import errno
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import requests
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from bundle.annotation.refusals import RefusedRequestError, check_plain_name

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Query parameters from which MONAI Label makes file names.
NAMES = ("image", "label", "id", "tag", "session_id", "model")
# MONAI Label's routes that nothing here needs: requests passed on, logs, pathology, weights, scores, archives.
CLOSED = ("/proxy", "/logs", "/wsi", "/model", "/scoring", "/datastore/dataset", "/datastore/updatelabelinfo")
CLOSED_TO_PUT = ("/datastore/image/info", "/datastore/label/info")  # what is noted of labels is written with them
MAX_UPLOAD_BYTES = 4 * 2**30
# Foreseen; every other error is the server's own, and its trace is in the log.
ERRORS = (RefusedRequestError, RequestValidationError, MONAILabelException, OSError, MemoryError)
logger = logging.getLogger(__name__)


def as_refusal(error: Exception) -> RefusedRequestError:
    """An error as what the client is told of it: one line, a status that says whose it is, no path and no patient."""
    if isinstance(error, RefusedRequestError):
        return error
    if isinstance(error, RequestValidationError):
        return RefusedRequestError("; ".join(_what_is_wrong(entry) for entry in error.errors()))
    if isinstance(error, ImageNotFoundException | LabelNotFoundException):
        return RefusedRequestError("there is no such image or label", status=404)
    if isinstance(error, requests.Timeout | requests.ConnectionError):
        return RefusedRequestError("the PACS does not answer: is it running, and its address right?", status=502)
    if isinstance(error, requests.JSONDecodeError):
        return RefusedRequestError("what answers at the PACS's address is no DICOMweb service", status=502)
    if isinstance(error, requests.RequestException):
        return RefusedRequestError(f"the PACS has refused: {_reason(error)}", status=502)
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return RefusedRequestError("no space is left on the server's disk: nothing was saved", status=507)
    kind = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
    return RefusedRequestError(f"the server has failed ({kind}): its log says more", status=500)


def _what_is_wrong(entry: Mapping[str, Any]) -> str:
    """Such as ``force: Input should be a valid boolean``, of FastAPI's description."""
    place = ".".join(part for part in entry["loc"] if isinstance(part, str) and part not in ("query", "body", "path"))
    return f"{place or 'the request'}: {entry['msg']}"


def _reason(error: requests.RequestException) -> str:
    answer = error.response
    return type(error).__name__ if answer is None else f"{answer.status_code} {answer.reason}"


def guard(app: FastAPI, hosts: Sequence[str], origins: Sequence[str]) -> None:
    """Put the checks in front of an app, and turn its refusals and errors into answers of one line.

    Args:
        app: MONAI Label's.
        hosts: Names that the server goes by; a page that had its own name point here (DNS rebinding) uses another.
        origins: Addresses whose pages may send requests from a browser.
    """
    # MONAI Label lets the pages of every site in by default; none but the server's own need to be.
    app.user_middleware[:] = [entry for entry in app.user_middleware if entry.cls is not CORSMiddleware]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.middleware("http")
    async def check(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            check_request(request, origins)
        except RefusedRequestError as error:
            return _refusal(error)
        return await call_next(request)

    async def foreseen(_request: Request, error: Exception) -> Response:
        if not isinstance(error, RefusedRequestError):
            logger.warning("%s: %s", type(error).__name__, error)
        return _refusal(as_refusal(error))

    for kind in (*ERRORS, Exception):  # Starlette shows the trace of what is none of the others in the log
        app.add_exception_handler(kind, foreseen)


def check_request(request: Request, origins: Sequence[str]) -> None:
    """Refuse a request by its address, its sender's page, its size, or a name in it."""
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins:
        raise RefusedRequestError("requests from pages of another site are refused", status=403)
    path = request.url.path
    is_closed = path.startswith(CLOSED) or (request.method == "PUT" and path.startswith(CLOSED_TO_PUT))
    if is_closed or ".." in path.split("/") or "\\" in path:
        raise RefusedRequestError("there is no such address", status=404)
    for name in NAMES:
        for value in request.query_params.getlist(name):
            if value:
                check_plain_name(value, name)
    checksum = request.query_params.get("check_sum", "0")
    if not re.fullmatch(r"((SHA256|SHA512|MD5):)?[0-9a-f]+", checksum):
        raise RefusedRequestError("check_sum must be hexadecimal, after SHA256:, SHA512: or MD5:", status=400)
    if request.query_params.get("uncompress", "false").lower() not in ("false", "0", ""):
        raise RefusedRequestError("archives are refused: send the files themselves", status=400)
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_UPLOAD_BYTES:
        raise RefusedRequestError(f"at most {MAX_UPLOAD_BYTES // 2**30} GiB can be sent", status=413)


def _refusal(error: RefusedRequestError) -> Response:
    return JSONResponse({"detail": str(error)}, status_code=error.status)
