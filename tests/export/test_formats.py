"""What the exported graphs give: logits at stride 4 or masks, the same as the segmenter's, for any batch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.export.formats import (
    FRAMES,
    BinaryMasks,
    CoarseLogits,
    export_onnx,
    export_program,
    export_torchscript,
    logit_of,
)
from bundle.export.quantize import calibration_frames
from bundle.phantom import generate_study, make_phantom_dataset
from bundle.segmentation.segmenter import Segmenter
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk

SIZE = 64


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0"), 64), ("bolus", "hyoid", "c2"), SIZE).eval()


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.from_numpy(generate_study(seed=5, size=SIZE, num_frames=3).frames)


def run_program(network: nn.Module, frames: Tensor, folder) -> Tensor:
    return torch.export.load(export_program(network, SIZE, folder / "model.pt2")).module()(frames)


def run_torchscript(network: nn.Module, frames: Tensor, folder) -> Tensor:
    return torch.jit.load(export_torchscript(network, SIZE, folder / "model.ts"))(frames)


def run_onnx(network: nn.Module, frames: Tensor, folder) -> Tensor:
    import onnxruntime

    path = export_onnx(network, SIZE, folder / "model.onnx")
    assert [file.name for file in folder.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {FRAMES: frames.numpy()})[0])


FORMATS = {"pt2": run_program, "torchscript": run_torchscript, "onnx": run_onnx}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@torch.no_grad()
def test_masks_are_thresholded_inside_the_graph_for_any_batch(segmenter, frames, tmp_path, name):
    threshold = float(segmenter(frames).sigmoid().mean())  # random weights: about the middle of what they give
    masks = FORMATS[name](BinaryMasks(segmenter, threshold), frames, tmp_path)
    expected = segmenter(frames).sigmoid() > threshold
    assert masks.dtype == torch.uint8
    assert 0.01 < expected.float().mean() < 0.99
    assert (masks.bool() != expected).float().mean() < 1e-3


@torch.no_grad()
def test_coarse_logits_enlarged_are_the_segmenters(segmenter, frames):
    coarse = CoarseLogits(segmenter)(frames)
    assert coarse.shape == (3, 3, SIZE // 4, SIZE // 4)
    torch.testing.assert_close(F.interpolate(coarse, scale_factor=4, mode="bilinear"), segmenter(frames))


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.75])
def test_the_logit_of_a_probability(threshold):
    assert torch.tensor(logit_of(threshold)).sigmoid().item() == pytest.approx(threshold)


def test_a_threshold_that_is_no_probability_is_refused(segmenter):
    with pytest.raises(ValueError, match="threshold must be a probability between 0 and 1, got 0"):
        BinaryMasks(segmenter, threshold=0)


def test_calibration_frames_are_those_of_training_patients():
    frames = calibration_frames(SIZE, num_frames=6)
    assert frames.shape == (6, 1, SIZE, SIZE)
    torch.testing.assert_close(frames[:4], torch.from_numpy(generate_study(0, SIZE, 4).frames))
    torch.testing.assert_close(frames[4:], torch.from_numpy(generate_study(1, SIZE, 4).frames[:2]))


def test_calibration_frames_of_a_data_list_are_spread_over_its_training_section(tmp_path):
    datalist = make_phantom_dataset(tmp_path / "data", 2, 1, 1, size=SIZE, num_frames=4, formats=("png",))
    frames = calibration_frames(SIZE, num_frames=4, datalist=datalist)
    studies = [torch.from_numpy(generate_study(seed, SIZE, 4).frames[::2]) for seed in (0, 1)]
    torch.testing.assert_close(frames, torch.cat(studies), rtol=0, atol=1 / 255)


def test_calibration_needs_frames():
    with pytest.raises(ValueError, match="calibration needs at least one frame, got 0"):
        calibration_frames(SIZE, num_frames=0)
