"""Static quantisation to int8: NNCF for OpenVINO, ONNX Runtime's own tool for ONNX."""

import logging
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bundle.export.onnx_format import FRAMES
from bundle.export.openvino_format import load_openvino, shared_core
from bundle.extras import needs_extra

with needs_extra("deploy", "int8"):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

FLOAT_CONVOLUTIONS = 7
"""The first convolutions, at strides 2 and 4, stay in float32: of the variants tried this lost the least Dice,
and little time. So do products of two activations: linear attention divides by one."""


def quantize_onnx(source: str | Path, frames: Tensor, path: str | Path) -> Path:
    """Quantise convolutions and matrix products of an ONNX file; weights per channel.

    Args:
        source: As ``export_onnx`` writes it.
        frames: From which the activations' ranges are taken ``(N, 1, S, S)``.
        path: The new ``.onnx`` file.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            _Frames(frames),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "ConvTranspose", "MatMul", "Gemm"],
            nodes_to_exclude=_float_nodes(onnx.load(prepared).graph),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return Path(path)


def quantize_openvino(source: str | Path, frames: Tensor, path: str | Path) -> Path:
    """Quantise an OpenVINO model.

    Args:
        source: The ``.xml`` file in float32.
        frames: From which the activations' ranges are taken ``(N, 1, S, S)``.
        path: The new ``.xml`` file; the ``.bin`` is written beside it.
    """
    nncf = load_nncf()
    nncf.set_log_level(logging.ERROR)
    model = shared_core().read_model(source)
    # Gather: NNCF 3.4 takes a position that is looked up in constants for weights, and fails.
    ignored = nncf.IgnoredScope(names=_float_operations(model), types=["Gather"])
    quantized = nncf.quantize(
        model,
        nncf.Dataset([frame[None] for frame in frames.numpy()]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(frames),
        ignored_scope=ignored,
    )
    load_openvino().save_model(quantized, path, compress_to_fp16=False)
    return Path(path)


def load_nncf() -> Any:
    """The package that makes int8 for OpenVINO.

    Raises:
        MissingPackageError: If it is not installed.
    """
    load_openvino()  # which keeps this package from reporting, too
    with needs_extra("quantize", "int8 for OpenVINO"):
        return import_module("nncf")


def _float_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of what stays in float32: the first convolutions, and products of two activations."""
    weights = {tensor.name for tensor in graph.initializer}
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    products = [node.name for node in graph.node if node.op_type == "MatMul" and weights.isdisjoint(node.input)]
    return convolutions[:FLOAT_CONVOLUTIONS] + products


def _float_operations(model: Any) -> list[str]:
    """The same of an OpenVINO model."""
    operations = model.get_ordered_ops()
    kinds = ("Convolution", "GroupConvolution")
    convolutions = [node.get_friendly_name() for node in operations if node.get_type_name() in kinds]
    products = [
        node.get_friendly_name()
        for node in operations
        if node.get_type_name() == "MatMul"
        and "Constant" not in {source.get_source_output().get_node().get_type_name() for source in node.inputs()}
    ]
    return convolutions[:FLOAT_CONVOLUTIONS] + products


class _Frames(CalibrationDataReader):
    """Frames one by one, as ONNX Runtime asks for them."""

    def __init__(self, frames: Tensor) -> None:
        self.frames: Iterator[np.ndarray] = iter(frames.numpy())

    def get_next(self) -> dict[str, np.ndarray] | None:
        frame = next(self.frames, None)
        return None if frame is None else {FRAMES: frame[None]}
