"""What the client is told of an error, whoever has raised it."""

import errno
import os
from collections.abc import Mapping
from typing import Any

import requests
from fastapi.exceptions import RequestValidationError
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from bundle.annotation.refusals import RefusedRequestError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
