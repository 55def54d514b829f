"""Multi-label masks from the three forms a data list allows: channels of one file, one file each, an indexed map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bundle.data.clip import UnreadableStudyError
from bundle.data.nifti import NIFTI_SUFFIXES, open_nifti, read_array
from bundle.data.sources import own_files
from bundle.data.stills import STILL_SUFFIXES


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
    """One file of integers, each value one structure; structures cannot overlap in it."""

    path: Path
    values: tuple[tuple[int, str], ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.path,)

    @property
    def structures(self) -> tuple[str, ...]:
        return tuple(name for _, name in self.values)


LabelSpec = ChannelLabel | FileLabel | MapLabel


def parse_label(entry: str | Path | Mapping[str, Any], folder: Path, channels: Sequence[str]) -> LabelSpec:
    """Turn a data list's label entry into a specification with full paths.

    Args:
        entry: A path, ``{structure: path or None}``, or ``{"map": path, "values": {"1": structure}}``.
        folder: What relative paths are relative to.
        channels: Structures of a channel file, in order.
    """
    if isinstance(entry, str | Path):
        return ChannelLabel(folder / entry, tuple(channels))
    if "map" in entry:
        values = tuple((int(value), name) for value, name in entry["values"].items())
        return MapLabel(folder / entry["map"], values)
    return FileLabel(tuple((name, None if path is None else folder / path) for name, path in entry.items()))


def read_labels(spec: LabelSpec | str | Path | Mapping[str, Any], structures: Sequence[str]) -> np.ndarray:
    """Read masks ``(T, S, H, W)``, uint8 0 or 1, one channel per structure in the order asked for.

    Args:
        spec: From ``parse_label``; a raw entry is taken relative to the working directory, its channels being
            ``structures``.
        structures: Names to read, in order.

    Raises:
        FileNotFoundError: If a mask file is missing.
        UnreadableStudyError: If a mask file is damaged or holds other values than a mask.
        ValueError: If the label does not say where a structure is.
    """
    if not isinstance(spec, LabelSpec):
        spec = parse_label(spec, Path(), structures)
    check_structures(structures, spec.structures, f"label {spec.paths[0] if spec.paths else ''}".strip())
    if isinstance(spec, ChannelLabel):
        return _read_channels(spec, structures)
    if isinstance(spec, MapLabel):
        indices = _read_planes(spec.path)
        value_of = {name: value for value, name in spec.values}
        return np.stack([indices == value_of[name] for name in structures], axis=1).astype(np.uint8)
    return _read_files(spec, structures)


def probe_labels(spec: LabelSpec) -> tuple[int, int, int]:
    """Frames, rows and columns of a label, from its headers.

    Raises:
        UnreadableStudyError: If a file is damaged, or the files of one label differ in size.
    """
    shapes = {path: _probe(path, with_channels=isinstance(spec, ChannelLabel)) for path in spec.paths}
    if not shapes:
        raise ValueError("a label with every structure absent needs at least one mask file, to tell its size")
    if isinstance(spec, ChannelLabel):
        num_channels = shapes[spec.path][0]
        _check_channels(spec, num_channels)
    sizes = {path: shape[1:] for path, shape in shapes.items()}
    first_path, first = next(iter(sizes.items()))
    for path, size in sizes.items():
        if size != first:
            raise UnreadableStudyError(path, f"masks of {_words(size)}, but {first_path.name} has {_words(first)}")
    return first


def check_structures(asked: Sequence[str], known: Sequence[str], owner: str) -> None:
    """Refuse names that ``owner`` does not have, with both lists.

    Raises:
        ValueError: If a name is unknown.
    """
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ValueError(f"unknown structures {unknown}: asked for {list(asked)}, {owner} has {list(known)}")


def _read_channels(spec: ChannelLabel, structures: Sequence[str]) -> np.ndarray:
    image = open_nifti(spec.path)
    num_channels = _nifti_shape(spec.path, image.shape, with_channels=True)[0]
    _check_channels(spec, num_channels)
    values = read_array(spec.path, image)
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
            masks[:, channel] = _to_binary(_read_planes(path), path)
    return masks


def _read_planes(path: Path) -> np.ndarray:  # (T, H, W), values as stored
    _check_exists(path)
    if path.is_dir():
        return np.stack([_read_picture(file) for file in _pictures(path)])
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        image = open_nifti(path)
        _, num_frames, rows, columns = _nifti_shape(path, image.shape, with_channels=False)
        return read_array(path, image).reshape(columns, rows, num_frames).T
    return _read_picture(path)[None]


def _read_picture(path: Path) -> np.ndarray:  # palette pictures give their indices
    try:
        with Image.open(path) as picture:
            values = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableStudyError(path, f"no mask picture in it ({type(error).__name__})") from error
    if values.ndim == 3:
        values = _one_channel(values, path)
    return values


def _one_channel(values: np.ndarray, path: Path) -> np.ndarray:
    color = values[..., :3] if values.shape[-1] >= 3 else values[..., :1]  # without transparency
    if (color != color[..., :1]).any():
        raise UnreadableStudyError(path, "a mask picture must be gray or have a palette, got colors")
    return color[..., 0]


def _to_binary(values: np.ndarray, path: Path) -> np.ndarray:
    highest, lowest = values.max(), values.min()
    if lowest < 0 or highest > 255 or (1 < highest < 255):
        raise UnreadableStudyError(
            path,
            f"a mask holds 0 and 1, or 0 and 255; its values go from {lowest} to {highest}. "
            'For one value per structure write {"map": path, "values": {"1": name, ...}}',
        )
    if values.dtype == np.uint8 and highest <= 1:
        return values
    return (values > highest / 2 if highest else values > 0).astype(np.uint8)


def _probe(path: Path, with_channels: bool) -> tuple[int, int, int, int]:  # channels, frames, rows, columns
    _check_exists(path)
    if not path.is_dir() and path.name.lower().endswith(NIFTI_SUFFIXES):
        return _nifti_shape(path, open_nifti(path).shape, with_channels)
    if with_channels:
        raise UnreadableStudyError(path, "a label given as one path must be a NIfTI (X, Y, 1, T, S); see the data list")
    pictures = _pictures(path) if path.is_dir() else [path]
    try:
        with Image.open(pictures[0]) as picture:
            return 1, len(pictures), picture.height, picture.width
    except (OSError, SyntaxError) as error:
        raise UnreadableStudyError(pictures[0], f"no mask picture in it ({type(error).__name__})") from error


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"no such mask file or folder: {path}")


def _nifti_shape(path: Path, shape: tuple[int, ...], with_channels: bool) -> tuple[int, int, int, int]:
    if with_channels:
        if len(shape) == 5 and shape[2] == 1:
            return shape[4], shape[3], shape[1], shape[0]
        raise UnreadableStudyError(path, f"expected masks (X, Y, 1, T, S), got {tuple(shape)}")
    if len(shape) in (2, 3) or (len(shape) == 4 and shape[2] == 1):
        return 1, shape[-1] if len(shape) > 2 else 1, shape[1], shape[0]
    raise UnreadableStudyError(path, f"expected a mask (X, Y), (X, Y, T) or (X, Y, 1, T), got {tuple(shape)}")


def _check_channels(spec: ChannelLabel, num_channels: int) -> None:
    if num_channels != len(spec.channels):
        raise UnreadableStudyError(
            spec.path,
            f"{num_channels} channels, but the data list names {len(spec.channels)} structures {list(spec.channels)}",
        )


def _pictures(folder: Path) -> list[Path]:
    files = [file for file in own_files(folder) if file.suffix.lower() in STILL_SUFFIXES]
    if not files:
        raise UnreadableStudyError(folder, "no mask pictures in the folder")
    return files


def _words(size: tuple[int, ...]) -> str:
    return f"{size[0]} frames of {size[1]} x {size[2]}"
