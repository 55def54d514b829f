"""Every recipe trains its encoder, and the loop does what its schedule says."""

import copy

import pytest
import torch
from torch import nn

from bundle.laboratory.recipes.catalog import Schedule, train
from bundle.laboratory.recipes.image_text import ImageTextContrast
from bundle.laboratory.recipes.promptable import PromptableSegmentation
from bundle.laboratory.recipes.self_distillation import SelfDistillation
from bundle.teachers.medclip import MedClipSwin
from bundle.teachers.medsam2 import MedSAM2
from bundle.teachers.rad_dino import RadDino


def _tiny_recipes() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    sam = MedSAM2(input_size=64, embed_dim=16, stages=(1, 1, 2, 1), global_att_blocks=(3,), neck_dim=32)
    dino = RadDino(input_size=56, hidden_size=32, num_layers=1, num_heads=2)
    clip = MedClipSwin(input_size=224, embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))
    return {
        "medsam2": PromptableSegmentation(sam, prompts_per_frame=2),
        "rad_dino": SelfDistillation(dino, large_size=56, small_size=28, num_prototypes=16),
        "medclip": ImageTextContrast(clip, reports_per_frame=2),
    }


RECIPES = _tiny_recipes()


def _train(name, frames, steps=2):
    recipe = copy.deepcopy(RECIPES[name])
    return recipe, train(recipe, frames, Schedule(steps=steps, batch_size=4, learning_rate=1e-3, warmup_steps=1))


@pytest.mark.parametrize("name", RECIPES)
def test_two_steps_move_the_encoder_and_give_finite_losses(name, frames):
    recipe, losses = _train(name, frames)
    before = RECIPES[name].encoder.state_dict()
    moved = [key for key, value in recipe.encoder.state_dict().items() if not torch.equal(value, before[key])]
    assert len(losses) == 2
    assert torch.tensor(losses).isfinite().all()
    assert len(moved) > len(before) / 2


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_seed_trains_the_same_weights(name, frames):
    (first, losses), (second, again) = (_train(name, frames, steps=1) for _ in range(2))
    assert losses == again
    for a, b in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", RECIPES)
def test_specialty_numbers_are_shares(name, frames):
    training, held_out = frames.split(1)
    measured = copy.deepcopy(RECIPES[name]).eval().evaluate(training, held_out)
    assert measured
    assert all(0 <= value <= 1 for value in measured.values())


def test_the_rate_warms_up_and_decays_to_a_hundredth():
    schedule = Schedule(steps=100, batch_size=1, learning_rate=1.0, warmup_steps=10)
    rates = [schedule.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[100] == pytest.approx(0.01)


def test_a_loss_that_is_not_finite_stops_training_with_the_remedy(frames):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(1, 1)

        def loss(self, batch, generator):
            return self.encoder(torch.ones(1)).sum() * float("nan")

    with pytest.raises(FloatingPointError, match="step 0 is nan: lower learning_rate"):
        train(Broken(), frames, Schedule(steps=1, batch_size=1, learning_rate=1e-3))
