"""Label files as viewers read and write them: one integer per pixel (NIfTI, NRRD, PNG), or layers of such (.seg.nrrd).

In every file that leaves the server a structure has the value ``1 + its index``, whatever is in the picture and
whatever the viewer called it. A label map cannot hold overlaps: the smaller structure lies on top. Layers can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from bundle.annotation.refusals import RefusedRequestError
from bundle.atomic import atomic_path
from bundle.structures import COLORS

LAYERS_SUFFIX = ".seg.nrrd"
NRRD_SUFFIX = ".nrrd"
NIFTI_SUFFIXES = (".nii.gz", ".nii")
PICTURE_SUFFIX = ".png"
LABEL_SUFFIXES = (LAYERS_SUFFIX, NRRD_SUFFIX, *NIFTI_SUFFIXES, PICTURE_SUFFIX)
ROUNDING_ERROR = 1e-3  # of a value that a viewer has kept as a floating-point number, or scaled
FROM_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Grid:
    """Axes of an image as viewers have them."""

    shape: tuple[int, ...]  # ``(X, Y)``, ``(X, Y, T)`` or ``(X, Y, 1, T)``: column, row from the top, frame
    affine: np.ndarray  # ``(4, 4)``, from indices to millimeters to the patient's right, front and head (NIfTI's RAS+)

    @property
    def num_frames(self) -> int:
        return 1 if len(self.shape) == 2 else self.shape[-1]

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """``(X, Y, T)``."""
        return self.shape[0], self.shape[1], self.num_frames


@dataclass(frozen=True, eq=False)
class Annotation:
    """Labels of a clip."""

    layers: np.ndarray  # ``(L, T, H, W)``, uint8: in each layer 0, or 1 + the index of a structure

    def masks(self, frames: Sequence[int], num_structures: int) -> np.ndarray:
        """Masks of some frames, ``(len(frames), S, H, W)``, bool."""
        values = np.arange(1, num_structures + 1, dtype=np.uint8)[:, None, None]
        masks = [(self.layers[:, None, frame] == values).any(axis=0) for frame in frames]
        return np.stack(masks) if masks else np.zeros((0, num_structures, *self.layers.shape[2:]), bool)

    def labeled_frames(self) -> list[int]:
        """Frames in which anything is labeled."""
        return [int(frame) for frame in np.flatnonzero(self.layers.any(axis=(0, 2, 3)))]

    def present(self, structures: Sequence[str], frames: Sequence[int]) -> dict[str, int]:
        """Name and value of every structure that is labeled in some of these frames."""
        counts = np.zeros(len(structures) + 1, np.int64)
        for frame in frames:  # one by one: counting needs eight bytes per pixel
            counts += np.bincount(self.layers[:, frame].ravel(), minlength=len(counts))
        return {name: value for value, name in enumerate(structures, start=1) if counts[value]}


def paint(masks: np.ndarray) -> np.ndarray:
    """One frame's masks ``(S, H, W)`` as a label map ``(H, W)``, uint8: the smaller on top, of equals the first."""
    painted = np.zeros(masks.shape[1:], np.uint8)
    areas = masks.sum(axis=(1, 2))
    for index in sorted(range(len(masks)), key=lambda index: (-areas[index], -index)):
        painted[masks[index].astype(bool)] = index + 1
    return painted


