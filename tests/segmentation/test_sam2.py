"""SAM 2's own predictors accept the student: same masks on a still, memory on a video."""

import numpy as np
import pytest
import torch
from PIL import Image
from sam2.sam2_video_predictor import SAM2VideoPredictor

from bundle.segmentation.sam2 import build_sam2, image_predictor


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)


@torch.no_grad()
def test_sam_2s_image_predictor_gives_the_segmenters_masks(segmenter, frame):
    predictor = image_predictor(segmenter)
    predictor.set_image(np.repeat(frame[..., None], 3, axis=-1))
    _, iou, logits = predictor.predict(np.array([[30.0, 20.0]]), np.array([1]), multimask_output=True)
    features = segmenter.encode(torch.from_numpy(frame)[None, None] / 255)
    ours = segmenter.decode_prompts(features, torch.tensor([[[30.0, 20.0]]]), torch.tensor([[1]]))
    np.testing.assert_allclose(logits, ours.masks[0, 1:].numpy(), atol=1e-4)
    np.testing.assert_allclose(iou, ours.iou[0, 1:].numpy(), atol=1e-4)


def test_sam_2s_video_predictor_carries_a_mask_through_a_clip(segmenter, frame, tmp_path):
    for index in range(3):
        Image.fromarray(np.roll(frame, index, axis=0)).convert("RGB").save(tmp_path / f"{index}.jpg")
    predictor = build_sam2(segmenter, SAM2VideoPredictor)
    state = predictor.init_state(str(tmp_path))
    mask = np.zeros((64, 64), dtype=bool)
    mask[20:40, 20:40] = True
    predictor.add_new_mask(state, frame_idx=0, obj_id=1, mask=mask)
    results = {index: logits for index, _, logits in predictor.propagate_in_video(state)}
    assert sorted(results) == [0, 1, 2]
    assert ((results[0][0, 0] > 0).numpy() == mask).mean() > 0.95
    assert all(logits.shape == (1, 1, 64, 64) and logits.isfinite().all() for logits in results.values())


def test_the_model_shares_the_segmenters_weights(segmenter):
    model = build_sam2(segmenter)
    assert model.sam_mask_decoder is segmenter.mask_decoder
    assert model.image_encoder is segmenter.student.image_encoder
