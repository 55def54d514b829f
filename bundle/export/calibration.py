"""Frames from which static quantisation learns the range of every activation: of training patients, never of others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose
from torch import Tensor

from bundle.data.datalist import load_datalist
from bundle.keys import IMAGE
from bundle.phantom import generate_study
from bundle.phantom.dataset import GENERATOR_VERSION
from bundle.teachers.checkpoint import file_sha256
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed

FRAMES_PER_PATIENT = 4


def calibration_frames(image_size: int, num_frames: int, datalist: str | Path | None = None) -> Tensor:
    """Letterboxed frames of training patients, always the same.

    Args:
        image_size: Side of the network's square input.
        num_frames: How many; a multiple of 4 with the phantom.
        datalist: Whose training frames, spread evenly. None: the phantom's first training patients.

    Returns:
        Frames ``(num_frames, 1, image_size, image_size)`` in [0, 1].

    Raises:
        ValueError: If the number is not positive.
    """
    if num_frames < 1:
        raise ValueError(f"calibration needs at least one frame, got {num_frames}")
    if datalist is None:
        seeds = range(-(-num_frames // FRAMES_PER_PATIENT))
        studies = [generate_study(seed, image_size, FRAMES_PER_PATIENT).frames for seed in seeds]
        return torch.cat([torch.from_numpy(frames) for frames in studies])[:num_frames]
    entries = load_datalist(datalist, "training")
    chosen = entries[:: max(1, len(entries) // num_frames)][:num_frames]
    frame_of = Compose([LoadFramed(None), Letterboxd(IMAGE, image_size)])
    return torch.stack([torch.as_tensor(frame_of(entry)[IMAGE]) for entry in chosen])


def describe_calibration(num_frames: int, datalist: str | Path | None = None) -> Mapping[str, Any]:
    """What the frames depend on, as plain values."""
    source = f"phantom {GENERATOR_VERSION}" if datalist is None else file_sha256(datalist)
    return {"frames": num_frames, "source": source}
