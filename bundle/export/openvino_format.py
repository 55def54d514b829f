"""OpenVINO's intermediate representation (``.xml`` and ``.bin``), from ONNX."""

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from bundle.extras import needs_extra


def load_openvino() -> Any:
    """The package ``openvino``, kept from reporting to its maker that it was imported or has converted a model.

    It does so by another package, which None makes count as missing; it works without. So does NNCF, which comes later.

    Raises:
        MissingPackageError: If it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    with needs_extra("deploy", "OpenVINO"):
        return import_module("openvino")


@cache
def shared_core() -> Any:
    """The process's only ``openvino.Core``, which is never let go.

    OpenVINO's CPU plugin gives the thread that makes a core a stack for signal handlers, and frees it with the core: a
    core that another thread lets go, as garbage collection may, leaves the first thread with a stack that is gone, and
    the next signal ends the process.
    """
    return load_openvino().Core()


def export_openvino(onnx_path: str | Path, path: str | Path) -> Path:
    """Turn an ONNX file into OpenVINO's format, weights in float32.

    Args:
        onnx_path: As ``export_onnx`` writes it.
        path: The ``.xml`` file; the ``.bin`` is written beside it.
    """
    model = shared_core().read_model(onnx_path)
    load_openvino().save_model(model, path, compress_to_fp16=False)
    return Path(path)
