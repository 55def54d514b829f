"""The last step of inference: masks and their clip to files, as a MONAI transform."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from monai.utils import CommonKeys

from bundle.atomic import atomic_folder
from bundle.data.clip import Clip
from bundle.inference.checked_studies import IS_MIRRORED, LOOKS
from bundle.inference.input_check import InputCheck
from bundle.inference.parts.hold_together import HoldTogether
from bundle.inference.results import DONE, UNSUITABLE, StudyResult, StudyResults
from bundle.inference.spool import SpooledStudy
from bundle.inference.study import SegmentedStudy
from bundle.inference.study_dataset import CLIP, FIRST_FRAME, SOURCE, STUDY_KEY
from bundle.inference.writers import OF_REFUSED, SHOWS_FRAMES, WRITERS
from bundle.keys import IMAGE
from bundle.metrics.kinematics.verdict import Look, Verdict, judge_study
from bundle.metrics.measured_errors import UNMEASURED, MeasuredErrors


class SaveStudyd(Transform):
    """Gather a study's chunks and write its results into ``<output_dir>/<study key>/``, all of them or none.

    Args:
        structures: Names of the channels, in order.
        results: Where the study is recorded as done; its ``output_dir`` is used.
        outputs: Names in ``bundle.inference.writers.WRITERS``; by default all of them.
        model: Name and version of what made the masks, for the sidecars.
        hold_together: How a film's masks are held together; None: they are written as the network gives them.
        input_check: What has looked at the frames; a study that does not look like a lateral swallow study is refused.
            None: no study is, and measures are refused by the masks alone.
        progress: Whether to show progress bars.
        errors: What is known of the errors of the model's measures.

    Raises:
        ValueError: If an output's name is not known.
    """

    def __init__(
        self,
        structures: Sequence[str],
        results: StudyResults,
        outputs: Sequence[str] = tuple(WRITERS),
        model: Mapping[str, str] | None = None,
        hold_together: HoldTogether | None = None,
        input_check: InputCheck | None = None,
        progress: bool = True,
        errors: MeasuredErrors = UNMEASURED,
    ) -> None:
        unknown = [name for name in outputs if name not in WRITERS]
        if unknown or not outputs:
            raise ValueError(f"outputs must be some of {sorted(WRITERS)}, got {list(outputs)}")
        self.structures = tuple(structures)
        self.results = results
        self.outputs = tuple(outputs)
        self.model = dict(model or {})
        self.hold_together = hold_together
        self.input_check = input_check
        self.errors = errors
        self.progress = progress
        self._spooled: SpooledStudy | None = None
        self._looks: list[Look] = []

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Take a chunk of ``StudyDataset`` with its masks ``pred`` ``(n, S, H, W)``; write the study with its last one.

        Raises:
            ValueError: If a chunk is missing.
        """
        entry = dict(data)
        frames, masks = (torch.as_tensor(entry[key]).cpu().numpy() for key in (IMAGE, CommonKeys.PRED))
        if entry.get(IS_MIRRORED):
            frames, masks = (np.ascontiguousarray(values[..., ::-1]) for values in (frames, masks))
        if entry[FIRST_FRAME] == 0:
            self._begin(masks.shape[1:])
        if self._spooled is None or self._spooled.num_frames != entry[FIRST_FRAME]:
            raise ValueError(f"a study's chunks must come one after the other, got frame {entry[FIRST_FRAME]}")
        self._spooled.add(frames, masks)
        self._looks += entry.get(LOOKS, [])
        if entry[CLIP] is not None:
            source, key = Path(entry[SOURCE]), entry[STUDY_KEY]
            warnings = tuple(self.results.without_names(words, source) for words in entry[CLIP].warnings)
            clip = replace(entry[CLIP], warnings=warnings)
            with atomic_folder(self.results.output_dir / key) as folder:
                result = self._write(self._spooled, clip, source, key, folder)
            self.results.add(result)
            self._forget()
        return entry

    def _begin(self, masks_shape: tuple[int, int, int]) -> None:
        self._forget()  # a study that began and could not be read to its end
        self._looks = []
        shows_frames = not SHOWS_FRAMES.isdisjoint(self.outputs)
        held = self.hold_together.begin() if self.hold_together else None
        self._spooled = SpooledStudy(self.results.output_dir, masks_shape, shows_frames, held)

    def _forget(self) -> None:
        if self._spooled is not None:
            self._spooled.close()
        self._spooled = None

    def _write(self, spooled: SpooledStudy, clip: Clip, source: Path, key: str, folder: Path) -> StudyResult:
        clip, verdict = spooled.finish(clip), self._judge(spooled)
        clip = replace(clip, warnings=(*clip.warnings, *verdict.notes)) if verdict else clip
        about = self.structures, self.model, key, self.progress, spooled.brightest, self.errors, verdict
        study = SegmentedStudy(spooled.masks, clip, *about)
        refusal = verdict.refusal if verdict else ""
        writes_all = not refusal or (self.input_check is not None and self.input_check.writes_refused)
        outputs = [name for name in self.outputs if writes_all or name in OF_REFUSED]
        notes = (*clip.warnings, *filter(None, self._write_outputs(study, folder, outputs)))
        written = tuple(sorted(file.name for file in folder.iterdir()))
        result = StudyResult(source, key, UNSUITABLE if refusal else DONE, refusal, clip.num_frames, written, notes)
        self.results.write_record(folder, result, verdict.describe() if verdict else {})
        return result

    def _judge(self, spooled: SpooledStudy) -> Verdict | None:
        check = self.input_check
        return None if check is None else judge_study(spooled.masks, self.structures, self._looks, check.off)

    def _write_outputs(self, study: SegmentedStudy, folder: Path, outputs: Sequence[str]) -> list[str]:
        """Write outputs, as many at the same time as there are cores; their notes, in the order of the outputs."""
        with ThreadPoolExecutor(os.cpu_count(), "write") as pool:
            slowest_first = sorted(outputs, key=lambda name: name not in SHOWS_FRAMES)
            writing = {name: pool.submit(WRITERS[name], study, folder) for name in slowest_first}
            try:
                return [writing[name].result() for name in outputs]
            except BaseException:  # Control-C, for one: without masks the others end at their next frame
                pool.shutdown(wait=False, cancel_futures=True)
                self._forget()
                raise
