"""Agglomerative distillation for medical video segmentation, as a MONAI Bundle.

``load_segmenter``, ``read_clip``, ``segment`` and ``measure_swallow`` are the public interface: docs/reference/api.md.
They are loaded when they are used, so that importing the package stays light.

The folders are the data flow; a module imports only from its own stage or an earlier one::

    keys, structures   names of the batch's entries; the default label set
    atomic, text       files that are complete or not there; text that a person wrote
    paths              where the bundle is
    extras             optional packages, and what is said where one is missing
    one_line           errors as one line with the remedy
    weights            named tensors on disk, read strictly; their cards
    ranks              what the processes of one run tell each other
    weight_decay       which parameters an optimizer shrinks
    spinning           how threads of PyTorch wait for one another
    data               DICOM, video, stills, NIfTI -> clip (T, 1, H, W)
    phantom            synthetic studies of a swallow, with true masks
    transforms         clip or frame -> letterboxed model input
    teachers           frozen encoders: frames -> features (B, C, h, w)
    students           light encoder in SAM 2's image encoder, and projection heads
    losses             standardization, distances, balancing, mask losses
    store              teachers' features of augmented views, computed once and kept on disk
    segmentation       the student inside SAM 2: prompted and automatic masks
    metrics            overlap, surface distance, tables; clinical measures of a swallow
    report             one HTML page per study: cine with masks, plots, key frames, measures
    deidentify         copies of studies without identity, for sharing
    engines            what MONAI's trainers call: prepare_batch, handlers, preflight
    export             checkpoints, TorchScript, ONNX, OpenVINO, int8; the packaged bundle
    inference          frames -> masks -> NIfTI, DICOM SEG, PNG, overlay video, measures, report
    adaptation         a trained segmenter and a few labeled frames of a site -> one that knows its films
    annotation         the MONAI Label app: automatic masks, clicks, propagation, training, promotion
    command            what a user starts: vfss and its sub-commands
    laboratory         studies, benchmarks, trials, recipes, shipped weights; not packed
"""

from importlib import import_module
from typing import Any

from bundle.spinning import spin_briefly

_PLACES = {
    "load_segmenter": "bundle.export.model_card",
    "measure_swallow": "bundle.metrics.kinematics",
    "read_clip": "bundle.data.readers",
    "segment": "bundle.inference.run",
}
"""Public names and their modules; ``__init__.pyi`` says the same to type checkers."""

__all__ = list(_PLACES)

spin_briefly()  # here, since whoever imports PyTorch after this package has the setting in time


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
