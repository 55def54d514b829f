"""Every student family fits SAM 2's image encoder, alone and under mixed precision."""

import pytest
import torch

from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk

BACKBONES = ("efficientvit_b0", "repvit_m0_9", "tiny_vit_5m_224", "tf_efficientnet_lite0")


@pytest.fixture(scope="module", params=BACKBONES)
def student(request) -> StudentEncoder:
    torch.manual_seed(0)
    return StudentEncoder(TimmTrunk(request.param)).eval()


@torch.no_grad()
def test_the_maps_are_sam_2s_at_strides_4_8_and_16(student):
    output = student(torch.rand(1, 1, 64, 96))
    assert [tuple(level.shape) for level in output["backbone_fpn"]] == [
        (1, 256, 16, 24),
        (1, 256, 8, 12),
        (1, 256, 4, 6),
    ]
    assert torch.equal(output["vision_features"], output["backbone_fpn"][-1])


@torch.no_grad()
def test_the_embedding_alone_is_the_image_encoders(student):
    frames = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(student.embed(frames), student(frames)["vision_features"])


@torch.no_grad()
def test_top_down_maps_are_a_feature_pyramid_on_sam_2s_laterals(student):
    frames = torch.rand(1, 1, 64, 64)
    output, stages = student(frames), student.stages(frames)
    maps = student.top_down(stages)
    twice = torch.nn.Upsample(scale_factor=2, mode="nearest")
    torch.testing.assert_close(maps[16], output["vision_features"])
    torch.testing.assert_close(maps[8], output["backbone_fpn"][1] + twice(maps[16]))
    torch.testing.assert_close(maps[4], output["backbone_fpn"][0] + twice(maps[8]))
    assert list(student.top_down(stages, finest=16)) == [16]


def test_gradients_reach_the_first_layer(student):
    student.embed(torch.rand(2, 1, 64, 64)).square().mean().backward()
    gradient = next(student.trunk.parameters()).grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


@torch.no_grad()
def test_efficientvit_stays_finite_where_float16_attention_overflows():
    torch.manual_seed(0)
    student = StudentEncoder(TimmTrunk("efficientvit_b0")).eval()
    attention = next(m for m in student.modules() if hasattr(m, "aggreg"))
    q = k = v = torch.full((1, 2, 64, 16), 60.0)
    exact = attention._attn(q, k, v)
    with torch.autocast("cpu", torch.float16):
        assert torch.isfinite(attention._attn(q.half(), k.half(), v.half())).all()
        overflowing = (q.half() @ (k.half().transpose(-1, -2) @ v.half())).isfinite().all()
    assert not overflowing, "the case must overflow without float32, or the test shows nothing"
    assert exact.isfinite().all()


@pytest.mark.parametrize(("name", "last"), [("efficientvit_b0", "stages_3"), ("tf_efficientnet_lite0", "blocks.6")])
def test_the_last_of_its_stages_is_the_deepest(name, last):
    trunk = TimmTrunk(name)
    assert trunk.stages()[-1] is trunk.backbone.get_submodule(last)
    assert sum(p.numel() for part in trunk.stages() for p in part.parameters()) == sum(
        p.numel() for p in trunk.parameters()
    )


def test_an_unknown_backbone_is_refused_with_similar_names():
    with pytest.raises(ValueError, match=r"timm model, got 'efficientvit_b9'.*efficientvit_b0"):
        TimmTrunk("efficientvit_b9")


def test_a_backbone_with_other_strides_is_refused():
    with pytest.raises(ValueError, match=r"strides \(4, 8, 16, 32\), vit_tiny_patch16_224 has \(16, 16, 16\)"):
        TimmTrunk("vit_tiny_patch16_224")


def test_a_backbone_of_one_image_size_is_refused_with_others():
    with pytest.raises(ValueError, match=r"any size, swin_tiny_patch4_window7_224 takes one only: .*efficientvit_b0"):
        TimmTrunk("swin_tiny_patch4_window7_224")


@pytest.mark.parametrize(("shape", "message"), [((1, 3, 64, 64), "grayscale"), ((1, 1, 60, 64), "multiples of 32")])
def test_frames_that_do_not_fit_are_refused(shape, message):
    student = StudentEncoder(TimmTrunk("efficientvit_b0"))
    with pytest.raises(ValueError, match=message):
        student(torch.rand(shape))
