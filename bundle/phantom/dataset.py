"""Write a whole phantom data set: cines in the formats of practice, masks, truth and the data list."""

import inspect
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bundle.phantom.study import Domain, PhantomStudy, generate_study
from bundle.phantom.writer import write_avi, write_dicom, write_masks, write_png_folder, write_truth
from bundle.structures import STRUCTURES

GENERATOR_VERSION = 4
PHANTOM_MANIFEST = "phantom.json"

FORMATS = ("rf", "xa", "rf", "avi", "rf_uncalibrated", "xa", "png", "rf_rle")
"""Formats of successive patients: mostly DICOM, as in hospitals."""

SEEDS_PER_DATASET = 100_000

_STANDARD = {"num_train": "training", "num_validation": "validation", "num_test": "test"}
_HARD = {"num_hard_test": "hard_test", "num_hard_train": "training"}
"""Numbers of patients, in the order in which they are counted, and their sections of the data list."""


@dataclass(frozen=True)
class PhantomPlan:
    """What a data set holds."""

    num_train: int = 24
    num_validation: int = 4
    num_test: int = 4
    size: int = 256  # Rows and columns
    num_frames: int = 14  # Per patient, spread over the whole swallow
    seed: int = 0  # Patient i has the seed seed * 100_000 + i
    formats: tuple[str, ...] = FORMATS  # Of successive patients, repeated as needed
    # Patients of the hard domain: held out, and in training beside its own. Their seeds count down from
    # seed * 100_000 + 99_999, so they are the same whatever the other sections hold.
    num_hard_test: int = 0
    num_hard_train: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.formats) - set(FORMATS))
        if unknown or not self.formats:
            raise ValueError(f"formats must be among {sorted(set(FORMATS))}, got {list(self.formats)}")
        counts = {name: getattr(self, name) for name in (*_STANDARD, *_HARD)}
        if min(counts.values()) < 0 or not 1 <= sum(counts.values()) <= SEEDS_PER_DATASET:
            got = ", ".join(f"{name} {count}" for name, count in counts.items())
            limits = f"counts >= 0, no more than {SEEDS_PER_DATASET} patients and at least one patient"
            raise ValueError(f"a data set needs {limits}, got {got}")

    def manifest(self) -> dict[str, Any]:
        """As it is written beside the data set."""
        return {"generator_version": GENERATOR_VERSION, **asdict(self), "formats": list(self.formats)}

    def patients(self) -> Iterator[tuple[str, int, int, Domain]]:
        """Section, seed, index and domain of every patient; those of the hard domain are counted on their own."""
        first = self.seed * SEEDS_PER_DATASET
        for index, section in enumerate(self._sections(_STANDARD)):
            yield section, first + index, index, "standard"
        for index, section in enumerate(self._sections(_HARD)):
            yield section, first + SEEDS_PER_DATASET - 1 - index, index, "hard"

    def _sections(self, sections: dict[str, str]) -> list[str]:
        return [section for name, section in sections.items() for _ in range(getattr(self, name))]


def make_phantom_dataset(root: str | Path, *counts: int, **plan: Any) -> Path:
    """Make a synthetic data set, split by patient; a finished one of the same plan is used again.

    Args:
        root: Folder of the data set. It appears when complete, never half written.
        counts: Fields of ``PhantomPlan`` in their order: patients for training, validation and test.
        plan: Its fields by name.

    Returns:
        Path of ``datalist.json``.

    Raises:
        FileExistsError: If the folder holds something else, or a data set made with another plan.
        ValueError: If the plan is wrong.
    """
    root, wanted = Path(root), PhantomPlan(*counts, **plan)  # type: ignore[arg-type]
    if _is_finished(root, wanted.manifest()):
        return root / "datalist.json"
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as holder:
        folder = Path(holder) / "dataset"
        folder.mkdir()
        _fill(folder, root.name, wanted)
        if root.is_dir():  # empty: checked above
            root.rmdir()
        os.replace(folder, root)
    return root / "datalist.json"


_ROOT, *_ = inspect.signature(make_phantom_dataset).parameters.values()
_FIELDS = inspect.signature(PhantomPlan).parameters.values()
# What configs are checked against before a run: a misspelt field is refused there.
make_phantom_dataset.__signature__ = inspect.Signature([_ROOT, *_FIELDS])  # type: ignore[attr-defined]


def _is_finished(root: Path, wanted: dict[str, Any]) -> bool:
    """Whether the folder holds this very data set; refuses to touch anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    manifest = root / PHANTOM_MANIFEST
    if not manifest.is_file():
        raise FileExistsError(
            f"{root} exists and is not a phantom data set (no {PHANTOM_MANIFEST}); choose another folder"
        )
    older = {"num_hard_test": 0, "num_hard_train": 0}  # which do not say
    found = older | json.loads(manifest.read_text(encoding="utf-8"))
    different = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if different:
        words = ", ".join(f"{key} {found.get(key)} there, {wanted.get(key)} asked" for key in different)
        raise FileExistsError(f"{root} holds a phantom data set made otherwise ({words}); remove it or choose another")
    return True


def _fill(folder: Path, name: str, plan: PhantomPlan) -> None:
    """Write all patients, the data list and, last, the manifest."""
    listing: dict[str, Any] = {"name": name, "synthetic": True, "structures": list(STRUCTURES)}
    listing |= {section: [] for section in (*_STANDARD.values(), *_HARD.values())}
    for section, seed, index, domain in tqdm(list(plan.patients()), desc="synthetic patients", unit="patient"):
        study = generate_study(seed, plan.size, plan.num_frames, domain=domain)
        patient = f"{'h' if domain == 'hard' else 'p'}{index:03d}"
        listing[section].append(_write_patient(study, folder, patient, plan.formats[index % len(plan.formats)]))
    (folder / "datalist.json").write_text(json.dumps(listing, indent=1), encoding="utf-8")
    (folder / PHANTOM_MANIFEST).write_text(json.dumps(plan.manifest(), indent=1), encoding="utf-8")


def _write_patient(study: PhantomStudy, root: Path, patient: str, form: str) -> dict[str, str]:
    """Write one patient's folder; its entry of the data list."""
    folder = root / patient
    folder.mkdir()
    image = {"avi": "cine.avi", "png": "frames"}.get(form, "cine.dcm")
    if form == "avi":
        write_avi(study, folder / image)
    elif form == "png":
        write_png_folder(study, folder / image)
    else:
        modality, _, option = form.partition("_")
        is_calibrated = option != "uncalibrated"
        write_dicom(study, folder / image, patient, "XA" if modality == "xa" else "RF", option == "rle", is_calibrated)
    write_masks(study, folder / "masks.nii.gz")
    write_truth(study, folder)
    return {"patient": patient, "image": f"{patient}/{image}", "label": f"{patient}/masks.nii.gz"}
