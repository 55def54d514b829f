"""What training the memory asks: objects that the first frame shows, and a target for every answer."""

import torch

from bundle.engines.prepare_batch import PrepareTrackingBatch, PrepareTrackingEvaluation, full_size_masks
from bundle.segmentation.prompts import PromptSampler

T, S = 4, 3
LABEL = torch.zeros(2, T, S, 16, 16, dtype=torch.uint8)
LABEL[0, :, 1, 2:6, 2:6] = 1
LABEL[1, :, 0, 4:9, 4:9] = 1
LABEL[1, 1:, 2, 4:9, 4:9] = 1  # not in the first frame
BATCH = {"image": torch.rand(2, T, 16, 16), "label": LABEL.flatten(1, 2), "valid": torch.ones(2, 1, 16, 16)}
CPU = torch.device("cpu")


def prepare(**kwargs):
    return PrepareTrackingBatch(PromptSampler(seed=0), S, objects_per_clip=2, **kwargs)(BATCH, CPU)


def test_objects_are_structures_of_the_first_frame_with_their_own_masks():
    frames, _, _, kwargs = prepare()
    prompts = kwargs["prompts"]
    assert frames.shape == (2, T, 1, 16, 16)
    assert torch.equal(frames[:, :, 0], BATCH["image"])
    assert prompts.clip.tolist() == [0, 0, 1, 1]
    assert prompts.structure.tolist() == [1, 1, 0, 0]
    assert torch.equal(prompts.label[0], LABEL[0, :, 1].float())
    assert torch.equal(prompts.label[3], LABEL[1, :, 0].float())


def test_the_target_has_a_mask_for_every_answer():
    _, target, _, kwargs = prepare(mask_probability=1.0, correction_probability=0.0)
    assert kwargs["prompts"].points is None
    assert torch.equal(target["label"], kwargs["prompts"].label[:, 1:])
    assert target["valid"].shape == (4, 1, 16, 16)
    _, target, _, kwargs = prepare(mask_probability=0.0, correction_probability=1.0)
    prompts = kwargs["prompts"]
    assert prompts.points.shape == (4, 3, 2)
    assert 1 <= prompts.corrected < T
    assert torch.equal(target["label"], prompts.label[:, [0, 1, 2, 3, prompts.corrected]])


def test_the_same_seed_asks_the_same():
    one, other = (prepare()[3]["prompts"] for _ in range(2))
    assert torch.equal(one.clicks, other.clicks)
    assert one.corrected == other.corrected


def test_evaluation_asks_for_every_structure_of_the_first_frame_by_its_mask():
    _, target, _, kwargs = PrepareTrackingEvaluation(S)(BATCH, CPU)
    prompts = kwargs["prompts"]
    assert list(zip(prompts.clip.tolist(), prompts.structure.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert prompts.points is None
    assert target["label"].shape == (2, T - 1, 16, 16)


def test_masks_are_compared_at_full_size():
    output = {
        "pred": {"masks": torch.tensor([[[[1.0, -1.0], [-1.0, -1.0]]]])},
        "label": {"label": torch.zeros(1, 1, 4, 4)},
    }
    masks, label = full_size_masks(output)
    assert masks[0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert label.shape == (1, 1, 4, 4)
