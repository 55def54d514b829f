"""One interface for every runtime: choose one, make its file if there is none, and load it."""

import importlib.util
import logging
from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.export.checkpoint import load_weights
from bundle.export.deploy import Exporter
from bundle.export.formats import CoarseLogits
from bundle.extras import needs_extra
from bundle.inference.runtimes.engines import Engine, OnnxEngine, OpenVinoEngine, TorchEngine, processor_has_bfloat16

PRECISIONS = {
    "torch": ("float32", "bfloat16"),
    "torchscript": ("float32",),
    "onnx": ("float32", "int8"),
    "openvino": ("float32", "bfloat16", "int8"),
}
"""Runtimes, and what each computes in."""

PACKAGES = {"torch": "torch", "torchscript": "torch", "onnx": "onnxruntime", "openvino": "openvino"}

logger = logging.getLogger(__name__)


class Runtime(nn.Module):
    """A segmenter that a runtime computes: called like ``Segmenter``, and without parameters.

    :meth:`coarse` is the fast way: what the runtime itself gives, a sixteenth of the full-size logits, from which
    ``MaskEnlarger`` makes masks of any size. ``forward`` enlarges it as ``Segmenter.forward`` does, outside the graph.
    One thread may call it while others do other things; no two threads at once.
    """

    def __init__(self, engine: Engine, image_size: int, name: str, precision: str) -> None:
        super().__init__()
        self.engine = engine
        self.image_size = image_size
        self.name = name
        self.precision = precision

    def coarse(self, frames: Tensor) -> Tensor:  # (B, 1, size, size) in [0, 1] -> (B, S, size/4, size/4) on the CPU
        """Logits before they are enlarged, float32, limited by presence.

        Raises:
            ValueError: If the frames have another shape.
        """
        expected = (1, self.image_size, self.image_size)
        if frames.ndim != 4 or tuple(frames.shape[1:]) != expected or not len(frames):
            raise ValueError(f"this runtime takes frames (B, {str(expected)[1:]}, got {tuple(frames.shape)}")
        with torch.inference_mode():
            return self.engine(frames.as_subclass(Tensor).to(torch.float32))

    def forward(self, frames: Tensor) -> Tensor:  # (B, 1, size, size) in [0, 1] -> (B, S, size, size)
        size = (self.image_size, self.image_size)
        return F.interpolate(self.coarse(frames), size=size, mode="bilinear", align_corners=False)

    def extra_repr(self) -> str:
        """Runtime and precision, for logs."""
        return f"{self.name}, {self.precision}, frames of {self.image_size} x {self.image_size}"


def load_runtime(
    exporter: Exporter,
    runtime: str = "auto",
    precision: str = "float32",
    num_threads: int | None = None,
    num_streams: int | None = 1,
    device: torch.device | str = "cpu",
) -> Runtime:
    """Make a trained segmenter ready to run.

    Args:
        exporter: Knows the network, whose weights may be replaced by the checkpoint's, and keeps the exported files.
        runtime: "torch", "torchscript", "onnx", "openvino", or "auto": PyTorch on a GPU, else the first of OpenVINO,
            ONNX Runtime and PyTorch that is installed and offers the precision. The choice is logged.
        precision: "float32", "bfloat16", "int8", or "auto": bfloat16 on OpenVINO where the processor computes it, else
            float32. int8 is never chosen automatically, since it changes the masks more.
        num_threads: Threads of the runtime; None: as many as there are cores.
        num_streams: With OpenVINO, frames of a batch that are computed at the same time; None: as many as give the
            most frames per second.
        device: Only PyTorch runs on a GPU.

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
    image_size = exporter.network.image_size
    engine: Engine
    if name == "torch":
        network = CoarseLogits(load_weights(exporter.network, exporter.checkpoint))
        return Runtime(TorchEngine(network, device, precision, num_threads), image_size, name, precision)
    path = exporter.export(name, "int8" if precision == "int8" else "float32")
    if name == "torchscript":
        engine = TorchEngine.of_torchscript(path, num_threads)
    elif name == "onnx":
        engine = OnnxEngine(path, num_threads)
    else:
        engine = OpenVinoEngine(path, image_size, precision, num_threads, num_streams)
    return Runtime(engine, image_size, name, precision)


def leave_cores_to(runtime: Runtime) -> None:
    """Beside another runtime PyTorch only enlarges masks: more threads of it would be in the way."""
    if runtime.name in ("onnx", "openvino"):
        torch.set_num_threads(1)


def choose_runtime(precision: str, device: torch.device) -> str:
    """The fastest runtime that is installed and offers a precision on a device."""
    if device.type != "cpu":
        return "torch"
    names = ("openvino", "onnx", "torch")
    found = next((name for name in names if precision in PRECISIONS[name] and is_installed(name)), None)
    if found is None:
        raise ValueError(f"no installed runtime computes in {precision!r}; runtimes and precisions are {PRECISIONS}")
    return found


def choose_precision(name: str) -> str:
    """The fastest precision of a runtime that leaves the masks as good as they are."""
    return "bfloat16" if name == "openvino" and is_installed(name) and processor_has_bfloat16() else "float32"


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
    if name == "openvino" and precision == "bfloat16" and not processor_has_bfloat16():
        raise RuntimeError("this processor does not compute bfloat16: take precision float32 or int8")
