"""From a checkpoint to the file that a runtime loads: made once, kept beside the checkpoint, never another one's."""

import errno
import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from bundle.atomic import atomic_folder, write_json
from bundle.export import formats, quantize
from bundle.export.checkpoint import load_weights
from bundle.segmentation import segmenter
from bundle.segmentation.segmenter import Segmenter
from bundle.students import encoder, trunk
from bundle.weights import file_sha256

FILES = {"torchscript": "model.ts", "onnx": "model.onnx", "openvino": "model.xml"}
PRECISIONS = {"torchscript": ("float32",), "onnx": ("float32", "int8"), "openvino": ("float32", "int8")}
# Modules that make an export: one of an earlier version of them is stale.
_CODE = (segmenter, encoder, trunk, formats)
RECORD = "export.json"
# What an exported file may depend on.
PACKAGES = ("torch", "timm", "sam2", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exporter:
    """The exported files of one checkpoint, whose output is logits at stride 4 (``CoarseLogits``)."""

    network: Segmenter  # the architecture; gets the checkpoint's weights when a file has to be made
    checkpoint: str | Path  # the weights
    folder: str | Path | None = None  # where exported files are kept; None: beside the checkpoint
    calibration_datalist: str | Path | None = None  # whose training frames int8 is calibrated on; None: the phantom's
    num_calibration_frames: int = 64  # how many of them

    def export(self, file_format: str, precision: str = "float32") -> Path:
        """Find or make a file: "torchscript", "onnx" or "openvino", in "float32" or, the last two, in "int8"."""
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
                formats.export_torchscript(self._trained(), self.network.image_size, path)
            case "onnx", "float32":
                formats.export_onnx(self._trained(), self.network.image_size, path)
            case "openvino", "float32":
                formats.export_openvino(self.export("onnx"), path)
            case "onnx", _:
                quantize.quantize_onnx(self.export("onnx"), self._frames(), path)
            case _:
                quantize.load_nncf()  # missing, it is missed before the exports, which take a minute
                quantize.quantize_openvino(self.export("openvino"), self._frames(), path)

    def _trained(self) -> formats.CoarseLogits:
        return formats.CoarseLogits(load_weights(self.network, self.checkpoint)).eval()

    def _frames(self) -> Tensor:
        size = self.network.image_size
        return quantize.calibration_frames(size, self.num_calibration_frames, self.calibration_datalist)

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
            settings["quantization_code"] = _digest((quantize,))
            settings["calibration"] = quantize.describe_calibration(
                self.num_calibration_frames, self.calibration_datalist
            )
        return settings


def _digest(modules: Sequence[ModuleType]) -> str:
    return hashlib.sha256("".join(inspect.getsource(module) for module in modules).encode()).hexdigest()


def default_folder(checkpoint: str | Path) -> Path:
    """Where a checkpoint's exported files lie unless another folder is named: beside it."""
    path = Path(checkpoint)
    return path.with_name(f"{path.stem}-exported")


def exported_folder(
    folder: str | Path, checkpoint: str | Path, settings: Mapping[str, Any], write: Callable[[Path], None]
) -> Path:
    """Find the folder of what was exported from a checkpoint with these settings and versions, or make it.

    It is made again if a file in it was damaged or changed, or if it was made with another version of a package that is
    installed here; a package that is only needed to make it may be missing.

    Args:
        folder: Holds one folder per export.
        checkpoint: The weights; only its content counts, by SHA-256.
        settings: What else the files depend on, as JSON has it; "format" and "precision" are part of the name.
        write: Writes the files into an empty folder that it is given.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"weights not found: there is no file {checkpoint}")
    key = {"checkpoint": file_sha256(checkpoint), **settings}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    target = Path(folder) / f"{settings['format']}-{settings['precision']}-{digest[:16]}"
    if reason := _why_not(target, key):
        logger.info("exporting %s to %s: %s", Path(checkpoint).name, target.name, reason)
        _write(target, key, write)
    return target


def installed_versions() -> dict[str, str]:
    """Versions of the packages that make exported files."""
    return {name: found.version for name in PACKAGES for found in metadata.distributions(name=name)}


def _write(target: Path, key: Mapping[str, Any], write: Callable[[Path], None]) -> None:
    try:
        with atomic_folder(target) as temporary:
            write(temporary)
            files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
            write_json(temporary / RECORD, {"key": key, "versions": installed_versions(), "files": files})
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC):
            raise
        reason = f"exported files cannot be written into {target.parent} ({error.strerror})"
        raise OSError(f"{reason}: name another folder with cache_dir") from error


def _why_not(folder: Path, key: Mapping[str, Any]) -> str | None:
    """Why an export cannot be used as it is; None if it can."""
    if not (folder / RECORD).is_file():
        return "there is none yet"
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["key"] != key:
            return "it was made from something else"
        here = installed_versions()
        other = [name for name, version in record["versions"].items() if here.get(name, version) != version]
        damaged = [name for name, sha256 in record["files"].items() if file_sha256(folder / name) != sha256]
    except (OSError, ValueError, KeyError, AttributeError):
        return "it is incomplete or damaged"
    if damaged:
        return f"{', '.join(damaged)} was damaged or changed"
    return f"made with another version of {', '.join(other)}" if other else None
