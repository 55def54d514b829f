"""Write a whole phantom data set: cines in the formats of practice, masks, truth and the data list."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bundle.data.phantom.study import PhantomStudy, generate_study
from bundle.data.phantom.writer import write_avi, write_dicom, write_masks, write_png_folder, write_truth
from bundle.structures import STRUCTURES

GENERATOR_VERSION = 3
MANIFEST = "phantom.json"

FORMATS = ("rf", "xa", "rf", "avi", "rf_uncalibrated", "xa", "png", "rf_rle")
"""Formats of successive patients: mostly DICOM, as in hospitals."""


def make_phantom_dataset(
    root: str | Path,
    num_train: int = 24,
    num_validation: int = 4,
    num_test: int = 4,
    size: int = 256,
    num_frames: int = 14,
    seed: int = 0,
    formats: tuple[str, ...] = FORMATS,
) -> Path:
    """Make a synthetic data set, split by patient; a finished one with the same parameters is used again.

    Args:
        root: Folder of the data set. It appears when complete, never half written.
        num_train: Patients for training.
        num_validation: Patients for validation.
        num_test: Patients held out.
        size: Rows and columns.
        num_frames: Frames per patient, spread over the whole swallow.
        seed: First patient's seed; patient ``i`` has ``seed * 100_000 + i``.
        formats: Formats of successive patients, repeated as needed.

    Returns:
        Path of ``datalist.json``.

    Raises:
        FileExistsError: If the folder holds something else, or a data set made with other parameters.
        ValueError: If a format is unknown or a count is negative.
    """
    _check(num_train, num_validation, num_test, formats)
    root = Path(root)
    parameters: dict[str, Any] = {
        "generator_version": GENERATOR_VERSION,
        "num_train": num_train,
        "num_validation": num_validation,
        "num_test": num_test,
        "size": size,
        "num_frames": num_frames,
        "seed": seed,
        "formats": list(formats),
    }
    if _is_finished(root, parameters):
        return root / "datalist.json"
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as holder:
        folder = Path(holder) / "dataset"
        folder.mkdir()
        _fill(folder, root.name, parameters)
        if root.is_dir():  # empty: checked above
            root.rmdir()
        os.replace(folder, root)
    return root / "datalist.json"


def _check(num_train: int, num_validation: int, num_test: int, formats: tuple[str, ...]) -> None:
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise ValueError(f"formats must be among {sorted(set(FORMATS))}, got {list(formats)}")
    if min(num_train, num_validation, num_test) < 0 or num_train + num_validation + num_test == 0:
        counts = f"{num_train} training, {num_validation} validation, {num_test} test"
        raise ValueError(f"a data set needs counts >= 0 and at least one patient, got {counts}")


def _is_finished(root: Path, parameters: dict[str, Any]) -> bool:
    """Whether the folder holds this very data set; refuses to touch anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    manifest = root / MANIFEST
    if not manifest.is_file():
        raise FileExistsError(f"{root} exists and is not a phantom data set (no {MANIFEST}); choose another folder")
    found = json.loads(manifest.read_text(encoding="utf-8"))
    different = sorted(key for key in parameters.keys() | found.keys() if parameters.get(key) != found.get(key))
    if different:
        wanted = ", ".join(f"{key} {found.get(key)} there, {parameters.get(key)} asked" for key in different)
        raise FileExistsError(f"{root} holds a phantom data set made otherwise ({wanted}); remove it or choose another")
    return True


def _fill(folder: Path, name: str, parameters: dict[str, Any]) -> None:
    """Write all patients, the data list and, last, the manifest."""
    sections = {key: parameters[f"num_{short}"] for key, short in _SECTIONS.items()}
    listing: dict[str, Any] = {"name": name, "synthetic": True, "structures": list(STRUCTURES)}
    index = 0
    with tqdm(total=sum(sections.values()), desc="synthetic patients", unit="patient") as progress:
        for section, count in sections.items():
            listing[section] = []
            for _ in range(count):
                number = parameters["seed"] * 100_000 + index
                study = generate_study(number, parameters["size"], parameters["num_frames"])
                form = parameters["formats"][index % len(parameters["formats"])]
                listing[section].append(write_patient(study, folder, f"p{index:03d}", form))
                index += 1
                progress.update()
    (folder / "datalist.json").write_text(json.dumps(listing, indent=1), encoding="utf-8")
    (folder / MANIFEST).write_text(json.dumps(parameters, indent=1), encoding="utf-8")


_SECTIONS = {"training": "train", "validation": "validation", "test": "test"}


def write_patient(study: PhantomStudy, root: Path, patient: str, form: str) -> dict[str, str]:
    """Write one patient's folder.

    Args:
        study: What to write.
        root: The data set's folder.
        patient: Folder name and pseudonymous id.
        form: One of ``FORMATS``.

    Returns:
        The patient's entry of the data list, with paths relative to ``root``.
    """
    folder = root / patient
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    if form == "avi":
        image = "cine.avi"
        write_avi(study, folder / image)
    elif form == "png":
        image = "frames"
        write_png_folder(study, folder / image)
    else:
        image = "cine.dcm"
        modality, _, option = form.partition("_")
        write_dicom(
            study,
            folder / image,
            patient,
            modality="XA" if modality == "xa" else "RF",
            rle=option == "rle",
            calibrated=option != "uncalibrated",
        )
    write_masks(study, folder / "masks.nii.gz")
    write_truth(study, folder)
    return {"patient": patient, "image": f"{patient}/{image}", "label": f"{patient}/masks.nii.gz"}
