"""Multi-label masks from the three forms a data list allows: channels of one file, one file each, an indexed map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.data.clip import UnreadableStudyError
from bundle.data.kinds import NIFTI_SUFFIXES
from bundle.data.mask_files import probe_planes, read_planes
from bundle.data.nifti import open_nifti, read_array

ROUNDING = 0.05
"""How far a value may be from a whole number: a header that scales values up to 25 into 8 bits misses by less."""


@dataclass(frozen=True)
class ChannelLabel:
    """One NIfTI ``(X, Y, 1, T, S)`` with a channel per structure, in the data list's order."""

    path: Path
    channels: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def structures(self) -> tuple[str, ...]:
        return self.channels


@dataclass(frozen=True)
class FileLabel:
    """One mask file, or folder of PNGs, per structure; None states that the structure is absent from the clip."""

    files: tuple[tuple[str, Path | None], ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for _, path in self.files if path is not None)

    @property
    def structures(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.files)


@dataclass(frozen=True)
class MapLabel:
    """One file of integers, each value of one structure, without overlaps. 0 is background unless it is named."""

    path: Path
    values: tuple[tuple[int, str], ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def structures(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for _, name in self.values))


LabelSpec = ChannelLabel | FileLabel | MapLabel


def parse_label(entry: str | Path | Mapping[str, Any], folder: Path, channels: Sequence[str]) -> LabelSpec:
    """Turn a data list's label entry into a specification with full paths.

    It is a path of a file with these channels, ``{structure: path or None}``, or ``{"map": path, "values": {"1":
    structure}}``.
    """
    if isinstance(entry, str | Path):
        return ChannelLabel(folder / entry, tuple(channels))
    if "map" in entry:
        values = tuple((int(value), name) for value, name in entry["values"].items())
        return MapLabel(folder / entry["map"], values)
    return FileLabel(tuple((name, None if path is None else folder / path) for name, path in entry.items()))


def read_labels(spec: LabelSpec | str | Path | Mapping[str, Any], structures: Sequence[str]) -> np.ndarray:
    """Read masks ``(T, S, H, W)``, uint8 0 or 1, one channel per structure in the order asked for.

    Refused are files that are missing, damaged or of an unknown format, and values that neither a mask nor the map
    names.

    Args:
        spec: From ``parse_label``; a raw entry is taken relative to the working directory, its channels being
            ``structures``.
        structures: Names to read, in order.
    """
    if not isinstance(spec, LabelSpec):
        spec = parse_label(spec, Path(), structures)
    check_structures(structures, spec.structures, f"label {spec.paths[0] if spec.paths else ''}".strip())
    if isinstance(spec, ChannelLabel):
        return _read_channels(spec, structures)
    if isinstance(spec, MapLabel):
        indices, _ = _read_map(spec)
        masks = [np.isin(indices, [value for value, owner in spec.values if owner == name]) for name in structures]
        return np.stack(masks, axis=1).astype(np.uint8)
    return _read_files(spec, structures)


def present_structures(spec: LabelSpec) -> set[str]:
    """Structures with a pixel anywhere in a label, whose every value is read and checked for this."""
    if isinstance(spec, MapLabel):
        _, found = _read_map(spec)
        return {name for value, name in spec.values if value in found}
    masks = read_labels(spec, spec.structures)
    return {name for channel, name in enumerate(spec.structures) if masks[:, channel].any()}


def probe_labels(spec: LabelSpec) -> tuple[int, int, int]:
    """Frames, rows and columns of a label, from its headers; files of one label must agree."""
    if isinstance(spec, ChannelLabel):
        num_channels, num_frames, rows, columns = _channel_shape(spec.path)
        _check_channels(spec, num_channels)
        return num_frames, rows, columns
    sizes = {path: probe_planes(path) for path in spec.paths}
    if not sizes:
        raise ValueError("a label with every structure absent needs at least one mask file, to tell its size")
    first_path, first = next(iter(sizes.items()))
    for path, size in sizes.items():
        if size != first:
            raise UnreadableStudyError(path, f"masks of {_words(size)}, but {first_path.name} has {_words(first)}")
    return first


def check_structures(asked: Sequence[str], known: Sequence[str], owner: str) -> None:
    """Refuse names that ``owner`` does not have, with both lists."""
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ValueError(f"unknown structures {unknown}: asked for {list(asked)}, {owner} has {list(known)}")


