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
    structures: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.path,)

    def probe(self) -> tuple[int, int, int]:
        """Frames, rows and columns."""
        path = self.path
        if not path.exists():
            raise FileNotFoundError(f"no such mask file or folder: {path}")
        if not path.is_file() or not path.name.lower().endswith(NIFTI_SUFFIXES):
            words = "a label given as one path must be a NIfTI (X, Y, 1, T, S): write {structure: path}, or a map"
            raise UnreadableStudyError(path, words)
        shape = open_nifti(path).shape
        if len(shape) != 5 or shape[2] != 1:
            raise UnreadableStudyError(path, f"expected masks (X, Y, 1, T, S), got {tuple(shape)}")
        if shape[4] != len(self.structures):
            names = f"{len(self.structures)} structures {list(self.structures)}"
            raise UnreadableStudyError(path, f"{shape[4]} channels, but the data list names {names}")
        return shape[3], shape[1], shape[0]

    def read(self, structures: Sequence[str]) -> np.ndarray:
        """Masks ``(T, S, H, W)``."""
        self.probe()
        values = read_array(self.path, open_nifti(self.path))
        planes = values.reshape(*values.shape[:2], -1, len(self.structures)).T  # (S, T, Y, X), a view
        masks = _to_binary(planes, self.path)
        order = [self.structures.index(name) for name in structures]
        return np.moveaxis(masks if order == list(range(len(masks))) else masks[order], 0, 1)


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

    def probe(self) -> tuple[int, int, int]:
        """Frames, rows and columns, which must agree."""
        sizes = {path: probe_planes(path) for path in self.paths}
        if not sizes:
            raise ValueError("a label with every structure absent needs at least one mask file, to tell its size")
        first_path, first = next(iter(sizes.items()))
        for path, size in sizes.items():
            if size != first:
                raise UnreadableStudyError(path, f"masks of {_words(size)}, but {first_path.name} has {_words(first)}")
        return first

    def read(self, structures: Sequence[str]) -> np.ndarray:
        """Masks ``(T, S, H, W)``."""
        num_frames, rows, columns = self.probe()
        masks = np.zeros((num_frames, len(structures), rows, columns), np.uint8)
        paths = dict(self.files)
        for channel, name in enumerate(structures):
            path = paths[name]
            if path is not None:
                masks[:, channel] = _to_binary(read_planes(path), path)
        return masks


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

    def probe(self) -> tuple[int, int, int]:
        """Frames, rows and columns."""
        return probe_planes(self.path)

    def read(self, structures: Sequence[str]) -> np.ndarray:
        """Masks ``(T, S, H, W)``."""
        indices, _ = self.indices()
        masks = [np.isin(indices, [value for value, owner in self.values if owner == name]) for name in structures]
        return np.stack(masks, axis=1).astype(np.uint8)

    def indices(self) -> tuple[np.ndarray, set[int]]:
        """The map ``(T, H, W)``, and the values in it, all of which must be named."""
        indices = _to_whole(read_planes(self.path), self.path)
        found = {int(value) for value in np.unique(indices)}
        if found - {0} - {value for value, _ in self.values}:
            named = ", ".join(f"{value} '{name}'" for value, name in self.values)
            raise ValueError(
                f"{self.path}: the map holds {_some(found)}, but the data list names {named} (0 is background): "
                "name every value that is there, or correct the map"
            )
        return indices, found


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

    A raw entry is taken relative to the working directory, its channels being ``structures``. Refused are files that
    are missing, damaged or of an unknown format, and values that neither a mask nor the map names.
    """
    if not isinstance(spec, LabelSpec):
        spec = parse_label(spec, Path(), structures)
    check_structures(structures, spec.structures, f"label {spec.paths[0] if spec.paths else ''}".strip())
    return spec.read(structures)


def present_structures(spec: LabelSpec) -> set[str]:
    """Structures with a pixel anywhere in a label, whose every value is read and checked for this."""
    if isinstance(spec, MapLabel):
        _, found = spec.indices()
        return {name for value, name in spec.values if value in found}
    masks = spec.read(spec.structures)
    return {name for channel, name in enumerate(spec.structures) if masks[:, channel].any()}


def check_structures(asked: Sequence[str], known: Sequence[str], owner: str) -> None:
    """Refuse names that ``owner`` does not have, with both lists."""
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ValueError(f"unknown structures {unknown}: asked for {list(asked)}, {owner} has {list(known)}")


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
            f"{values.flat[error.argmax()]:.6g}: resample maps by the nearest neighbor"
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


def _some(values: set[int], most: int = 8) -> str:
    shown = ", ".join(str(value) for value in sorted(values)[:most])
    return f"the values {shown}" + (f" and {len(values) - most} more" if len(values) > most else "")


def _words(size: tuple[int, ...]) -> str:
    return f"{size[0]} frames of {size[1]} x {size[2]}"
