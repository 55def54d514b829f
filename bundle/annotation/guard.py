"""What is refused before MONAI Label sees it: other hosts, other sites' pages, names that are paths, archives."""

from collections.abc import Awaitable, Callable, Sequence
from json import JSONDecodeError

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from bundle.annotation.refusals import RefusedRequestError, check_plain_name

NAMES = ("image", "label", "id", "tag", "session_id", "model")
"""Query parameters from which MONAI Label makes file names."""

CLOSED = ("/proxy", "/logs", "/wsi", "/model", "/scoring")
"""MONAI Label's routes that nothing here needs: requests passed on, logs, pathology, weights, scores."""

MAX_UPLOAD_BYTES = 4 * 2**30


def guard(app: FastAPI, hosts: Sequence[str], origins: Sequence[str]) -> None:
    """Put the checks in front of an app, and turn its refusals into answers.

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

    @app.exception_handler(RefusedRequestError)
    async def refused(_request: Request, error: RefusedRequestError) -> Response:
        return _refusal(error)

    @app.exception_handler(JSONDecodeError)
    async def no_json(_request: Request, _error: JSONDecodeError) -> Response:
        return _refusal(RefusedRequestError("params must be a JSON object", status=400))

    @app.exception_handler(MONAILabelException)
    async def refused_by_monai_label(_request: Request, error: MONAILabelException) -> Response:
        is_missing = isinstance(error, ImageNotFoundException | LabelNotFoundException)
        return _refusal(RefusedRequestError("there is no such image or label" if is_missing else "the request failed"))


def check_request(request: Request, origins: Sequence[str]) -> None:
    """Refuse a request by its address, its sender's page, its size, or a name in it.

    Raises:
        RefusedRequestError: With the reason.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins:
        raise RefusedRequestError("requests from pages of another site are refused", status=403)
    path = request.url.path
    if path.startswith(CLOSED) or ".." in path.split("/") or "\\" in path:
        raise RefusedRequestError("there is no such address", status=404)
    for name in NAMES:
        for value in request.query_params.getlist(name):
            if value:
                check_plain_name(value, name)
    if request.query_params.get("uncompress", "false").lower() not in ("false", "0", ""):
        raise RefusedRequestError("archives are refused: send the files themselves", status=400)
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_UPLOAD_BYTES:
        raise RefusedRequestError(f"at most {MAX_UPLOAD_BYTES // 2**30} GiB can be sent", status=413)


def _refusal(error: RefusedRequestError) -> Response:
    return JSONResponse({"detail": str(error)}, status_code=error.status)
