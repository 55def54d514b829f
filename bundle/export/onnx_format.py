"""ONNX, by PyTorch's exporter on top of ``torch.export``."""

import contextlib
import io
from pathlib import Path

import torch
from torch import nn

from bundle.atomic import atomic_path
from bundle.export.torch_formats import exported_program

OPSET = 18
FRAMES, OUTPUT = "frames", "output"
"""Names of the graph's input and output."""


def export_onnx(network: nn.Module, image_size: int, path: str | Path) -> Path:
    """Write a network as one ONNX file, weights included.

    Args:
        network: Frames ``(B, 1, image_size, image_size)`` to one tensor; in evaluation mode. The batch stays free.
        image_size: Side of the frames.
        path: An ``.onnx`` file.
    """
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
