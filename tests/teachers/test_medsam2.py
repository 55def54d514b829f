"""MedSAM2's features are SAM 2's image embedding, from a SAM 2 checkpoint."""

import pytest
import torch
from safetensors.torch import save_file

from bundle.teachers.medsam2 import MedSAM2, load_medsam2, small_medsam2
from bundle.weights import WeightsError


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return MedSAM2(input_size=64, embed_dim=8, stages=(1, 1, 2, 1), global_att_blocks=(3,), neck_dim=16)


@pytest.fixture
def sam2_checkpoint(tiny, tmp_path):
    """A SAM 2 checkpoint as published: the image encoder among the other parts, under "model"."""
    others = {key: torch.zeros(1) for key in ("sam_mask_decoder.conv_s0.weight", "no_mem_embed", "memory_encoder.x")}
    torch.save({"model": tiny.published_state_dict() | others}, tmp_path / "MedSAM2_latest.pt")
    return tmp_path / "MedSAM2_latest.pt"


def make_tiny():
    return MedSAM2(input_size=64, embed_dim=8, stages=(1, 1, 2, 1), global_att_blocks=(3,), neck_dim=16)


@pytest.mark.parametrize("encoder", [make_tiny, small_medsam2])
def test_features_are_sam_2_s_own_image_embedding(encoder):
    encoder = encoder().eval()
    images = torch.randn(1, 3, encoder.input_size, encoder.input_size)
    torch.testing.assert_close(encoder(images), encoder.image_encoder(images)["vision_features"])


def test_a_whole_sam_2_checkpoint_loads_from_its_file_or_folder(tiny, sam2_checkpoint):
    frames = torch.rand(1, 1, 64, 64)
    images = (frames - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    expected = tiny.eval()(images).detach()
    for checkpoint in (sam2_checkpoint, sam2_checkpoint.parent):
        teacher = load_medsam2(checkpoint, make_tiny())
        torch.testing.assert_close(teacher(frames), expected)
        assert "MedSAM2_latest.pt" in teacher.weights


def test_the_image_encoder_alone_loads_at_half_precision(tiny, tmp_path):
    save_file({key: value.half() for key, value in tiny.published_state_dict().items()}, tmp_path / "small.safetensors")
    teacher = load_medsam2(tmp_path / "small.safetensors", make_tiny())
    torch.testing.assert_close(teacher.encoder.state_dict(), tiny.state_dict(), atol=1e-3, rtol=1e-3)


def test_a_part_that_sam_2_does_not_have_is_an_error(tiny, tmp_path):
    torch.save({"model": tiny.published_state_dict() | {"adapter.weight": torch.ones(1)}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"other.pt does not fit MedSAM2: .* 1 unexpected \(adapter.weight\)"):
        load_medsam2(tmp_path / "other.pt", make_tiny())


def test_another_size_of_sam_2_is_an_error(sam2_checkpoint):
    with pytest.raises(WeightsError, match=r"does not fit MedSAM2: .* of another shape .*architecture"):
        load_medsam2(sam2_checkpoint, small_medsam2())


def test_an_input_size_off_the_stride_is_refused():
    with pytest.raises(ValueError, match="multiple of 32, SAM 2's coarsest stride, got 500"):
        MedSAM2(input_size=500)


@pytest.mark.parametrize("block", [4, 5])
def test_global_attention_where_the_trunk_cannot_have_it_is_refused(block):
    with pytest.raises(ValueError, match=rf"global_att_blocks must .* \[0, 3\], got \({block},\)"):
        MedSAM2(input_size=64, embed_dim=8, stages=(1, 1, 2, 1), global_att_blocks=(block,))
