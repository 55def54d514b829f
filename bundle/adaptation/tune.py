"""Fine-tune a segmenter on a site's frames beside synthetic ones, and keep the best that has forgotten nothing."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from monai.utils import set_determinism
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from bundle.adaptation.frames import Entry, FrameDraws, collate
from bundle.engines.prepare_batch import PrepareSegmentationBatch
from bundle.keys import IMAGE, LABEL
from bundle.losses.segmentation import KNOWN, SegmentationLoss
from bundle.metrics.overlap import dice
from bundle.segmentation.prompts import PromptSampler
from bundle.segmentation.segmenter import Segmenter
from bundle.segmentation.training import TrainingSegmenter, parameter_groups

MOST_LOST = 0.01
"""Dice that a structure without labels may lose on synthetic frames."""
PATIENCE = 3
"""Looks without a better model, after which the training ends."""
BATCH = 4
"""Frames of the site, and as many synthetic ones, in every step."""


@dataclass(frozen=True)
class TuningPlan:
    """How a model is adapted; the defaults are for a few frames and two cores."""

    encoder_training: str = "last_stage"  # frozen, last_stage or full
    learning_rate: float = 3e-4  # of the decoder; the encoder learns at a third of it
    steps: int = 120  # at most
    minutes: float = 15.0  # at most, for everything
    seed: int = 0
    looks: int = 6  # how often the model is compared with the one it began as

    def __post_init__(self) -> None:
        for name in ("learning_rate", "steps", "minutes", "looks"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class Frames:
    """What a model is adapted with, and what it is judged by."""

    training: Sequence[Entry]
    held_out: Sequence[Entry]  # of the site; may be none
    rehearsed: Sequence[Entry]  # synthetic
    watched: Sequence[Entry]  # synthetic, never trained on

    def labeled(self) -> Tensor:  # (S,) bool
        """Structures with a pixel in any label that is trained on."""
        return torch.stack([entry[LABEL].flatten(1).amax(dim=1) > 0 for entry in self.training]).any(dim=0)


@dataclass(frozen=True)
class TuningScores:
    """What a model's masks score; Dice per structure, NaN where there is no label."""

    step: int
    site: Tensor  # on the held-out frames, or, if there are none, on those that are trained on
    synthetic: Tensor

    def score(self) -> float:
        """Mean Dice on the site's frames."""
        return float(self.site.nanmean())

    def lost(self, start: "TuningScores", labeled: Tensor) -> tuple[float, int]:
        """The largest loss on synthetic frames of a structure without labels, and which."""
        loss = (start.synthetic - self.synthetic).nan_to_num(-1.0).masked_fill(labeled, -1.0)
        return float(loss.max()), int(loss.argmax())


@dataclass(frozen=True)
class Tuned:
    """What came of a training: where it began, where it ended, and the best between, or None."""

    start: TuningScores
    last: TuningScores
    best: TuningScores | None
    seconds: float


def tune(segmenter: Segmenter, frames: Frames, plan: TuningPlan, deadline: float) -> Tuned:
    """Adapt a segmenter in place; it ends with the best weights, or as it was where none are better.

    Better is what scores higher on the site's frames while no structure without labels loses more than
    :data:`MOST_LOST` on the synthetic ones. All layers stay in evaluation mode: batches of a few frames would spoil the
    statistics of batch normalization.

    Args:
        segmenter: On its device.
        frames: To train on and to judge by.
        plan: How.
        deadline: By ``time.monotonic()``; a step that is under way is finished.
    """
    began = time.monotonic()
    set_determinism(plan.seed)
    labeled, judge = frames.labeled(), _Judge(segmenter, frames)
    start = last = judge.look(0)
    judging = time.monotonic() - began
    step_once = _steps(segmenter, frames, plan)
    best, weights, waited = None, copy.deepcopy(segmenter.state_dict()), 0
    every = -(-plan.steps // plan.looks)
    for step in tqdm(range(1, plan.steps + 1), desc="adapt", unit="step", leave=False):
        step_once()
        is_over = time.monotonic() + judging > deadline or step == plan.steps
        if step % every and not is_over:
            continue
        last = judge.look(step)
        is_better = last.score() > (best or start).score() and last.lost(start, labeled)[0] <= MOST_LOST
        waited = 0 if is_better else waited + 1
        if is_better:
            best, weights = last, copy.deepcopy(segmenter.state_dict())
        if is_over or waited == PATIENCE:
            break
    segmenter.load_state_dict(weights)
    segmenter.requires_grad_(True)
    return Tuned(start, last, best, time.monotonic() - began)


def _steps(segmenter: Segmenter, frames: Frames, plan: TuningPlan) -> Callable[[], None]:
    rate = plan.learning_rate
    groups = parameter_groups(segmenter, plan.encoder_training, rate / 3, rate)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    rates = [group["lr"] for group in groups]
    schedule = OneCycleLR(optimizer, rates, total_steps=plan.steps + 1, pct_start=0.1, cycle_momentum=False)
    network, loss = TrainingSegmenter(segmenter).eval(), SegmentationLoss(prompted_weight=0.5)
    prepare = PrepareSegmentationBatch(PromptSampler(seed=plan.seed))
    draws = [FrameDraws(part, BATCH, plan.seed) for part in (frames.training, frames.rehearsed)]
    device = next(segmenter.parameters()).device

    def step() -> None:
        optimizer.zero_grad()
        for drawn in draws:  # one after the other, so that a site with one structure counts as much as twelve synthetic
            batch = drawn.draw()
            images, target, _, prompts = prepare(batch, device)
            loss(network(images, **prompts), {**target, KNOWN: batch[KNOWN].to(device)}).backward()
        nn.utils.clip_grad_norm_(segmenter.parameters(), 5.0)
        optimizer.step()
        schedule.step()

    return step


@dataclass(frozen=True)
class _Judge:
    segmenter: Segmenter
    frames: Frames

    def look(self, step: int) -> TuningScores:
        site = self.frames.held_out or self.frames.training
        return TuningScores(step, mean_dice_of(self.segmenter, site), mean_dice_of(self.segmenter, self.frames.watched))


@torch.inference_mode()
def mean_dice_of(segmenter: Segmenter, entries: Sequence[Entry]) -> Tensor:  # (S,)
    """Mean Dice of every structure over the frames where it is, on the model's square; NaN where it is in none."""
    device = next(segmenter.parameters()).device
    scores = []
    for first in range(0, len(entries), BATCH):
        batch = collate(entries[first : first + BATCH])
        masks = (segmenter(batch[IMAGE].to(device)) > 0).cpu()
        scores.append(dice(masks, batch[LABEL]))
    return torch.cat(scores).nanmean(dim=0)
