"""Studies one by one for MONAI's evaluator; what cannot be read is recorded and left out."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info
from tqdm import tqdm

from bundle.data.clip import NoImageError, UnreadableStudyError
from bundle.inference.folder import Study
from bundle.inference.results import DUPLICATE, NO_IMAGE, REFUSED, StudyResult, StudyResults
from bundle.inference.study_key import study_key
from bundle.keys import IMAGE

STUDY_KEY = "study_key"
"""Name of the study in the results."""

SOURCE = "source"
"""Path of the study."""


class StudyDataset(IterableDataset):
    """Yields ``{"image": ..., "study_key": ..., "source": ...}`` of every study that is to be done and can be read.

    Studies that an earlier run has finished are recorded and left out. Iterable, since only reading shows how many
    studies there are: one damaged file must not stop the others. An error that is not about the file (of the model, the
    disk) does stop the run.

    Args:
        data: Studies, as from ``find_studies``.
        transform: Turns ``{"image": path}`` into the evaluator's input, such as MONAI's ``LoadImaged`` with our
            ``ClipReader``.
        results: Where refusals are recorded.
        progress: Whether to show a progress bar over the studies.
    """

    def __init__(
        self,
        data: Sequence[str | Path | tuple[Path, ...]],
        transform: Callable[[dict[str, Any]], dict[str, Any]],
        results: StudyResults,
        progress: bool = True,
    ) -> None:
        self.data: list[Study] = [Path(study) if isinstance(study, str) else study for study in data]
        self.transform = transform
        self.results = results
        self.progress = progress

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if get_worker_info() is not None:
            raise ValueError("StudyDataset records results in its own process: use num_workers 0")
        self.results.reset()
        for study in tqdm(self.data, desc="studies", unit="study", disable=not self.progress):
            item = self._load(study)
            if item is not None:
                yield item

    def _load(self, study: Study) -> dict[str, Any] | None:
        path = study if isinstance(study, Path) else study[0]
        image = str(study) if isinstance(study, Path) else [str(file) for file in study]
        try:
            key = study_key(study)
        except OSError as error:
            self.results.add(StudyResult(path, "", REFUSED, error.strerror or "no such file or folder"))
            return None
        if self.results.is_known(key):
            self.results.add(StudyResult(path, key, DUPLICATE, "same content as an earlier study of this run"))
            return None
        finished = self.results.find_finished(key, path)
        if finished is not None:
            self.results.add(finished)
            return None
        try:
            return {**self.transform({IMAGE: image}), STUDY_KEY: key, SOURCE: str(path)}
        except Exception as error:
            cause = _file_error(error)
            if cause is None:
                raise
            status = NO_IMAGE if isinstance(cause, NoImageError) else REFUSED
            self.results.add(StudyResult(path, key, status, cause.reason))
            return None


def _file_error(error: BaseException | None) -> UnreadableStudyError | None:
    """The error, or the one that MONAI wrapped in it, if it is about the file; None otherwise."""
    while error is not None:
        if isinstance(error, UnreadableStudyError):
            return error
        error = error.__cause__ or error.__context__
    return None
