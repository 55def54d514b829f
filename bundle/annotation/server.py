"""Start MONAI Label with our app: offline, on this machine alone unless told otherwise."""

import ipaddress
import json
import os
import sys
from pathlib import Path

from bundle.annotation.options import AppOptions
from bundle.extras import needs_extra
from bundle.workflows.stages import ROOT

APP_DIR = Path(__file__).parent / "app"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_host(host: str, allow_network: bool) -> None:
    """Refuse to listen beyond this machine unless that is asked for.

    Raises:
        ValueError: If it is not.
    """
    if host not in LOOPBACK and not allow_network:
        raise ValueError(
            f"host must be this machine ({', '.join(LOOPBACK)}), got {host}: there is no password and no encryption. "
            "Put a reverse proxy in front (docs/how-to/annotate.md), or add --allow_network"
        )


def label_settings(studies: str, options: AppOptions, port: int, modality: str) -> dict[str, str]:
    """MONAI Label's settings, as environment variables: its training process reads the same.

    Args:
        studies: Folder, or address of a DICOMweb service.
        options: Of the app.
        port: To listen on.
        modality: Of the series that are listed from a PACS.
    """
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


def allowed_origins(host: str, port: int, public_address: str | None) -> list[str]:
    """Pages that may use the server from a browser: its own, by every name it has."""
    names = LOOPBACK[:2] if host in LOOPBACK else (host,)
    return [*(f"http://{name}:{port}" for name in names), *([public_address] if public_address else [])]


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
        ValueError: If the host is not this machine, without ``allow_network``.
        FileNotFoundError: If there is no such folder.
    """
    check_host(host, allow_network)
    if not studies.startswith(("http://", "https://")) and not Path(studies).is_dir():
        raise FileNotFoundError(f"no such folder of studies: {studies}")
    os.environ.update(label_settings(studies, options, port, modality))
    sys.path.insert(0, str(ROOT))

    with needs_extra("annotate", "the annotation server"):
        import uvicorn  # after the settings, which MONAI Label reads when it is imported
        from monailabel.app import app

    from bundle.annotation.guard import guard
    from bundle.annotation.promotion import router

    guard(app, allowed_hosts(host, public_address), allowed_origins(host, port, public_address))
    app.include_router(router)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def _is_every_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
