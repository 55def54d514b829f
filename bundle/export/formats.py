"""A network as a file that runs without our code: PyTorch's own formats, ONNX, OpenVINO; what leaves its graph.

Twelve structures of a 512 x 512 frame are 12.6 MB as full-size float logits (``Segmenter`` itself), 3.1 MB as masks and
0.8 MB as logits at stride 4, from which masks of any size follow. Normalization and the limit by presence are inside.
Networks take frames ``(B, 1, image_size, image_size)`` in [0, 1], give one tensor, and are in evaluation mode. Batches
of any size go through the file.
"""

import contextlib
import io
import math
import sys
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bundle.atomic import atomic_path
from bundle.extras import needs_extra
from bundle.segmentation.segmenter import Segmenter


class CoarseLogits(nn.Module):
    """A segmenter's logits before they are enlarged."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, frames: Tensor) -> Tensor:  # (B, 1, H, W) in [0, 1] -> (B, S, H/4, W/4)
        output = self.segmenter.decode_structures(self.segmenter.encode(frames))
        return torch.minimum(output.masks, output.presence[:, :, None, None])


class BinaryMasks(nn.Module):
    """A segmenter's masks, thresholded at a probability inside the graph."""

    def __init__(self, segmenter: Segmenter, threshold: float = 0.5) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.limit = logit_of(threshold)

    def forward(self, frames: Tensor) -> Tensor:  # (B, 1, H, W) in [0, 1] -> (B, S, H, W), 0 or 1
        return (self.segmenter(frames) > self.limit).to(torch.uint8)


def logit_of(threshold: float) -> float:
    """The logit that stands for a probability, which must be between 0 and 1."""
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be a probability between 0 and 1, got {threshold}")
    return math.log(threshold / (1 - threshold))


def export_program(network: nn.Module, image_size: int, path: str | Path) -> Path:
    """Write what ``torch.export`` makes of a network; ``torch.export.load(path).module()`` runs it without our code."""
    with atomic_path(path) as temporary:
        torch.export.save(exported_program(network, image_size), temporary)
    return Path(path)


def exported_program(network: nn.Module, image_size: int) -> torch.export.ExportedProgram:
    """The network as ``torch.export`` sees it, for any batch."""
    # An example of two frames: a batch of one would be taken for a constant.
    with torch.no_grad():
        return torch.export.export(
            network, (example_frames(image_size, 2),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )


def export_torchscript(network: nn.Module, image_size: int, path: str | Path) -> Path:
    """Write a traced network with its weights frozen in, batch normalization folded into the convolutions."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # every shape that is read while tracing; TorchScript's own end
        traced = torch.jit.trace(network, example_frames(image_size, 2), check_trace=False)
        with atomic_path(path) as temporary:
            torch.jit.save(torch.jit.freeze(traced.eval()), temporary)
    return Path(path)


def example_frames(image_size: int, batch_size: int) -> Tensor:
    """Frames ``(B, 1, image_size, image_size)`` in [0, 1], always the same."""
    return torch.rand(batch_size, 1, image_size, image_size, generator=torch.Generator().manual_seed(0))


OPSET = 18
FRAMES, OUTPUT = "frames", "output"  # names of the graph's input and output


def export_onnx(network: nn.Module, image_size: int, path: str | Path) -> Path:
    """Write a network as one ONNX file, weights included."""
    program = exported_program(network, image_size)
    with atomic_path(path) as temporary, contextlib.redirect_stdout(io.StringIO()):  # the exporter prints its steps
        torch.onnx.export(
            program,
            (),
            temporary,
            input_names=[FRAMES],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )
    return Path(path)


def load_openvino() -> Any:
    """The package ``openvino``, kept from reporting to its maker that it was imported or has converted a model.

    It does so by another package, which None makes count as missing; it works without. So does NNCF, which comes later.
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
    """Turn an ONNX file into OpenVINO's format, weights in float32; a ``.bin`` is written beside the ``.xml``."""
    model = shared_core().read_model(onnx_path)
    load_openvino().save_model(model, path, compress_to_fp16=False)
    return Path(path)
