"""A teacher is frozen, and prepares frames as its encoder expects them."""

import pytest
import torch
from torch import nn

from bundle.teachers.backbone import TimmBackbone
from bundle.teachers.base import Teacher, prepare_images, tokens_to_grid
from bundle.teachers.lite_medsam import LiteMedSam
from bundle.teachers.medclip import MedClipResNet, small_medclip
from bundle.teachers.medsam2 import small_medsam2
from bundle.teachers.rad_dino import small_rad_dino

ENCODERS = {
    "medsam2": small_medsam2,
    "rad_dino": small_rad_dino,
    "medclip": small_medclip,
    "medclip_resnet": lambda: MedClipResNet(input_size=64),
    "lite_medsam": LiteMedSam,
    "timm": lambda: TimmBackbone("resnet10t", input_size=64),
}


class Passthrough(nn.Module):
    """Gives its images back, so that a test sees what an encoder would see."""

    input_size = 4
    grid_size = 4
    embed_dim = 3
    mean = (0.5, 0.25, 0.0)
    std = (0.5, 0.25, 2.0)

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(0.9)

    def forward(self, images):
        return self.dropout(images) * self.scale


@pytest.mark.parametrize("name", ENCODERS)
def test_every_teacher_gives_the_features_that_it_announces_and_is_frozen(name):
    teacher = Teacher(name, ENCODERS[name](), weights="random")
    features = teacher(torch.rand(1, 1, 48, 48))
    assert features.shape == (1, teacher.embed_dim, teacher.grid_size, teacher.grid_size)
    assert features.dtype == torch.float32
    assert features.isfinite().all()
    assert teacher.is_frozen


@pytest.mark.parametrize("make", [small_medsam2, small_rad_dino, small_medclip])
def test_a_small_teacher_fits_in_15_megabytes_at_half_precision(make):
    assert 2 * sum(p.numel() for p in make().parameters()) < 15e6


def test_a_teacher_stays_in_evaluation_mode_when_told_to_train():
    teacher = Teacher("passthrough", Passthrough(), "none").train()
    assert teacher.is_frozen
    assert not teacher.encoder.dropout.training


def test_no_gradient_passes_a_teacher():
    frames = torch.rand(1, 1, 4, 4, requires_grad=True)
    assert not Teacher("passthrough", Passthrough(), "none")(frames).requires_grad


def test_features_can_be_used_in_a_loss_that_is_differentiated():
    features = Teacher("passthrough", Passthrough(), "none")(torch.rand(1, 1, 4, 4))
    student = torch.ones(1, requires_grad=True)
    (student * features).sum().backward()
    torch.testing.assert_close(student.grad, features.sum().reshape(1))


def test_thawing_a_teacher_is_refused():
    with pytest.raises(ValueError, match="'passthrough' is frozen; train its encoder"):
        Teacher("passthrough", Passthrough(), "none").requires_grad_()


def test_frames_are_normalized_channel_by_channel():
    features = Teacher("passthrough", Passthrough(), "none")(torch.full((1, 1, 4, 4), 0.75))
    torch.testing.assert_close(features[0, :, 0, 0], torch.tensor([0.5, 2.0, 0.375]))


def test_frames_are_resized_without_aliasing():
    stripes = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(4).expand(1, 1, 16, 16)  # plain sampling would see only black
    images = prepare_images(stripes, 4, torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1))
    torch.testing.assert_close(images[..., 1:3], torch.full((1, 3, 4, 2), 0.25), atol=0.05, rtol=0)


def test_valid_grid_is_the_share_of_image_content():
    valid = torch.zeros(1, 1, 8, 8)
    valid[..., :3] = 1  # of the two columns that fall on each position: all, half, none, none
    grid = Teacher("passthrough", Passthrough(), "none").valid_grid(valid)
    torch.testing.assert_close(grid[0, 0, 0], torch.tensor([1.0, 0.5, 0.0, 0.0]))


def test_tokens_are_laid_row_by_row():
    grid = tokens_to_grid(torch.arange(6.0)[:4].reshape(1, 4, 1), 2)
    assert grid[0, 0].tolist() == [[0, 1], [2, 3]]


def test_normalization_is_no_part_of_the_weights():
    assert set(Teacher("passthrough", Passthrough(), "none").state_dict()) == {"encoder.scale"}


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (1, 1, 4, 6), (1, 4, 4)])
def test_other_than_square_grayscale_frames_are_refused(shape):
    with pytest.raises(ValueError, match=r"square grayscale frames \(B, 1, H, H\), got .* letterbox"):
        Teacher("passthrough", Passthrough(), "none")(torch.zeros(shape))


def test_an_encoder_that_does_not_say_its_sizes_is_refused():
    with pytest.raises(TypeError, match=r"encoder of teacher 'mine' must have .* Linear lacks input_size, grid_size"):
        Teacher("mine", nn.Linear(1, 1), "none")
