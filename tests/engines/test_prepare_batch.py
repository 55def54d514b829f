"""Batches for both phases: teachers give targets without gradients, prompts and masks belong together."""

import torch
from torch import nn

from bundle.engines.prepare_batch import PrepareDistillationBatch, PrepareSegmentationBatch
from bundle.segmentation.prompts import PromptSampler

BATCH = {
    "image": torch.rand(2, 1, 16, 16),
    "label": torch.zeros(2, 3, 16, 16),
    "valid": torch.ones(2, 1, 16, 16),
}
BATCH["label"][0, 1, 4:8, 4:8] = 1
BATCH["label"][1, 2, 8:12, 2:6] = 1


class Halves(nn.Module):
    """A teacher whose features are the frame's means over a 2 x 2 grid."""

    def forward(self, frames):
        return nn.functional.adaptive_avg_pool2d(frames, 2)

    def valid_grid(self, valid):
        return nn.functional.adaptive_avg_pool2d(valid, 2)


def test_every_teacher_gives_features_and_coverage_of_the_same_frames():
    frames, target = PrepareDistillationBatch({"a": Halves(), "b": Halves()})(BATCH, torch.device("cpu"))
    assert torch.equal(frames, BATCH["image"])
    assert list(target["features"]) == ["a", "b"]
    assert target["features"]["a"].shape == (2, 1, 2, 2)
    assert target["valid"]["b"].eq(1).all()


def test_the_prompted_label_is_the_mask_that_the_prompt_means():
    prepare = PrepareSegmentationBatch(PromptSampler(seed=1))
    for _ in range(10):
        _, target, _, prompts = prepare(BATCH, torch.device("cpu"))
        assert torch.equal(target["prompted_label"][0, 0], BATCH["label"][0, 1])
        assert torch.equal(target["prompted_label"][1, 0], BATCH["label"][1, 2])
        inside = prompts["points"][prompts["point_labels"] == 1].long()
        assert len(inside) == 0 or target["prompted_label"][:, 0, inside[:, 1], inside[:, 0]].amax(dim=0).eq(1).all()
