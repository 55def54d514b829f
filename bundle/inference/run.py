"""Files in, masks out, and a clip in memory to masks in memory: the parts of ``configs/inference.json`` in Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.inferers import Inferer
from torch import nn

from bundle.data.clip import Clip
from bundle.inference.checked_studies import CheckedStudies
from bundle.inference.folder import find_studies
from bundle.inference.input_check import InputCheck
from bundle.inference.parts.hold_together import HoldTogether
from bundle.inference.predictor import ClipInferer
from bundle.inference.results import StudyResults
from bundle.inference.save import SaveStudyd
from bundle.inference.study_dataset import StudyDataset, as_it_is
from bundle.inference.writers import WRITERS
from bundle.keys import FIELD_OF_VIEW, PIXEL_ASPECT
from bundle.segmentation.segmenter import Segmenter
from bundle.transforms.field_of_view import FRAMES_LOOKED_AT, find_field_of_view


@dataclass(frozen=True)
class StudyOptions:
    """How studies are read, checked and recorded; as for ``StudyDataset``, ``SaveStudyd`` and ``StudyResults``.

    Attributes:
        holds_together: Whether masks go through ``HoldTogether``, as they do in the configs.
    """

    chunk_frames: int = 8
    strict: bool = False
    pixel_aspect: float | None = None
    finds_field_of_view: bool = True
    write_sources: bool = False
    input_check: InputCheck | None = None
    settings: Mapping[str, Any] | None = None
    holds_together: bool = True


def segment(clip: Clip, segmenter: Segmenter, batch_size: int = 8, threshold: float = 0.5) -> np.ndarray:
    """Masks of a clip, made on the segmenter's device and held together, with a progress bar.

    Args:
        clip: As from ``read_clip``; all of it is held in memory. For long films: ``vfss segment``.
        segmenter: As from ``load_segmenter``.
        batch_size: Frames at a time.
        threshold: Probability above which a pixel belongs to a structure, between 0 and 1.

    Returns:
        ``bool`` masks ``(T, S, H, W)`` on the clip's grid, in the order of ``segmenter.structures``.

    Raises:
        ValueError: If a setting is out of range.
        MemoryError: If the masks would not fit into the free memory.
    """
    frames = clip.frames
    meta = {PIXEL_ASPECT: clip.pixel_aspect, FIELD_OF_VIEW: find_field_of_view(frames[:FRAMES_LOOKED_AT])}
    inferer = ClipInferer(segmenter.image_size, batch_size, threshold)
    masks = inferer(MetaTensor(torch.from_numpy(frames), meta=meta), segmenter).numpy()
    return HoldTogether(segmenter.structures)(masks)


def segment_studies(
    source: str | Path,
    output_dir: str | Path,
    network: nn.Module,
    inferer: Inferer,
    structures: Sequence[str],
    outputs: Sequence[str] = tuple(WRITERS),
    model: Mapping[str, str] | None = None,
    options: StudyOptions = StudyOptions(),
) -> StudyResults:
    """Segment a file, or every study in a folder, and write the results; a study that cannot be read is reported.

    Args:
        source: File or folder.
        output_dir: Gets one folder per study, named by the study's key, and ``results.csv``.
        network: Frames to logits; computes where its parameters are.
        inferer: How a clip goes through the network, such as ``ClipInferer``.
        structures: Names of the network's channels, in order.
        outputs: As for ``SaveStudyd``.
        model: Name and version of the network, for the sidecars.
        options: How studies are read and recorded.

    Returns:
        What became of each study; ``exit_status`` is 1 if one was refused.
    """
    found = find_studies(source, exclude=output_dir)
    results = StudyResults(output_dir, options.write_sources, options.settings, found.left_out)
    dataset = StudyDataset(
        found.studies,
        results,
        options.chunk_frames,
        options.strict,
        options.pixel_aspect,
        finds_field_of_view=options.finds_field_of_view,
    )
    checked = dataset if options.input_check is None else CheckedStudies(dataset, options.input_check)
    SupervisedEvaluator(
        device=torch.device("cpu"),  # the inferer moves what the network takes
        val_data_loader=DataLoader(checked, batch_size=None, collate_fn=as_it_is),
        network=network,
        inferer=inferer,
        postprocessing=SaveStudyd(
            structures,
            results,
            outputs,
            model,
            HoldTogether(structures) if options.holds_together else None,
            input_check=options.input_check,
        ),
        decollate=False,
    ).run()
    return results