def as_layers(masks: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    """Masks of some structures in one frame, from ``(S, H, W)``, as one layer each, uint8."""
    values = np.array(indices, np.uint8) + np.uint8(1)
    return masks[list(indices)].astype(np.uint8) * values[:, None, None]


def suffix_of(name: str) -> str:
    """The label format that a file name ends in."""
    suffix = next((suffix for suffix in LABEL_SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix is None:
        raise RefusedRequestError(f"a label file must be one of {', '.join(LABEL_SUFFIXES)}, got another file type")
    return suffix


def write_annotation(annotation: Annotation, grid: Grid, structures: Sequence[str], path: Path) -> Path:
    """Write layers (``.seg.nrrd``) or a label map (every other suffix), on the image's own grid."""
    suffix = suffix_of(path.name)
    layers = annotation.layers.transpose(0, 3, 2, 1)  # (L, X, Y, T)
    with atomic_path(path) as temporary:
        if suffix == LAYERS_SUFFIX:
            _write_layers(layers, grid, structures, temporary)
        elif len(layers) == 1:
            _write_map(layers[0], grid, suffix, temporary)
        else:
            raise RefusedRequestError(f"labels in layers need a file {LAYERS_SUFFIX}, got {suffix}")
    return path


def _write_layers(layers: np.ndarray, grid: Grid, structures: Sequence[str], path: Path) -> None:
    import nrrd  # MONAI Label's, which .venv has not

    header = {**_nrrd_space(grid, with_list=len(layers) > 1), **_segments(layers, structures)}
    nrrd.write(str(path), layers if len(layers) > 1 else layers[0], header, compression_level=1)


def _write_map(values: np.ndarray, grid: Grid, suffix: str, path: Path) -> None:  # (X, Y, T)
    if suffix == PICTURE_SUFFIX:
        if values.shape[2] != 1:
            raise RefusedRequestError(
                f"a PNG holds one frame, and this label has {values.shape[2]}: ask for .nii.gz or .nrrd"
            )
        Image.fromarray(np.ascontiguousarray(values[:, :, 0].T)).save(path)
    elif suffix == NRRD_SUFFIX:
        import nrrd

        # Not compressed: packing a long cine takes longer than sending it to a viewer on the same machine.
        nrrd.write(str(path), values, {**_nrrd_space(grid, with_list=False), "encoding": "raw"})
    else:
        nib.save(nib.Nifti1Image(values.reshape(grid.shape), grid.affine), path)


def read_annotation(
    path: Path, grid: Grid, structures: Sequence[str], label_info: Sequence[Mapping[str, Any]] | None = None
) -> Annotation:
    """Read a label file that a viewer has sent for an image with this grid.

    ``label_info`` has ``{"name": ..., "idx": ...}`` of every segment, as viewers send it; it goes before values that
    follow ``structures``. Layers (``.seg.nrrd``) name their segments themselves.
    """
    suffix = suffix_of(path.name)
    try:
        layers, names = _read(path, suffix)
    except RefusedRequestError:
        raise
    except Exception as error:  # nibabel, pynrrd and Pillow leak many types
        raise RefusedRequestError(f"the label file cannot be read as {suffix} ({type(error).__name__})") from None
    layers = _on_grid(layers, grid)
    if names is None:
        return Annotation(_rename(layers[None], _names_of_values(label_info, structures), structures))
    renamed = [_rename(layer, names[index], structures) for index, layer in enumerate(layers)]
    return Annotation(np.stack(renamed))


def _read(path: Path, suffix: str) -> tuple[np.ndarray, list[dict[int, str]] | None]:
    """Values as they are in the file, and for each layer of a ``.seg.nrrd`` the name of every value."""
    if suffix in NIFTI_SUFFIXES:
        return np.asanyarray(nib.load(path).dataobj), None  # type: ignore[attr-defined]
    if suffix == PICTURE_SUFFIX:
        with Image.open(path) as picture:
            values = np.asarray(picture)
        if values.ndim != 2:
            raise RefusedRequestError(f"a label picture must have one channel of values, got shape {values.shape}")
        return values.T, None
    import nrrd

    values, header = nrrd.read(str(path))
    if suffix == NRRD_SUFFIX:
        return values, None
    layers = values if values.ndim == 4 else values[None]
    names: list[dict[int, str]] = [{} for _ in layers]
    for number in range(sum(key.endswith("_ID") for key in header)):
        prefix = f"Segment{number}_"
        if f"{prefix}Name" in header:
            layer, value = int(header.get(f"{prefix}Layer", 0)), int(header.get(f"{prefix}LabelValue", 1))
            names[layer][value] = header[f"{prefix}Name"]
    return layers, names


def _on_grid(values: np.ndarray, grid: Grid) -> np.ndarray:
    """``(X, Y)``, ``(X, Y, T)``, ``(X, Y, 1, T)`` or layers of ``(X, Y, T)`` as ``([L,] T, H, W)``."""
    is_layers = values.ndim == 4 and values.shape[2] != 1 and values.shape[1:] == grid.volume_shape
    shape = values.shape[1:] if is_layers else values.shape
    allowed = {grid.shape, grid.volume_shape} | ({grid.volume_shape[:2]} if grid.num_frames == 1 else set())
    allowed |= {(*grid.volume_shape[:2], 1, grid.num_frames)}
    if tuple(shape) not in allowed:
        raise RefusedRequestError(
            f"the label must be on the image's grid {grid.shape} (columns, rows, frames), got {tuple(shape)}"
        )
    whole = _whole_numbers(values)
    leading = values.shape[:1] if is_layers else ()
    return whole.reshape(*leading, *grid.volume_shape).swapaxes(-1, -3)


def _whole_numbers(values: np.ndarray) -> np.ndarray:
    """Values as they are, or rounded where they are floating-point numbers beside whole ones."""
    if np.issubdtype(values.dtype, np.floating):
        whole = np.round(values)
        is_whole = np.allclose(values, whole, rtol=0, atol=ROUNDING_ERROR)
    else:
        whole, is_whole = values, np.issubdtype(values.dtype, np.integer)
    if not is_whole or np.any(whole < 0):
        raise RefusedRequestError("a label holds whole numbers from 0, got others")
    return whole


def _names_of_values(label_info: Sequence[Mapping[str, Any]] | None, structures: Sequence[str]) -> dict[int, str]:
    if not label_info:
        return dict(enumerate(structures, start=1))
    if not isinstance(label_info, list) or not all(_is_named_value(entry) for entry in label_info):
        raise RefusedRequestError('label_info must be a list of {"name": ..., "idx": a whole number}')
    names: dict[int, str] = {}
    for number, entry in enumerate(label_info, start=1):
        name = names.setdefault(entry.get("idx", number), entry["name"])
        if name != entry["name"]:
            raise RefusedRequestError(f"label_info names a value twice, {name!r} and {entry['name']!r}")
    return names


def _is_named_value(entry: object) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("name"), str) and type(entry.get("idx", 1)) is int


def _rename(values: np.ndarray, names: Mapping[int, str], structures: Sequence[str]) -> np.ndarray:
    """Give every named value the value of its structure."""
    renamed = np.zeros(values.shape, np.uint8)
    for value in np.unique(values):
        if not value:
            continue
        name = names.get(int(value))
        if name not in structures:
            known = f"{name!r} is no structure" if name else f"the value {int(value)} has no name"
            raise RefusedRequestError(f"{known}: expected some of {list(structures)}")
        renamed[values == value] = structures.index(name) + 1
    return renamed


def _nrrd_space(grid: Grid, with_list: bool) -> dict[str, Any]:
    to_lps = FROM_RAS_TO_LPS @ grid.affine
    directions = to_lps[:3, :3].T  # one row per axis
    kinds = ["domain", "domain", "domain"]
    return {
        "space": "left-posterior-superior",
        "space directions": np.vstack([np.full((1, 3), np.nan), directions]) if with_list else directions,
        "space origin": to_lps[:3, 3],
        "kinds": ["list", *kinds] if with_list else kinds,
    }


def _segments(layers: np.ndarray, structures: Sequence[str]) -> dict[str, str]:
    """3D Slicer's description of segments: every structure that has a pixel in a layer, or a layer of its own."""
    fields: dict[str, str] = {}
    number = 0
    extent = " ".join(f"0 {size - 1}" for size in layers.shape[1:])
    for layer, values in enumerate(layers):
        for value in np.unique(values[values > 0]):
            name = structures[int(value) - 1]
            color = " ".join(f"{channel / 255:.4f}" for channel in COLORS.get(name, (255, 255, 255)))
            prefix = f"Segment{number}_"
            fields |= {
                f"{prefix}ID": name,
                f"{prefix}Name": name,
                f"{prefix}Color": color,
                f"{prefix}Layer": str(layer),
                f"{prefix}LabelValue": str(value),
                f"{prefix}Extent": extent,
            }
            number += 1
    return fields
