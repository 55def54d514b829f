"""Files in, masks out: the parts of ``configs/inference.json`` put together in Python."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.inferers import Inferer
from torch import nn

from bundle.inference.folder import find_studies
from bundle.inference.results import StudyResults
from bundle.inference.save import SaveStudyd
from bundle.inference.study_dataset import StudyDataset, as_it_is
from bundle.inference.writers import WRITERS


def segment_studies(
    source: str | Path,
    output_dir: str | Path,
    network: nn.Module,
    inferer: Inferer,
    structures: Sequence[str],
    outputs: Sequence[str] = tuple(WRITERS),
    model: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    write_sources: bool = False,
    settings: Mapping[str, Any] | None = None,
    strict: bool = False,
    pixel_aspect: float | None = None,
    chunk_frames: int = 8,
    finds_field_of_view: bool = True,
) -> StudyResults:
    """Segment a file, or every study in a folder, and write the results; a study that cannot be read is reported.

    Args:
        source: File or folder.
        output_dir: Gets one folder per study, named by the study's key, and ``results.csv``.
        network: Frames to logits, on ``device``.
        inferer: How a clip goes through the network, such as ``ClipInferer``.
        structures: Names of the network's channels, in order.
        outputs: As for ``SaveStudyd``.
        model: Name and version of the network, for the sidecars.
        device: Where clips are put before the inferer.
        write_sources: Whether to write which file has which key; see ``StudyResults``.
        settings: What the results depend on; studies finished with the same are not done again. See ``StudyResults``.
        strict: Whether a video that is cut off is refused, instead of done as far as it goes.
        pixel_aspect: Height of a pixel divided by its width, for sources without a pixel spacing. None: as they state.
        chunk_frames: Frames that are decoded, segmented and put away together; the memory that a run needs grows with
            it, and not with the length of a film.
        finds_field_of_view: Whether the network looks at the picture without a recording's black border.

    Returns:
        What became of each study; ``exit_status`` is 1 if one was refused.
    """
    found = find_studies(source, exclude=output_dir)
    results = StudyResults(output_dir, write_sources, settings, found.left_out)
    dataset = StudyDataset(
        found.studies, results, chunk_frames, strict, pixel_aspect, finds_field_of_view=finds_field_of_view
    )
    evaluator = SupervisedEvaluator(
        device=torch.device(device),
        val_data_loader=DataLoader(dataset, batch_size=None, collate_fn=as_it_is),
        network=network,
        inferer=inferer,
        postprocessing=SaveStudyd(structures, results, outputs, model),
        decollate=False,
    )
    evaluator.run()
    return results
