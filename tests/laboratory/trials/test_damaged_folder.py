"""Damaged files of every kind through the folder run."""

from collections import Counter

from bundle.inference.results import DONE, REFUSED, StudyResult
from bundle.laboratory.trials.damaged_folder import _fault, segment_damaged_files


def test_a_folder_of_damaged_files_is_accounted_for(tmp_path):
    studies, wrong = segment_damaged_files(84, 3, tmp_path)
    assert wrong == []
    counts = Counter(study.status for study in studies)
    assert counts.total() == 84
    assert counts[DONE] > 5
    assert counts[REFUSED] > 5


def test_a_result_that_is_not_there_or_says_nothing_is_noticed(tmp_path):
    path = tmp_path / "clip.avi"
    path.touch()
    assert _fault(StudyResult(path, "abc", REFUSED), tmp_path) == "clip.avi: refused without a reason"
    assert _fault(StudyResult(path, "abc", DONE), tmp_path) == "clip.avi: done, and its table is not there"
