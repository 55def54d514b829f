"""Outputs that are written at the same time: each once, their notes in order, and none goes on when one fails."""

import threading
from pathlib import Path

import numpy as np
import pytest

from bundle.inference.results import StudyResults
from bundle.inference.save import SaveStudyd
from bundle.inference.study import SegmentedStudy
from bundle.inference.study_dataset import CLIP, FIRST_FRAME, SOURCE, STUDY_KEY
from bundle.inference.writers import WRITERS
from bundle.metrics.kinematics import measure_if_lateral
from tests.inference.conftest import STRUCTURES, make_clip


def save(folder: Path, masks: np.ndarray, outputs: list[str]) -> StudyResults:
    results, clip = StudyResults(folder), make_clip()
    chunk = {"image": clip.frames, "pred": masks, FIRST_FRAME: 0, STUDY_KEY: "key", SOURCE: str(folder), CLIP: clip}
    SaveStudyd(STRUCTURES, results, outputs, progress=False)(chunk)
    return results


def test_outputs_are_written_at_the_same_time_and_their_notes_keep_their_order(tmp_path, masks, monkeypatch):
    both_run = threading.Barrier(2, timeout=20)

    def writer(note: str):
        def write(study: SegmentedStudy, folder: Path) -> str:
            both_run.wait()
            return note

        return write

    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setitem(WRITERS, "areas", writer("first"))
    monkeypatch.setitem(WRITERS, "overlay", writer("second"))
    assert save(tmp_path, masks, ["areas", "overlay"]).studies[0].notes == ("first", "second")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_when_one_output_fails_the_others_end_and_nothing_is_left(tmp_path, masks, monkeypatch, error):
    has_begun, ended = threading.Event(), []

    def without_end(study: SegmentedStudy, folder: Path) -> str:
        (folder / "half").touch()
        has_begun.set()
        try:
            while True:
                study.masks[0]
        except ValueError as closed:
            ended.append(closed)
            raise

    def fail(study: SegmentedStudy, folder: Path) -> str:
        has_begun.wait(20)
        raise error

    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setitem(WRITERS, "nifti", without_end)
    monkeypatch.setitem(WRITERS, "areas", fail)
    with pytest.raises(type(error)):
        save(tmp_path, masks, ["areas", "nifti"])
    assert ended
    assert list(tmp_path.iterdir()) == []


def test_measures_are_worked_out_once_for_all_outputs(tmp_path, masks, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "bundle.inference.study.measure_if_lateral", lambda *given: calls.append(given) or measure_if_lateral(*given)
    )
    study = SegmentedStudy(masks, make_clip(), STRUCTURES)
    threads = [threading.Thread(target=lambda: study.measures) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
