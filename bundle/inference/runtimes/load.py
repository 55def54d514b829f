"""Choose a runtime, make its file if there is none, and load it."""

import importlib.util
import logging
from importlib import import_module
from pathlib import Path

import torch

from bundle.export.checkpoint import load_weights
from bundle.export.deploy import Exporter
from bundle.export.formats import CoarseLogits
from bundle.extras import needs_extra
from bundle.inference.runtimes.runtime import Engine, Runtime
from bundle.inference.runtimes.torch_engine import TorchEngine, TorchScriptEngine
from bundle.segmentation.segmenter import Segmenter

PRECISIONS = {
    "torch": ("float32", "bfloat16"),
    "torchscript": ("float32",),
    "onnx": ("float32", "int8"),
    "openvino": ("float32", "bfloat16", "int8"),
}
"""Runtimes, and what each computes in."""

PACKAGES = {"torch": "torch", "torchscript": "torch", "onnx": "onnxruntime", "openvino": "openvino"}

logger = logging.getLogger(__name__)


def load_runtime(
    segmenter: Segmenter,
    checkpoint: str | Path,
    runtime: str = "auto",
    precision: str = "float32",
    num_threads: int | None = None,
    num_streams: int | None = 1,
    cache_dir: str | Path | None = None,
    calibration_datalist: str | Path | None = None,
    device: torch.device | str = "cpu",
    num_calibration_frames: int = 64,
) -> Runtime:
    """Make a trained segmenter ready to run.

    Args:
        segmenter: The architecture; its weights may be replaced by the checkpoint's.
        checkpoint: The weights.
        runtime: "torch", "torchscript", "onnx", "openvino", or "auto": PyTorch on a GPU, else the first of OpenVINO,
            ONNX Runtime and PyTorch that is installed and offers the precision. The choice is logged.
        precision: "float32", "bfloat16", "int8", or "auto": bfloat16 on OpenVINO where the processor computes it, else
            float32. int8 is never chosen automatically, since it changes the masks more.
        num_threads: Threads of the runtime; None: as many as there are cores.
        num_streams: With OpenVINO, frames of a batch that are computed at the same time; None: as many as give the
            most frames per second.
        cache_dir: Where exported files are kept; None: beside the checkpoint.
        calibration_datalist: For int8, whose training frames it is calibrated on; None: synthetic ones.
        device: Only PyTorch runs on a GPU.
        num_calibration_frames: For int8.

    Returns:
        The runtime; see there for how it is called.

    Raises:
        ValueError: If the runtime is unknown, or does not offer the precision or the device.
        MissingPackageError: If the runtime's package is not installed.
        RuntimeError: If the processor lacks the precision.
    """
    device = torch.device(device)
    name = choose_runtime("float32" if precision == "auto" else precision, device) if runtime == "auto" else runtime
    is_chosen = "auto" in (runtime, precision)
    precision = choose_precision(name) if precision == "auto" else precision
    _check(name, precision, device)
    logger.info("runtime: %s, %s%s", name, precision, " (chosen automatically)" if is_chosen else "")
    engine: Engine
    if name == "torch":
        engine = TorchEngine(CoarseLogits(load_weights(segmenter, checkpoint)), device, precision, num_threads)
    else:
        stored = "int8" if precision == "int8" else "float32"
        exporter = Exporter(segmenter, checkpoint, cache_dir, calibration_datalist, num_calibration_frames)
        path = exporter.export(name, stored)
        engine = load_engine(name, path, segmenter.image_size, precision, num_threads, num_streams)
    return Runtime(engine, segmenter.image_size, name, precision)


def load_engine(
    name: str, path: Path, image_size: int, precision: str, num_threads: int | None, num_streams: int | None = 1
) -> Engine:
    """An exported file, ready to run.

    Args:
        name: "torchscript", "onnx" or "openvino".
        path: The exported file.
        image_size: Side of the frames.
        precision: As for :func:`load_runtime`.
        num_threads: As for :func:`load_runtime`.
        num_streams: As for :func:`load_runtime`.
    """
    if name == "torchscript":
        return TorchScriptEngine(path, num_threads)
    if name == "onnx":
        from bundle.inference.runtimes.onnx_engine import OnnxEngine

        return OnnxEngine(path, num_threads)
    from bundle.inference.runtimes.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(path, image_size, precision, num_threads, num_streams)


def leave_cores_to(runtime: Runtime) -> None:
    """Beside another runtime PyTorch only enlarges masks: more threads of it would be in the way."""
    if runtime.name in ("onnx", "openvino"):
        torch.set_num_threads(1)


def choose_runtime(precision: str, device: torch.device) -> str:
    """The fastest runtime that is installed and offers a precision on a device."""
    if device.type != "cpu":
        return "torch"
    candidates = [
        name for name in ("openvino", "onnx", "torch") if precision in PRECISIONS[name] and is_installed(name)
    ]
    if not candidates:
        raise ValueError(f"no installed runtime computes in {precision!r}; runtimes and precisions are {PRECISIONS}")
    return candidates[0]


def choose_precision(name: str) -> str:
    """The fastest precision of a runtime that leaves the masks as good as they are."""
    return "bfloat16" if name == "openvino" and is_installed(name) and _has_bfloat16() else "float32"


def is_installed(runtime: str) -> bool:
    """Whether a runtime's package is there; PyTorch always is."""
    return importlib.util.find_spec(PACKAGES[runtime]) is not None


def _check(name: str, precision: str, device: torch.device) -> None:
    if name not in PRECISIONS:
        raise ValueError(f"runtime must be auto or one of {list(PRECISIONS)}, got {name!r}")
    if precision not in PRECISIONS[name]:
        raise ValueError(f"{name} computes in {' or '.join(PRECISIONS[name])}, got {precision!r}")
    if device.type != "cpu" and name != "torch":
        raise ValueError(f"{name} runs on the CPU, got device {str(device)!r}: take runtime 'torch' for a GPU")
    with needs_extra("deploy", f"runtime {name}"):
        import_module(PACKAGES[name])
    if name == "openvino" and precision == "bfloat16" and not _has_bfloat16():
        raise RuntimeError("this processor does not compute bfloat16: take precision float32 or int8")


def _has_bfloat16() -> bool:
    from bundle.inference.runtimes.openvino_engine import processor_has_bfloat16

    return processor_has_bfloat16()
