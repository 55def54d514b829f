"""The chunks of studies with what the input check makes of them; a film that faces the other way is mirrored."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from monai.data import MetaTensor
from torch.utils.data import IterableDataset

from bundle.inference.input_check import InputCheck
from bundle.inference.study_dataset import CLIP, FIRST_FRAME, StudyDataset
from bundle.keys import FIELD_OF_VIEW, IMAGE, PIXEL_ASPECT
from bundle.transforms.field_of_view import Window

LOOKS, IS_MIRRORED = "looks", "is_mirrored"
MIRRORED = "the patient looks to the other side than those that the model knows: the network saw the mirror image"


class CheckedStudies(IterableDataset):
    """Yields what a ``StudyDataset`` does, with two more entries in each chunk.

    ``looks`` are of the frames that were looked at. Of a study whose first chunk shows a patient who looks to the other
    side, ``image`` becomes the mirror image, ``is_mirrored`` is true, and the clip gets a warning.

    Args:
        studies: The chunks.
        input_check: Looks at them.
    """

    def __init__(self, studies: StudyDataset, input_check: InputCheck) -> None:
        self.studies = studies
        self.input_check = input_check

    def __iter__(self) -> Iterator[dict[str, Any]]:
        is_mirrored = False
        for chunk in self.studies:
            image = chunk[IMAGE]
            if chunk[FIRST_FRAME] == 0:
                is_mirrored = self.input_check.is_mirrored(*_seen(image))
            if is_mirrored:
                image = _mirror_image(image)
            frames, view, aspect = _seen(image)
            looks = self.input_check.look(frames, chunk[FIRST_FRAME], view, aspect)
            clip = chunk[CLIP]
            if is_mirrored and clip is not None:
                clip = replace(clip, warnings=(*clip.warnings, MIRRORED))
            yield {**chunk, IMAGE: image, CLIP: clip, LOOKS: looks, IS_MIRRORED: is_mirrored}


def _seen(image: MetaTensor) -> tuple[Any, Window, float]:
    """Frames, where the picture is in them, and the shape of their pixels."""
    frames = image.as_subclass(torch.Tensor).numpy()
    return frames, Window(*map(int, image.meta[FIELD_OF_VIEW])), float(image.meta[PIXEL_ASPECT])


def _mirror_image(image: MetaTensor) -> MetaTensor:
    _, view, _ = _seen(image)
    columns = image.shape[-1]
    mirrored = view._replace(left=columns - view.right, right=columns - view.left)
    return MetaTensor(image.as_subclass(torch.Tensor).flip(-1), meta={**image.meta, FIELD_OF_VIEW: mirrored})
