"""Static quantization to int8, from frames of training patients: NNCF for OpenVINO, ONNX Runtime's tool for ONNX."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor

from bundle.data.datalist import load_datalist
from bundle.export.formats import FRAMES, load_openvino, shared_core
from bundle.extras import needs_extra
from bundle.keys import IMAGE
from bundle.phantom import generate_study
from bundle.phantom.dataset import GENERATOR_VERSION
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed
from bundle.weights import file_sha256

FRAMES_PER_PATIENT = 4
# The first convolutions, at strides 2 and 4, stay in float32: of the variants tried this lost the least Dice, and
# little time. So do products of two activations: linear attention divides by one.
FLOAT_CONVOLUTIONS = 7


def calibration_frames(image_size: int, num_frames: int, datalist: str | Path | None = None) -> Tensor:
    """Letterboxed frames of training patients, always the same.

    Args:
        image_size: Side of the network's square input.
        num_frames: How many; a multiple of 4 with the phantom.
        datalist: Whose training frames, spread evenly. None: the phantom's first training patients.

    Returns:
        Frames ``(num_frames, 1, image_size, image_size)`` in [0, 1].
    """
    if num_frames < 1:
        raise ValueError(f"calibration needs at least one frame, got {num_frames}")
    if datalist is None:
        seeds = range(-(-num_frames // FRAMES_PER_PATIENT))
        studies = [generate_study(seed, image_size, FRAMES_PER_PATIENT).frames for seed in seeds]
        return torch.cat([torch.from_numpy(frames) for frames in studies])[:num_frames]
    entries = load_datalist(datalist, "training")
    chosen = entries[:: max(1, len(entries) // num_frames)][:num_frames]
    frame_of = Compose([LoadFramed(None), Letterboxd(IMAGE, image_size)])
    return torch.stack([torch.as_tensor(frame_of(entry)[IMAGE]) for entry in chosen])


def describe_calibration(num_frames: int, datalist: str | Path | None = None) -> Mapping[str, Any]:
    """What the frames depend on, as plain values."""
    source = f"phantom {GENERATOR_VERSION}" if datalist is None else file_sha256(datalist)
    return {"frames": num_frames, "source": source}


def quantize_onnx(source: str | Path, frames: Tensor, path: str | Path) -> Path:
    """Quantize convolutions and matrix products of an ONNX file; weights per channel; ranges of frames (N, 1, S, S)."""
    with needs_extra("deploy", "int8"):
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

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
    """Quantize an OpenVINO model; a ``.bin`` is written beside the ``.xml``."""
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
    """The package that makes int8 for OpenVINO."""
    load_openvino()  # which keeps this package from reporting, too
    with needs_extra("quantize", "int8 for OpenVINO"):
        return import_module("nncf")


def _float_nodes(graph: Any) -> list[str]:
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


class _Frames:
    """Frames one by one, as ONNX Runtime's ``CalibrationDataReader``."""

    def __init__(self, frames: Tensor) -> None:
        self.frames: Iterator[np.ndarray] = iter(frames.numpy())

    def get_next(self) -> dict[str, np.ndarray] | None:
        frame = next(self.frames, None)
        return None if frame is None else {FRAMES: frame[None]}
