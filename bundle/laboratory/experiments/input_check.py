"""Fit a model's input check on frames like those of its training, and set its limit.

It is fitted on phantom frames alone. The limit lies between other phantoms and chest X-rays; what it refuses of other
sets is measured by :mod:`bundle.laboratory.experiments.input_check_page`. Of real pictures nothing is kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandGaussianNoised,
    RandGaussianSharpend,
    RandGaussianSmoothd,
    RandSimulateLowResolutiond,
)
from safetensors.torch import save_file
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from tqdm import tqdm

from bundle.atomic import atomic_path, write_json
from bundle.inference.input_check import InputCheck, pooled_features, small_frames, statistics_path
from bundle.keys import IMAGE, VALID
from bundle.phantom.dataset import GENERATOR_VERSION, SEEDS_PER_DATASET
from bundle.phantom.study import Domain, generate_study
from bundle.students.encoder import StudentEncoder
from bundle.transforms.affine import RandAffineFramed
from bundle.transforms.field_of_view import find_field_of_view
from bundle.weights import file_sha256

TRAINING, CALIBRATION, HELD_OUT = 53, 71, 72
"""Seeds of the phantom's data sets; the first is that of the shipped model's training."""
DOMAINS: tuple[Domain, ...] = ("standard", "hard")
FIRST_TRAINED_ON = {"standard": 0, "hard": 40}
"""Of the patients in the shipped model's data set; hard ones before are held out from its training."""

COMPONENTS = 64
DRAWS = 2
"""Random changes of each frame that the statistics also see, as a training does."""
ACCEPTED = 0.995
"""Share of the calibration's phantom frames, of either domain, that the limit must accept."""


class Film(NamedTuple):
    """Frames ``(T, 1, H, W)`` in [0, 1] that belong together."""

    name: str
    frames: np.ndarray


def phantoms(seed: int, domain: Domain, patients: int, num_frames: int, first: int = 0) -> Iterator[Film]:
    """Films of 512 x 512 of patients of a phantom data set, counted as it counts them."""
    start = seed * SEEDS_PER_DATASET
    for index in range(first, first + patients):
        number = start + index if domain == "standard" else start + SEEDS_PER_DATASET - 1 - index
        yield Film(f"{domain} {number}", generate_study(number, 512, num_frames, domain=domain).frames)


def training_films(patients: int, num_frames: int = 4) -> Iterator[Film]:
    """Patients of both domains, of those that the shipped model was trained on."""
    for domain in DOMAINS:
        yield from phantoms(TRAINING, domain, patients, num_frames, FIRST_TRAINED_ON[domain])


def pictures_of(film: Film) -> Tensor:
    """A film's frames as the check sees them ``(T, 1, SIDE, SIDE)``."""
    view = find_field_of_view(film.frames)
    return small_frames(film.frames[(..., *view.slices())])


def fit_input_statistics(student: StudentEncoder, films: Iterable[Film]) -> dict[str, Tensor]:
    """``mean``, ``projection`` and ``side``, as ``InputCheck`` takes them, from frames and random changes of them."""
    change = random_change()
    features, mirrored = [], []
    for film in films:
        pictures = pictures_of(film)
        drawn = [
            change({IMAGE: one.clone(), VALID: torch.ones_like(one)})[IMAGE] for one in pictures for _ in range(DRAWS)
        ]
        seen = torch.cat([pictures, torch.stack([torch.as_tensor(one).as_subclass(Tensor) for one in drawn])])
        features.append(pooled_features(student, seen))
        mirrored.append(pooled_features(student, seen.flip(-1)))
    values = torch.cat([one.spread for one in features]).numpy().astype(np.float64)
    places, turned = (torch.cat([one.places for one in both]).numpy() for both in (features, mirrored))
    return _distance_statistics(values) | {"side": _side(places, turned)}


def random_change() -> Compose:
    """What the shipped model's training does to a picture (configs/train.json and its overlays), at half its size."""
    change = Compose(
        [
            RandAffineFramed([IMAGE, VALID], 0.8, 12.0, (0.78, 1.15), 0.08, ["bilinear", "nearest"]),
            RandAdjustContrastd(IMAGE, prob=0.5, gamma=(0.6, 1.8)),
            RandGaussianNoised(IMAGE, prob=0.3, std=0.02),
            RandGaussianSmoothd(IMAGE, prob=0.2, sigma_x=(0.15, 0.6), sigma_y=(0.15, 0.6)),
            RandGaussianSharpend(IMAGE, prob=0.1, alpha=(1.0, 5.0)),
            RandSimulateLowResolutiond(IMAGE, prob=0.1, zoom_range=(0.5, 1.0), upsample_mode="bilinear"),
        ]
    )
    change.set_random_state(0)
    return change


