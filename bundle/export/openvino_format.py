"""OpenVINO's intermediate representation (``.xml`` and ``.bin``), from ONNX."""

from functools import cache
from pathlib import Path
from typing import Any

from bundle.extras import needs_extra


@cache
def shared_core() -> Any:
    """The process's only ``openvino.Core``, which is never let go.

    OpenVINO's CPU plugin gives the thread that makes a core a stack for signal handlers, and frees it with the core: a
    core that another thread lets go, as garbage collection may, leaves the first thread with a stack that is gone, and
    the next signal ends the process.
    """
    with needs_extra("deploy", "OpenVINO"):
        import openvino
    return openvino.Core()


def export_openvino(onnx_path: str | Path, path: str | Path) -> Path:
    """Turn an ONNX file into OpenVINO's format, weights in float32.

    Args:
        onnx_path: As ``export_onnx`` writes it.
        path: The ``.xml`` file; the ``.bin`` is written beside it.
    """
    # Not openvino.convert_model: that would report to its maker that a model was converted.
    model = shared_core().read_model(onnx_path)
    import openvino  # is there: it has read the model

    openvino.save_model(model, path, compress_to_fp16=False)
    return Path(path)
