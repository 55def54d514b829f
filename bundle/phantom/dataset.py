"""Write a whole phantom data set: cines in the formats of practice, masks, truth and the data list."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bundle.phantom.study import Domain, PhantomStudy, generate_study
from bundle.phantom.writer import write_avi, write_dicom, write_masks, write_png_folder, write_truth
from bundle.structures import STRUCTURES

GENERATOR_VERSION = 4
MANIFEST = "phantom.json"

FORMATS = ("rf", "xa", "rf", "avi", "rf_uncalibrated", "xa", "png", "rf_rle")
"""Formats of successive patients: mostly DICOM, as in hospitals."""

SEEDS_PER_DATASET = 100_000


def make_phantom_dataset(
    root: str | Path,
    num_train: int = 24,
    num_validation: int = 4,
    num_test: int = 4,
    size: int = 256,
    num_frames: int = 14,
    seed: int = 0,
    formats: tuple[str, ...] = FORMATS,
    num_hard_test: int = 0,
    num_hard_train: int = 0,
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
        num_hard_test: Held-out patients of the hard domain, in a section of their own. Their seeds count down from
            ``seed * 100_000 + 99_999``, so they are the same whatever the other sections hold.
        num_hard_train: Patients of the hard domain that the training section has beside its own; their seeds follow.

    Returns:
        Path of ``datalist.json``.

    Raises:
        FileExistsError: If the folder holds something else, or a data set made with other parameters.
        ValueError: If a format is unknown, a count is negative, or there are more patients than seeds.
    """
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
        "num_hard_test": num_hard_test,
        "num_hard_train": num_hard_train,
    }
    _check(_counts(parameters), formats)
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


def _check(counts: dict[str, int], formats: tuple[str, ...]) -> None:
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise ValueError(f"formats must be among {sorted(set(FORMATS))}, got {list(formats)}")
    if min(counts.values()) < 0 or not 1 <= sum(counts.values()) <= SEEDS_PER_DATASET:
        got = ", ".join(f"{name} {count}" for name, count in counts.items())
        limits = f"counts >= 0, no more than {SEEDS_PER_DATASET} patients and at least one patient"
        raise ValueError(f"a data set needs {limits}, got {got}")


def _is_finished(root: Path, parameters: dict[str, Any]) -> bool:
    """Whether the folder holds this very data set; refuses to touch anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    manifest = root / MANIFEST
    if not manifest.is_file():
        raise FileExistsError(f"{root} exists and is not a phantom data set (no {MANIFEST}); choose another folder")
    found = {
        "num_hard_test": 0,
        "num_hard_train": 0,
        **json.loads(manifest.read_text(encoding="utf-8")),
    }  # older ones do not say
    different = sorted(key for key in parameters.keys() | found.keys() if parameters.get(key) != found.get(key))
    if different:
        wanted = ", ".join(f"{key} {found.get(key)} there, {parameters.get(key)} asked" for key in different)
        raise FileExistsError(f"{root} holds a phantom data set made otherwise ({wanted}); remove it or choose another")
    return True


def _counts(parameters: dict[str, Any]) -> dict[str, int]:
    """Patients, by the names of the parameters."""
    return {name: parameters[name] for name in (*_STANDARD, *_HARD)}


def _fill(folder: Path, name: str, parameters: dict[str, Any]) -> None:
    """Write all patients, the data list and, last, the manifest."""
    listing: dict[str, Any] = {"name": name, "synthetic": True, "structures": list(STRUCTURES)}
    listing |= {section: [] for section in (*_STANDARD.values(), *_HARD.values())}
    size, num_frames, formats = (parameters[key] for key in ("size", "num_frames", "formats"))
    patients = list(_patients(parameters))
    for section, number, index, domain in tqdm(patients, desc="synthetic patients", unit="patient"):
        study = generate_study(number, size, num_frames, domain=domain)
        patient = f"{'h' if domain == 'hard' else 'p'}{index:03d}"
        listing[section].append(write_patient(study, folder, patient, formats[index % len(formats)]))
    (folder / "datalist.json").write_text(json.dumps(listing, indent=1), encoding="utf-8")
    (folder / MANIFEST).write_text(json.dumps(parameters, indent=1), encoding="utf-8")


def _patients(parameters: dict[str, Any]) -> Iterator[tuple[str, int, int, Domain]]:
    """Section, seed, index and domain of every patient; those of the hard domain are counted on their own."""
    first = parameters["seed"] * SEEDS_PER_DATASET
    for index, section in enumerate(_repeated(_STANDARD, parameters)):
        yield section, first + index, index, "standard"
    for index, section in enumerate(_repeated(_HARD, parameters)):
        yield section, first + SEEDS_PER_DATASET - 1 - index, index, "hard"


def _repeated(sections: dict[str, str], parameters: dict[str, Any]) -> Iterator[str]:
    return (section for name, section in sections.items() for _ in range(parameters[name]))


_STANDARD = {"num_train": "training", "num_validation": "validation", "num_test": "test"}
_HARD = {"num_hard_test": "hard_test", "num_hard_train": "training"}
"""Parameters, in the order in which patients are counted, and their sections of the data list."""


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
