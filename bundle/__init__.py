"""Agglomerative distillation for medical video segmentation, as a MONAI Bundle.

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
    transforms         clip or frame -> normalized, letterboxed model input
    teachers           frozen encoders: frames -> features (B, C, h, w)
    students           light encoder in SAM 2's image encoder, and projection heads
    losses             standardisation, distances, balancing, mask losses
    store              teachers' features of augmented views, computed once and kept on disk
    segmentation       the student inside SAM 2: prompted and automatic masks
    metrics            overlap, surface distance, tables; clinical measures of a swallow
    report             one HTML page per study: cine with masks, plots, key frames, measures
    deidentify         copies of studies without identity, for sharing
    engines            what MONAI's trainers call: prepare_batch, handlers, preflight
    export             checkpoints, TorchScript, ONNX, OpenVINO, int8; the packaged bundle
    inference          frames -> masks -> NIfTI, DICOM SEG, PNG, overlay video, measures, report
    annotation         the MONAI Label app: automatic masks, clicks, propagation, training, promotion
    command            what a user starts: the demo
    laboratory         studies, benchmarks, trials, recipes, shipped weights; not packed
"""

from bundle.spinning import spin_briefly

spin_briefly()  # here, since whoever imports PyTorch after this package has the setting in time
