"""CT sub-volumes around a lesion, with lesion masks: each becomes a clip whose frames are the slices.

Images: NIH DeepLesion (Yan et al., J. Med. Imaging 2018; 5: 036501). Masks, and the files as they are read here:
samples of MedSAM2 (Ma et al., arXiv 2504.03600). Not every lesion in a slice need have a mask. None of them is part of
this repository.
"""

import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from bundle.atomic import atomic_path
from bundle.data.make_datalist import make_datalist

STRUCTURE = "lesion"
NAME = re.compile(r"CT_Lesion_(?P<patient>\d+)_\d+_\d+_\d+-\d+")
"""Of a file without its suffix: patient, study, series, first and last slice."""

ENTRIES = ("imgs", "gts", "spacing", "direction", "origin")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""ITK counts millimeters towards the patient's left and back, NIfTI towards right and front."""

ABOUT = {
    "description": "CT sub-volumes as clips: a frame is an axial slice, from the first to the last of the file",
    "source": "images: NIH DeepLesion (Yan et al., J. Med. Imaging 2018; 5: 036501), from the NIH Clinical Center; "
    "masks: samples of MedSAM2 (Ma et al., arXiv 2504.03600), github.com/bowang-lab/MedSAM2",
    "license": "images: see the terms of the NIH Clinical Center; masks: from a repository under Apache-2.0",
}


@dataclass(frozen=True)
class CtVolume:
    """A sub-volume in memory."""

    image: np.ndarray  # Slices ``(Z, Y, X)``, uint8, windowed by its authors
    mask: np.ndarray  # Lesion ``(Z, Y, X)``, uint8 0 or 1
    affine: np.ndarray  # ``(4, 4)``: from a voxel's ``(x, y, z)`` to NIfTI's right, front and top, in mm


def make_ct_lesion_datalist(
    folder: str | Path,
    root: str | Path,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    field_mm: float | None = None,
) -> Path:
    """Write every sub-volume and its mask as NIfTI ``(X, Y, Z)`` with its spacing, and the data list, split by patient.

    ``folder`` has ``CT_Lesion_<patient>_<study>_<series>_<slices>.npz``; ``root`` gets ``images``, ``masks`` and
    ``datalist.json``, whose path is returned. With ``field_mm``, slices are cut: :func:`crop`.

    Raises:
        FileNotFoundError: If there is no such folder, or no sub-volume in it.
        ValueError: If a name has no patient in it, a file is not of this form, or there are fewer patients than
            sections.
    """
    folder, root = Path(folder), Path(root)
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise FileNotFoundError(f"no CT sub-volumes: expected CT_Lesion_*.npz in the folder {folder}")
    for file in files:
        if NAME.fullmatch(file.stem) is None:
            raise ValueError(f"{file}: expected a name CT_Lesion_<patient>_<study>_<series>_<slices>.npz")
        volume = read_ct_volume(file)
        if field_mm is not None:
            volume = crop(volume, field_mm)
        _write_nifti(volume.image, volume.affine, root / "images" / f"{file.stem}.nii.gz")
        _write_nifti(volume.mask, volume.affine, root / "masks" / f"{file.stem}.nii.gz")
    return make_datalist(
        root,
        structures=[STRUCTURE],
        images="images/*.nii.gz",
        labels="../masks/{stem}",
        patient_pattern=r"images/CT_Lesion_(\d+)_",
        fractions=fractions,
        seed=seed,
        **ABOUT,
    )


def read_ct_volume(path: Path) -> CtVolume:
    """Read one file; ``spacing``, ``direction`` and ``origin`` are ITK's.

    Raises:
        ValueError: If an entry is missing, or image and mask are not uint8 slices of one size.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            entries = {name: file[name] for name in ENTRIES}
    except Exception as error:  # NumPy leaks zip, zlib, pickle and key errors
        raise ValueError(f"{path}: expected an .npz with {list(ENTRIES)} ({type(error).__name__}: {error})") from error
    image, mask = entries["imgs"], entries["gts"]
    if image.ndim != 3 or image.dtype != np.uint8 or mask.shape != image.shape:
        raise ValueError(
            f"{path}: expected imgs (slices, rows, columns) uint8 and gts of the same size, "
            f"got {image.shape} {image.dtype} and {mask.shape}"
        )
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ entries["direction"].reshape(3, 3) * entries["spacing"]
    affine[:3, 3] = LPS_TO_RAS @ entries["origin"]
    return CtVolume(image, (mask > 0).astype(np.uint8), affine)


def crop(volume: CtVolume, field_mm: float) -> CtVolume:
    """Cut the same square out of every slice: around the middle of the lesion where its area is largest.

    So the place of the lesion is given, as by a reader's mark; where it would leave the slice, the square is moved in.

    Raises:
        ValueError: If the field is not positive, or there is no lesion.
    """
    if field_mm <= 0 or not volume.mask.any():
        raise ValueError(
            f"expected a field above 0 mm and a lesion, got {field_mm} mm, {int(volume.mask.sum())} voxels"
        )
    largest = volume.mask[volume.mask.sum(axis=(1, 2)).argmax()]
    starts, sizes = [], []
    for axis, positions in ((1, np.nonzero(largest)[0]), (0, np.nonzero(largest)[1])):  # rows are y, columns x
        length, spacing = volume.mask.shape[2 - axis], np.linalg.norm(volume.affine[:3, axis])
        sizes.append(min(length, round(field_mm / spacing)))
        middle = (positions.min() + positions.max() + 1) / 2
        starts.append(int(np.clip(round(middle - sizes[-1] / 2), 0, length - sizes[-1])))
    (top, left), (rows, columns) = starts, sizes
    window = (slice(None), slice(top, top + rows), slice(left, left + columns))
    affine = volume.affine.copy()
    affine[:, 3] = affine @ [left, top, 0, 1]
    return CtVolume(volume.image[window], volume.mask[window], affine)


def _write_nifti(voxels: np.ndarray, affine: np.ndarray, path: Path) -> None:
    image = nib.Nifti1Image(voxels.transpose(2, 1, 0), affine, dtype=np.uint8)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
