"""Start MONAI Label with our app: offline, on this machine alone unless told otherwise."""

import io
import ipaddress
import json
import os
import re
import socket
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import requests

from bundle.annotation.model_store import ModelStore
from bundle.annotation.options import AppOptions
from bundle.extras import needs_extra
from bundle.paths import ROOT

APP_DIR = Path(__file__).parent / "app"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_host(host: str, allow_network: bool) -> None:
    """Refuse to listen beyond this machine unless that is asked for."""
    if host not in LOOPBACK and not allow_network:
        raise ValueError(
            f"host must be this machine ({', '.join(LOOPBACK)}), got {host}: there is no password and no encryption. "
            "Put a reverse proxy in front (docs/how-to/annotate.md), or add --allow_network"
        )


def check_public_address(address: str | None) -> str | None:
    """A proxy's address as browsers send it, without a slash at its end."""
    if address is not None and not re.fullmatch(r"https?://[\w.-]+(:\d+)?/?", address):
        raise ValueError(f"public_address must be such as https://labels.example.org, got {address}")
    return address.rstrip("/") if address else None


def listen(host: str, port: int) -> socket.socket:
    """Take the port, before anything is loaded."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ValueError(f"cannot listen to port {port} of {host} ({error}): choose another with --port") from None
    return listener


def describe_service(studies: str, num_images: int, model: Path, host: str, port: int, origins: Sequence[str]) -> str:
    """What is served, where, and to whom."""
    who = "this machine alone" if host in LOOPBACK else "every machine that can reach it, without a password"
    return (
        f"annotate: {num_images} images of {studies}, with the model {model}\n"
        f"annotate: listening at {own_addresses(host, port)[0]}, to {who}\n"
        f"annotate: from a browser, pages of {', '.join(origins)} may use it, and no others"
    )


def label_settings(studies: str, options: AppOptions, port: int, modality: str) -> dict[str, str]:
    """MONAI Label's settings, as environment variables: its training process reads the same."""
    is_pacs = studies.startswith(("http://", "https://"))
    return {
        "MONAI_LABEL_APP_DIR": str(APP_DIR),
        "MONAI_LABEL_STUDIES": studies if is_pacs else str(Path(studies).resolve()),
        "MONAI_LABEL_APP_CONF": json.dumps({"options": options.to_json()}),
        "MONAI_LABEL_SERVER_PORT": str(port),
        "MONAI_LABEL_SESSION_PATH": str(Path(options.work_dir) / "sessions"),
        "MONAI_LABEL_DATASTORE_CACHE_PATH": str(Path(options.work_dir) / "cache"),
        "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": json.dumps({"Modality": modality}),
        "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY": "10",
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
        "MONAI_LABEL_TRACKING_ENABLED": "false",
        "MONAI_LABEL_TASKS_SCORING": "false",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "HF_HUB_OFFLINE": "1",
    }


def own_addresses(host: str, port: int) -> list[str]:
    """Where the server is found: this machine goes by two names."""
    names = [f"[{host}]" if ":" in host else host]
    if host in LOOPBACK:
        names = list(dict.fromkeys([*names, "127.0.0.1" if host == "localhost" else "localhost"]))
    return [f"http://{name}:{port}" for name in names]


def allowed_origins(host: str, port: int, public_address: str | None) -> list[str]:
    """Pages that may use the server from a browser: its own, by every name it has."""
    return [*own_addresses(host, port), *([public_address] if public_address else [])]


def allowed_hosts(host: str, public_address: str | None) -> list[str]:
    """Names that requests may call the server by."""
    names = [*LOOPBACK[:2], "[::1]"]
    if host not in names and not _is_every_address(host):
        names.append(host)
    if public_address:
        names.append(public_address.split("//")[-1].split("/")[0].split(":")[0])
    return ["*"] if _is_every_address(host) and not public_address else names


def serve(
    studies: str,
    options: AppOptions,
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_network: bool = False,
    public_address: str | None = None,
    modality: str = "RF",
) -> None:
    """Serve until interrupted.

    Args:
        studies: Folder of images, or address of a DICOMweb service.
        options: Of the app.
        host: To listen on.
        port: To listen on.
        allow_network: Whether other machines may be listened to.
        public_address: Of a reverse proxy, whose pages may use the server.
        modality: Of the series that are listed from a PACS.

    Raises:
        ValueError: If the host is not this machine, without ``allow_network``, the port is taken, the PACS does not
            answer, or the folder's images cannot be told apart.
        FileNotFoundError: If there is no such folder.
    """
    check_host(host, allow_network)
    public_address = check_public_address(public_address)
    if not studies.startswith(("http://", "https://")) and not Path(studies).is_dir():
        raise FileNotFoundError(f"no such folder of studies: {studies}")
    listener = listen(host, port)
    origins = allowed_origins(host, port, public_address)
    os.environ.update(label_settings(studies, options, port, modality))
    sys.path.insert(0, str(ROOT))

    with needs_extra("annotate", "the annotation server"):
        import uvicorn  # after the settings, which MONAI Label reads when it is imported

        with redirect_stdout(io.StringIO()):  # it prints a policy of origins that guard() replaces
            from monailabel.app import app
        from monailabel.interfaces.utils.app import app_instance

    from bundle.annotation.guard import as_refusal, guard
    from bundle.annotation.routes import router

    guard(app, allowed_hosts(host, public_address), origins)
    theirs = list(app.router.routes)
    app.include_router(router)
    app.router.routes.sort(key=theirs.__contains__)  # of two routes the first answers: ours
    try:
        num_images = len(app_instance().datastore().list_images())
    except requests.RequestException as error:
        raise ValueError(f"{studies}: {as_refusal(error)}") from None
    model = ModelStore(Path(options.work_dir), Path(options.model)).served()
    print(describe_service(studies, num_images, model, host, port, origins), flush=True)  # noqa: T201 - the command line
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _is_every_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
