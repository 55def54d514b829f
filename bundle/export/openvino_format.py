"""OpenVINO's intermediate representation (``.xml`` and ``.bin``), from ONNX."""

from pathlib import Path

from monai.utils import optional_import

openvino, _ = optional_import("openvino", descriptor="OpenVINO is not installed: pip install '.[openvino]'")


def export_openvino(onnx_path: str | Path, path: str | Path) -> Path:
    """Turn an ONNX file into OpenVINO's format, weights in float32.

    Args:
        onnx_path: As ``export_onnx`` writes it.
        path: The ``.xml`` file; the ``.bin`` is written beside it.
    """
    # Not openvino.convert_model: that would report to its maker that a model was converted.
    model = openvino.Core().read_model(onnx_path)
    openvino.save_model(model, path, compress_to_fp16=False)
    return Path(path)
