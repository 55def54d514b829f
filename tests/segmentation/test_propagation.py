"""Prompts carried through a clip: at its own resolution, both ways, corrected, one structure not touching another."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sam2.sam2_video_predictor import SAM2VideoPredictor

from bundle.segmentation.memory import Memory
from bundle.segmentation.prompting import Prompt
from bundle.segmentation.propagation import ClipTracker, backbone_output, track_clip
from bundle.segmentation.sam2 import build_sam2, build_tracker, load_tracker
from bundle.weights import weights_sha256

ROWS, COLUMNS = 48, 80
CLIP = torch.rand(5, 1, ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))


def square(top: int, left: int, side: int = 16) -> torch.Tensor:
    mask = torch.zeros(ROWS, COLUMNS, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


BOLUS = Prompt("bolus", 0, mask=square(10, 20))


@pytest.fixture
def predictor(segmenter, tmp_path) -> SAM2VideoPredictor:
    """With a memory of random weights, which is a strong one: every mask depends on it."""
    torch.manual_seed(1)
    torch.save(Memory(build_tracker(segmenter)).state_dict(), tmp_path / "memory.pt")
    return load_tracker(segmenter, tmp_path / "memory.pt")


@pytest.fixture
def tracker(segmenter, predictor) -> ClipTracker:
    return ClipTracker(segmenter, predictor, CLIP)


def tracked(tracker: ClipTracker, **kwargs) -> dict[tuple[str, int], torch.Tensor]:
    results = [((structure, frame), mask) for frame, structure, mask in tracker.track(**kwargs)]
    assert len(dict(results)) == len(results), "a structure in a frame comes once"
    return dict(results)


def test_every_prompted_structure_gets_a_mask_in_every_frame_at_the_clips_own_size(segmenter, predictor):
    prompts = [Prompt("c2", 3, box=(5, 5, 30, 40)), Prompt("bolus", 1, points=[(40, 20)], point_labels=[1])]
    names, masks = track_clip(segmenter, predictor, CLIP, prompts)
    assert names == ["bolus", "c2"]
    assert masks.shape == (5, 2, ROWS, COLUMNS)
    assert masks.dtype == torch.bool
    assert masks.any(dim=(0, 2, 3)).all(), "something is found of each"


def test_a_memory_of_another_student_is_refused(segmenter, tmp_path):
    torch.save(Memory(build_tracker(segmenter)).state_dict(), tmp_path / "memory.pt")
    card = tmp_path / "memory.json"
    card.write_text(json.dumps({"student": weights_sha256(segmenter.student)}))
    load_tracker(segmenter, tmp_path / "memory.pt")
    with torch.no_grad():
        next(segmenter.student.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match=r"memory\.pt was trained on another student .*train_memory\.json"):
        load_tracker(segmenter, tmp_path / "memory.pt")


def test_the_tracker_gives_what_sam_2s_predictor_gives_on_a_folder_of_frames(segmenter, predictor, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 64), dtype=np.uint8)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index}.jpg")
    decoded = np.stack([np.asarray(Image.open(tmp_path / f"{index}.jpg")) for index in range(4)])
    clip = torch.from_numpy(decoded)[:, None] / 255
    state = predictor.init_state(str(tmp_path))
    predictor.sam_mask_decoder.ask_for(torch.tensor([1]))
    predictor.add_new_points_or_box(state, 1, "hyoid", points=[[30.0, 20.0]], labels=[1])
    theirs = {frame: logits[0, 0] > 0 for frame, _, logits in predictor.propagate_in_video(state)}
    theirs |= {frame: logits[0, 0] > 0 for frame, _, logits in predictor.propagate_in_video(state, reverse=True)}
    _, ours = track_clip(segmenter, predictor, clip, [Prompt("hyoid", 1, points=[(30.0, 20.0)], point_labels=[1])])
    assert sorted(theirs) == [0, 1, 2, 3]
    for frame, mask in theirs.items():
        assert (ours[frame, 0] == mask).float().mean() > 0.999, frame
    assert 0.01 < ours.float().mean() < 0.99


def test_the_state_is_that_of_sam_2s_predictor(tracker, predictor, tmp_path):
    Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(tmp_path / "0.jpg")
    predictor.sam_mask_decoder.ask_for(torch.tensor([0]))
    assert tracker._new_state("c2").keys() - {"structure"} == predictor.init_state(str(tmp_path)).keys()


@torch.no_grad()
def test_the_features_are_those_of_sam_2s_image_encoder(segmenter, predictor):
    frames = torch.rand(1, 1, 64, 64)
    expected = predictor.forward_image(segmenter.student.normalize(frames))
    actual = backbone_output(predictor, segmenter.encode(frames))
    for ours, theirs in zip(actual["backbone_fpn"], expected["backbone_fpn"], strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(actual["vision_pos_enc"][-1], expected["vision_pos_enc"][-1])
    assert [p.shape[-2:] for p in actual["vision_pos_enc"]] == [p.shape[-2:] for p in expected["vision_pos_enc"]]


def test_a_mask_that_was_given_stays_as_it_is(tracker):
    assert torch.equal(tracker.prompt(BOLUS), BOLUS.mask)
    assert torch.equal(tracked(tracker)["bolus", 0], BOLUS.mask)


def test_tracking_goes_both_ways_and_stops_where_it_is_told(tracker):
    tracker.prompt(Prompt("bolus", 2, mask=square(10, 20)))
    assert [frame for _, frame in tracked(tracker)] == [2, 3, 4, 1, 0]
    assert [frame for _, frame in tracked(tracker, max_frames=1)] == [2, 3, 1]


@pytest.mark.parametrize(
    "correction",
    [Prompt("bolus", 2, mask=square(0, 50)), Prompt("bolus", 2, points=[(60, 8)], point_labels=[1])],
    ids=["mask", "click"],
)
def test_a_correction_is_kept_and_changes_the_frames_after_it(tracker, correction):
    tracker.prompt(BOLUS)
    before = tracked(tracker)
    corrected = tracker.prompt(correction)
    assert not torch.equal(corrected, before["bolus", 2])
    after = tracked(tracker)
    assert torch.equal(after["bolus", 2], corrected)
    assert torch.equal(after["bolus", 0], BOLUS.mask)
    assert not torch.equal(after["bolus", 3], before["bolus", 3])
    assert not torch.equal(after["bolus", 4], before["bolus", 4])


def test_a_click_on_another_frame_corrects_the_same_whether_tracking_was_asked_for_before_or_not(
    segmenter, predictor, tracker
):
    click = Prompt("bolus", 2, points=[(60, 8)], point_labels=[0])
    tracker.prompt(BOLUS)
    tracked(tracker)
    first = tracker.prompt(click)
    other = ClipTracker(segmenter, predictor, CLIP)
    other.prompt(BOLUS)
    assert torch.equal(other.prompt(click), first)
    alone = ClipTracker(segmenter, predictor, CLIP).prompt(click)
    assert not torch.equal(alone, first), "without an earlier prompt there is nothing to correct"


def test_a_box_starts_its_frame_afresh(segmenter, predictor, tracker):
    box = Prompt("bolus", 2, box=(10, 5, 40, 30))
    tracker.prompt(BOLUS)
    tracked(tracker)
    assert torch.equal(tracker.prompt(box), ClipTracker(segmenter, predictor, CLIP).prompt(box))


def test_structures_overlap_and_do_not_touch_each_other(tracker):
    tracker.prompt(BOLUS)
    alone = tracked(tracker)
    tracker.prompt(Prompt("hyoid", 0, mask=BOLUS.mask))
    tracker.prompt(Prompt("c2", 0, mask=square(20, 40)))
    together = tracked(tracker)
    assert tracker.structures == ["bolus", "hyoid", "c2"]
    assert torch.equal(together["hyoid", 0], together["bolus", 0]), "two structures have the same pixels"
    for frame in range(5):
        assert torch.equal(together["bolus", frame], alone["bolus", frame])


def test_a_frame_is_encoded_once_for_all_structures(segmenter, tracker):
    calls = []
    handle = segmenter.student.trunk.register_forward_hook(lambda *_: calls.append(1))
    for structure in segmenter.structures:
        tracker.prompt(Prompt(structure, 0, mask=square(10, 20)))
    tracked(tracker)
    handle.remove()
    assert len(calls) == len(CLIP)


def test_what_is_kept_is_bounded_and_changes_nothing(segmenter, predictor):
    clip = torch.rand(22, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    prompt = Prompt("bolus", 0, box=(5, 5, 20, 20))
    bounded, unbounded = (ClipTracker(segmenter, predictor, clip, max_kept=kept) for kept in (16, 1000))
    for one in (bounded, unbounded):
        one.prompt(prompt)
    expected = tracked(unbounded)
    assert all(torch.equal(mask, expected[key]) for key, mask in tracked(bounded).items())
    assert len(bounded._states["bolus"]["output_dict_per_obj"][0]["non_cond_frame_outputs"]) == 16
    assert len(bounded._encoded) <= 8
    click = Prompt("bolus", 3, points=[(3, 30)], point_labels=[1])
    assert torch.equal(bounded.prompt(click), unbounded.prompt(click)), "a frame that was dropped is tracked again"


def test_what_is_not_in_the_clip_is_refused(tracker):
    with pytest.raises(ValueError, match=r"structure must be one of \['bolus', 'hyoid', 'c2'\], got 'tongue'"):
        tracker.prompt(Prompt("tongue", 0, box=(0, 0, 4, 4)))
    with pytest.raises(ValueError, match=r"5 frames, frame 5 \(counted from 0\)"):
        tracker.prompt(Prompt("bolus", 5, box=(0, 0, 4, 4)))
    with pytest.raises(ValueError, match=r"48 rows x 80 columns, got x 80, y 3"):
        tracker.prompt(Prompt("bolus", 0, points=[(80, 3)], point_labels=[1]))
    with pytest.raises(ValueError, match=r"as large as the frame, \(48, 80\), got \(4, 4\)"):
        tracker.prompt(Prompt("bolus", 0, mask=torch.ones(4, 4)))
    with pytest.raises(ValueError, match="nothing to track: give a prompt"):
        tracked(tracker)


def test_clips_and_predictors_that_do_not_fit_are_refused(segmenter, predictor):
    with pytest.raises(ValueError, match=r"grayscale frames \(T, 1, H, W\).*\(5, 3, 8, 8\)"):
        ClipTracker(segmenter, predictor, torch.zeros(5, 3, 8, 8))
    with pytest.raises(ValueError, match="max_kept must be at least 16"):
        ClipTracker(segmenter, predictor, CLIP, max_kept=3)
    with pytest.raises(ValueError, match="load_tracker"):
        ClipTracker(segmenter, build_sam2(segmenter, SAM2VideoPredictor), CLIP)
