"""What clicks and boxes are worth on held-out synthetic frames, standard ones and hard ones: with and without names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bundle.metrics.overlap import dice
from bundle.phantom.study import Domain, generate_study
from bundle.segmentation.named import answer_by_name
from bundle.segmentation.prompting import (
    EncodedFrame,
    Prompt,
    answer_prompt,
    encode_frame,
    full_size_mask,
)
from bundle.segmentation.prompts import box_around, connected_parts, inner_point
from bundle.segmentation.segmenter import Segmenter

FIRST_SEED = 33_000_000
"""Patients of no data set."""

NUM_CLICKS = 3
PromptAnswer = Callable[[EncodedFrame, Prompt], Tensor]  # -> bool (H, W)


@dataclass(frozen=True)
class ClickScore:
    """One way to get a mask."""

    answer: str  # How
    standard: float  # Mean Dice over structures, on standard patients
    hard: float  # On patients of the phantom's hard domain


def measure_clicks(
    segmenter: Segmenter,
    num_patients: int = 4,
    num_frames: int = 3,
    size: int | None = None,
) -> list[ClickScore]:
    """Compare automatic masks with prompted ones, and with corrections by up to three clicks, on both domains.

    A click falls into the middle of the largest wrong region, as interactive segmentation is evaluated (RITM, Sofiiuk
    et al. 2022). A box is the true mask's.
    """
    size = segmenter.image_size if size is None else size
    names: dict[str, PromptAnswer] = {
        "": lambda encoded, prompt: answer_prompt(segmenter, encoded, prompt).mask,
        ", by name": lambda encoded, prompt: answer_by_name(segmenter, encoded, prompt).mask,
    }
    domains: tuple[Domain, ...] = ("standard", "hard")
    scores: dict[str, dict[Domain, float]] = {}
    for domain in domains:
        found: dict[str, dict[str, list[float]]] = {}
        for structure, encoded, automatic, label in _objects(segmenter, domain, num_patients, num_frames, size):
            masks = {"automatic": automatic}
            for suffix, answer in names.items():
                masks |= {
                    title + suffix: mask for title, mask in _answers(structure, encoded, automatic, label, answer)
                }
            for title, mask in masks.items():
                found.setdefault(title, {}).setdefault(structure, []).append(
                    float(dice(mask[None, None], label[None, None]))
                )
        for title, values in found.items():
            scores.setdefault(title, {})[domain] = float(np.mean([np.mean(each) for each in values.values()]))
    return [ClickScore(title, *(values[domain] for domain in domains)) for title, values in scores.items()]


def next_click(pred: Tensor, label: Tensor) -> tuple[tuple[float, float], int]:
    """Where a person would click next: the middle of the largest wrong region, and whether it is inside.

    Args:
        pred: Mask ``bool (H, W)``.
        label: True mask ``bool (H, W)``, not empty; if nothing is wrong, its own middle is clicked.

    Returns:
        Point ``(x, y)``, and its label, 1 inside and 0 outside.
    """
    wrong = pred != label
    largest, *_ = connected_parts(wrong if wrong.any() else label)
    x, y = inner_point(largest).tolist()
    return (x, y), int(label[int(y), int(x)])


def _answers(
    structure: str, encoded: EncodedFrame, automatic: Tensor, label: Tensor, answer: PromptAnswer
) -> Iterator[tuple[str, Tensor]]:
    point, inside = next_click(torch.zeros_like(label), label)
    yield "a click on it", answer(encoded, Prompt(structure, 0, [point], [inside]))
    left, top, right, bottom = box_around(label).tolist()
    if left < right and top < bottom:
        yield "a box around it", answer(encoded, Prompt(structure, 0, box=(left, top, right, bottom)))
    mask, points, labels = automatic, [], []
    for number in range(1, NUM_CLICKS + 1):
        point, inside = next_click(mask, label)
        points.append(point)
        labels.append(inside)
        mask = answer(encoded, Prompt(structure, 0, points, labels))
        yield f"automatic, {number} correcting click{'s' if number > 1 else ''}", mask


def _objects(
    segmenter: Segmenter, domain: Domain, num_patients: int, num_frames: int, size: int
) -> Iterator[tuple[str, EncodedFrame, Tensor, Tensor]]:
    """Every structure of every frame: its name, the encoded frame, its automatic and its true mask."""
    for patient in range(num_patients):
        study = generate_study(FIRST_SEED + patient, size, num_frames, domain=domain)
        for frame, labels in zip(torch.from_numpy(study.frames), torch.from_numpy(study.masks).bool(), strict=True):
            encoded = encode_frame(segmenter, frame)
            with torch.inference_mode():
                output = segmenter.decode_structures(encoded.features)
            logits = torch.minimum(output.masks, output.presence[:, :, None, None])
            for channel, structure in enumerate(segmenter.structures):
                if labels[channel].any():
                    automatic = full_size_mask(logits[:, channel : channel + 1], encoded.geometry)
                    yield structure, encoded, automatic, labels[channel]