def _read_channels(spec: ChannelLabel, structures: Sequence[str]) -> np.ndarray:
    num_channels = _channel_shape(spec.path)[0]
    _check_channels(spec, num_channels)
    values = read_array(spec.path, open_nifti(spec.path))
    planes = values.reshape(*values.shape[:2], -1, num_channels).T  # (S, T, Y, X), a view
    masks = _to_binary(planes, spec.path)
    order = [spec.channels.index(name) for name in structures]
    if order != list(range(num_channels)):
        masks = masks[order]
    return np.moveaxis(masks, 0, 1)


def _read_files(spec: FileLabel, structures: Sequence[str]) -> np.ndarray:
    num_frames, rows, columns = probe_labels(spec)
    masks = np.zeros((num_frames, len(structures), rows, columns), np.uint8)
    paths = dict(spec.files)
    for channel, name in enumerate(structures):
        path = paths[name]
        if path is not None:
            masks[:, channel] = _to_binary(read_planes(path), path)
    return masks


def _read_map(spec: MapLabel) -> tuple[np.ndarray, set[int]]:  # (T, H, W), and the values in it
    indices = _to_whole(read_planes(spec.path), spec.path)
    found = {int(value) for value in np.unique(indices)}
    unnamed = found - {0} - {value for value, _ in spec.values}
    if unnamed:
        named = ", ".join(f"{value} '{name}'" for value, name in spec.values)
        raise ValueError(
            f"{spec.path}: the map holds {_some(found)}, but the data list names {named} (0 is background): "
            "name every value that is there, or correct the map"
        )
    return indices, found


def _to_whole(values: np.ndarray, path: Path) -> np.ndarray:
    """Values as integers, rid of the rounding error that scaling by a header leaves."""
    _check_numbers(values, path)
    if values.dtype.kind != "f":
        return values.astype(np.uint8) if values.dtype.kind == "b" else values
    whole = np.rint(values)
    error = np.abs(values - whole)
    if error.max() > ROUNDING:
        raise ValueError(
            f"{path}: a map of structures holds whole numbers (within {ROUNDING}), got "
            f"{values.flat[error.argmax()]:.6g}: resample maps by the nearest neighbour"
        )
    return whole.astype(np.int64)


def _to_binary(values: np.ndarray, path: Path) -> np.ndarray:
    _check_numbers(values, path)
    lowest, highest = float(values.min()), float(values.max())
    scale = next((scale for scale in (0, 1, 255) if abs(highest - scale) <= ROUNDING), None)
    if scale is None or lowest < -ROUNDING:
        raise ValueError(
            f"{path}: a mask holds 0 and 1, or 0 and 255; its values go from {lowest:g} to {highest:g}. "
            'For one value per structure write {"map": path, "values": {"1": name, ...}}'
        )
    if values.dtype == np.uint8 and scale <= 1:
        return values
    return (values > max(scale, 1) / 2).astype(np.uint8)


def _check_numbers(values: np.ndarray, path: Path) -> None:
    if values.dtype.kind not in "buif" or (values.dtype.kind == "f" and not np.isfinite(values).all()):
        raise ValueError(f"{path}: a mask holds finite numbers, got {values.dtype} with colors, NaN or infinity")


def _channel_shape(path: Path) -> tuple[int, int, int, int]:  # channels, frames, rows, columns
    if not path.exists():
        raise FileNotFoundError(f"no such mask file or folder: {path}")
    if not path.is_file() or not path.name.lower().endswith(NIFTI_SUFFIXES):
        raise UnreadableStudyError(
            path, "a label given as one path must be a NIfTI (X, Y, 1, T, S): write {structure: path}, or a map"
        )
    shape = open_nifti(path).shape
    if len(shape) != 5 or shape[2] != 1:
        raise UnreadableStudyError(path, f"expected masks (X, Y, 1, T, S), got {tuple(shape)}")
    return shape[4], shape[3], shape[1], shape[0]


def _check_channels(spec: ChannelLabel, num_channels: int) -> None:
    if num_channels != len(spec.channels):
        raise UnreadableStudyError(
            spec.path,
            f"{num_channels} channels, but the data list names {len(spec.channels)} structures {list(spec.channels)}",
        )


def _some(values: set[int], most: int = 8) -> str:
    shown = ", ".join(str(value) for value in sorted(values)[:most])
    return f"the values {shown}" + (f" and {len(values) - most} more" if len(values) > most else "")


def _words(size: tuple[int, ...]) -> str:
    return f"{size[0]} frames of {size[1]} x {size[2]}"
