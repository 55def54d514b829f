"""One file of mask values, whatever its format, as planes ``(T, H, W)`` in stored order: no flip by an affine."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bundle.data.clip import UnreadableStudyError, damage_refused
from bundle.data.kinds import NIFTI_SUFFIXES, STILL_SUFFIXES
from bundle.data.nifti import open_nifti, read_array
from bundle.data.sources import own_files
from bundle.data.stills import check_png_rows
from bundle.extras import needs_extra

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
PICTURE_SUFFIXES = (".png", ".tif", ".tiff")
MASK_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES, *PICTURE_SUFFIXES)
ACCEPTED = "a NIfTI, NRRD or MetaImage file, a PNG, a TIFF (one page per frame), or a folder of PNGs"
DAMAGED_MASK = f"no mask in it, or damaged ({{}}); a mask is {ACCEPTED}"
LOSSY_PICTURES = ("jpeg", "webp")
"""Compressions after which a value is no longer what was written, alone or inside a TIFF."""


def probe_planes(path: Path) -> tuple[int, int, int]:
    """Frames, rows and columns, from the header."""
    if not path.exists():
        raise FileNotFoundError(f"no such mask file or folder: {path}")
    if path.is_dir():
        pictures = _pictures(path)
        return len(pictures), *_probe_pages(pictures[0])[1:]
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        return _plane_shape(path, open_nifti(path).shape)
    if path.name.lower().endswith(ITK_SUFFIXES):
        return _plane_shape(path, _itk_shape(path))
    return _probe_pages(path)


def read_planes(path: Path) -> np.ndarray:
    """Values ``(T, H, W)`` as stored, never compressed with loss; a palette picture gives its indices."""
    num_frames, rows, columns = probe_planes(path)
    if path.is_dir():
        return _stack(path, [_only_page(picture) for picture in _pictures(path)])
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        return read_array(path, open_nifti(path)).reshape(columns, rows, num_frames).T
    if path.name.lower().endswith(ITK_SUFFIXES):
        itk = _load_itk()
        with damage_refused(path, DAMAGED_MASK):  # of itk's types F is the one that all others become
            return itk.array_from_image(itk.imread(str(path), itk.F)).reshape(num_frames, rows, columns)
    return _stack(path, list(_read_pages(path)))


def _plane_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) in (2, 3) or (len(shape) == 4 and shape[2] == 1):
        return shape[-1] if len(shape) > 2 else 1, shape[1], shape[0]
    raise UnreadableStudyError(path, f"expected a mask (X, Y), (X, Y, T) or (X, Y, 1, T), got {tuple(shape)}")


def _itk_shape(path: Path) -> tuple[int, ...]:
    itk = _load_itk()
    with damage_refused(path, DAMAGED_MASK):
        header = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
        header.SetFileName(str(path))
        header.ReadImageInformation()
    if header.GetNumberOfComponents() != 1:
        reason = f"expected one value per pixel, got {header.GetNumberOfComponents()}: save one file per structure"
        raise UnreadableStudyError(path, reason)
    return tuple(int(header.GetDimensions(axis)) for axis in range(header.GetNumberOfDimensions()))


def _load_itk() -> Any:
    """Loaded when it is needed, since it takes long and few masks need it."""
    with needs_extra("train", "a mask in NRRD or MetaImage"):
        return import_module("itk")


@contextmanager
def _open_picture(path: Path) -> Iterator[Any]:
    with damage_refused(path, DAMAGED_MASK), path.open("rb") as file, Image.open(file) as picture:
        compression = f"{picture.format} {picture.info.get('compression', '')}".lower()
        if any(name in compression for name in LOSSY_PICTURES):
            reason = f"{picture.format} changes the values of a mask: export it without loss; a mask is {ACCEPTED}"
            raise UnreadableStudyError(path, reason)
        yield picture


def _probe_pages(path: Path) -> tuple[int, int, int]:
    with _open_picture(path) as picture:
        return _num_pages(picture), picture.height, picture.width


def _num_pages(picture: Any) -> int:
    return int(picture.n_frames) if picture.format == "TIFF" else 1


def _read_pages(path: Path) -> Iterator[np.ndarray]:  # (H, W) each
    with _open_picture(path) as picture:
        for page in range(_num_pages(picture)):
            picture.seek(page)
            values = np.asarray(picture)
            if picture.format == "PNG" and not values[-1].any():
                check_png_rows(path)  # Pillow leaves rows that are not there 0
            if values.ndim > 2:
                color = values[..., :3] if values.shape[-1] >= 3 else values[..., :1]  # without transparency
                if (color != color[..., :1]).any():
                    raise UnreadableStudyError(path, "a mask picture must be gray or have a palette, got colors")
                values = color[..., 0]
            yield values


def _only_page(path: Path) -> np.ndarray:
    pages = list(_read_pages(path))
    if len(pages) > 1:
        raise UnreadableStudyError(path, f"{len(pages)} pages in one of a folder's pictures: name this file alone")
    return pages[0]


def _stack(path: Path, planes: list[np.ndarray]) -> np.ndarray:
    sizes = {plane.shape: None for plane in planes}
    if len(sizes) > 1:
        words = " and ".join(f"{rows} x {columns}" for rows, columns in sizes)
        raise UnreadableStudyError(path, f"masks of one clip must have one size, got {words}")
    return np.stack(planes)


def _pictures(folder: Path) -> list[Path]:
    files = [file for file in own_files(folder) if file.suffix.lower() in STILL_SUFFIXES]
    if not files:
        raise UnreadableStudyError(folder, f"no mask pictures in the folder; a mask is {ACCEPTED}")
    return files
