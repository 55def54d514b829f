"""From a checkpoint to the file that a runtime loads: made once, and kept beside the checkpoint."""

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from bundle.export import calibration, graph, onnx_format, openvino_format, torch_formats
from bundle.export.calibration import calibration_frames, describe_calibration
from bundle.export.checkpoint import load_weights
from bundle.export.exported import default_folder, exported_folder
from bundle.export.onnx_format import export_onnx
from bundle.export.openvino_format import export_openvino
from bundle.export.torch_formats import export_torchscript
from bundle.segmentation import automatic, segmenter
from bundle.segmentation.segmenter import Segmenter
from bundle.students import encoder, trunk

FILES = {"torchscript": "model.ts", "onnx": "model.onnx", "openvino": "model.xml"}
PRECISIONS = {"torchscript": ("float32",), "onnx": ("float32", "int8"), "openvino": ("float32", "int8")}
_CODE = (automatic, segmenter, encoder, trunk, graph, torch_formats, onnx_format, openvino_format)
"""Modules that make an export: one of an earlier version of them is stale."""


@dataclass(frozen=True)
class Exporter:
    """The exported files of one checkpoint, whose output is logits at stride 4 (``CoarseLogits``).

    Attributes:
        network: The architecture; gets the checkpoint's weights when a file has to be made.
        checkpoint: The weights.
        folder: Where exported files are kept; None: beside the checkpoint.
        calibration_datalist: Whose training frames int8 is calibrated on; None: the phantom's.
        num_calibration_frames: How many of them.
    """

    network: Segmenter
    checkpoint: str | Path
    folder: str | Path | None = None
    calibration_datalist: str | Path | None = None
    num_calibration_frames: int = 64

    def export(self, file_format: str, precision: str = "float32") -> Path:
        """Find or make a file.

        Args:
            file_format: "torchscript", "onnx" or "openvino".
            precision: "float32" or, for the last two, "int8".

        Returns:
            The file.

        Raises:
            ValueError: If format and precision do not go together, or the weights do not fit.
            OSError: If the folder cannot be written.
        """
        if precision not in PRECISIONS.get(file_format, ()):
            raise ValueError(f"exports are {PRECISIONS}, got {file_format} in {precision}")
        folder = exported_folder(
            self.folder or default_folder(self.checkpoint),
            self.checkpoint,
            self._settings(file_format, precision),
            lambda target: self._write(file_format, precision, target / FILES[file_format]),
        )
        return folder / FILES[file_format]

    def _write(self, file_format: str, precision: str, path: Path) -> None:
        match file_format, precision:
            case "torchscript", "float32":
                export_torchscript(self._trained(), self.network.image_size, path)
            case "onnx", "float32":
                export_onnx(self._trained(), self.network.image_size, path)
            case "openvino", "float32":
                export_openvino(self.export("onnx"), path)
            case "onnx", _:
                _quantize().quantize_onnx(self.export("onnx"), self._frames(), path)
            case _:
                _quantize().load_nncf()  # missing, it is missed before the exports, which take a minute
                _quantize().quantize_openvino(self.export("openvino"), self._frames(), path)

    def _trained(self) -> graph.CoarseLogits:
        return graph.CoarseLogits(load_weights(self.network, self.checkpoint)).eval()

    def _frames(self) -> Tensor:
        return calibration_frames(self.network.image_size, self.num_calibration_frames, self.calibration_datalist)

    def _settings(self, file_format: str, precision: str) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "format": file_format,
            "precision": precision,
            "image_size": self.network.image_size,
            "structures": list(self.network.structures),
            "student": self.network.student.trunk.model_name,
            "code": _digest(_CODE),
        }
        if precision == "int8":
            settings["quantisation_code"] = _digest((calibration, _quantize()))
            settings["calibration"] = describe_calibration(self.num_calibration_frames, self.calibration_datalist)
        return settings


def _quantize() -> ModuleType:
    """The module that needs the most packages, and that int8 alone needs."""
    from bundle.export import quantize

    return quantize


def _digest(modules: Sequence[ModuleType]) -> str:
    return hashlib.sha256("".join(inspect.getsource(module) for module in modules).encode()).hexdigest()