def _distance_statistics(values: np.ndarray) -> dict[str, Tensor]:
    """Each feature on its own scale, then principal components, then a covariance that is shrunk."""
    scale = values.std(axis=0).clip(1e-6)
    components = PCA(COMPONENTS, random_state=0).fit((values - values.mean(axis=0)) / scale)
    parts = components.transform((values - values.mean(axis=0)) / scale)
    root = np.linalg.cholesky(LedoitWolf(assume_centered=True).fit(parts).precision_)
    projection = root.T @ (components.components_ / scale)
    return {"mean": torch.from_numpy(values.mean(axis=0)).float(), "projection": torch.from_numpy(projection).half()}


def _side(places: np.ndarray, mirrored: np.ndarray) -> Tensor:
    """Along which a mirror image is further than its frame: logistic regression of the differences both ways."""
    scale = places.std(axis=0).clip(1e-6)
    differences = (mirrored - places) / scale
    told = LogisticRegression(C=0.01, fit_intercept=False, max_iter=1000)
    told.fit(np.concatenate([differences, -differences]), np.repeat([1, 0], len(places)))
    return torch.from_numpy(told.coef_[0] / scale).float()


def make_statistics(
    checkpoint: Path, student: StudentEncoder, patients: int, other_films: Iterable[Film], num_frames: int = 4
) -> dict[str, Any]:
    """Fit, set the limit, and write the statistics beside the weights with their card, which is returned.

    Args:
        checkpoint: The model's weights.
        student: Its encoder.
        patients: Of each of the phantom's domains, to fit with, and as many others to set the limit with.
        other_films: Pictures that are no swallow, of which the limit is to refuse nearly all.
        num_frames: Of each patient, to fit with.

    Raises:
        ValueError: If no limit tells the two apart.
    """
    statistics = fit_input_statistics(
        student, tqdm(training_films(patients, num_frames), desc="fit", total=2 * patients)
    )
    check = InputCheck(student, {**statistics, "limit": torch.tensor(1.0)})
    swallows = [_distances(check, phantoms(CALIBRATION, domain, patients, 2)) for domain in DOMAINS]
    limit = set_limit(swallows, _distances(check, other_films))
    path = statistics_path(checkpoint)
    with atomic_path(path) as temporary:
        save_file({**statistics, "limit": torch.tensor(limit.value)}, temporary)
    made = (
        f"Fitted on {patients} phantom patients of each domain, {num_frames} frames and {DRAWS} random changes of "
        f"each, of those that the model was trained on: {COMPONENTS} components. The limit, {limit.value:.1f}, is the "
        f"geometric mean of {limit.inner:.1f}, below which {100 * ACCEPTED:g}% of the frames of {patients} other "
        f"patients of each domain are, and {limit.outer:.1f}, above which as many of the chest X-rays are that helped "
        "to set it."
    )
    card = {
        "checkpoint_sha256": file_sha256(checkpoint),
        "file": path.name,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "license": "Apache-2.0",
        "source": "scripts/laboratory/make_input_check.py",
        "synthetic": f"fitted on phantom frames (generator version {GENERATOR_VERSION}); no patient data",
        "made": made,
    }
    write_json(path.with_suffix(".json"), card)
    return card


class Limit(NamedTuple):
    """A limit of distances, and what it lies between."""

    value: float
    inner: float  # nearly all swallows are nearer
    outer: float  # nearly all else is further


def set_limit(swallows: Sequence[Sequence[float]], others: Sequence[float]) -> Limit:
    """The geometric mean of the swallows' farthest and the others' nearest, but for half a percent of either.

    Args:
        swallows: Distances of frames that are to be accepted, of each domain.
        others: Distances of pictures that are to be refused.

    Raises:
        ValueError: If the others' nearest is nearer.
    """
    inner = max(float(np.quantile(distances, ACCEPTED)) for distances in swallows)
    outer = float(np.quantile(others, 1 - ACCEPTED))
    if outer <= inner:
        raise ValueError(
            f"no limit tells swallows from others: swallows reach to {inner:.1f}, others begin at {outer:.1f}"
        )
    return Limit(float(np.sqrt(inner * outer)), inner, outer)


def _distances(check: InputCheck, films: Iterable[Film]) -> list[float]:
    return [distance for film in films for distance in check.distances(pictures_of(film))]
