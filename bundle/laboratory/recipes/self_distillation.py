"""Recipe of the small RAD-DINO: self-distillation without labels, after DINO, iBOT and DINOv2.

An exponential moving average of the student is its teacher. The student sees two large crops with hidden patches and
several small crops; it predicts the teacher's prototype scores of the whole view (DINO, arXiv 2104.14294), of every
hidden patch (iBOT, arXiv 2111.07832) and of the same places in the other large crop (dense correspondence, as in
DenseCL, arXiv 2011.09157). The scores are balanced by Sinkhorn-Knopp, as in DINOv2 (arXiv 2304.07193). Each patch of a
large crop also says where in the whole frame it lies, which only the anatomy can tell it (as in LOCA, arXiv
2212.02400); this is what makes a short run learn where things are.
"""

import copy
import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.laboratory.recipes.frames import (
    FrameBatch,
    PhantomFrames,
    cells_of,
    draw_crops,
    images_for,
    jitter_gray,
    look_up,
    probe_patches,
    take_crops,
)
from bundle.teachers.rad_dino import RadDino

STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.05
LARGE_AREA, SMALL_AREA = (0.25, 1.0), (0.05, 0.2)  # shares of the frame
LOCATION_CELLS = 16  # along each side of the frame


class PrototypeHead(nn.Module):
    """Cosines of a bottleneck with learned prototypes.

    The bottleneck is standardized over the batch, without weights. Early in training all tokens point the same way;
    without this step they would all score alike, and a short run would learn nothing.
    """

    def __init__(self, in_channels: int, num_prototypes: int, hidden: int = 384, bottleneck: int = 128) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(in_channels, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.standardize = nn.BatchNorm1d(bottleneck, affine=False, track_running_stats=False)
        self.prototypes = nn.Linear(bottleneck, num_prototypes, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:  # (..., C) -> (..., K)
        found = self.standardize(self.mlp(tokens).flatten(0, -2).float()).unflatten(0, tokens.shape[:-1])
        return F.linear(F.normalize(found, dim=-1), F.normalize(self.prototypes.weight, dim=-1)).float()


class SelfDistillation(nn.Module):
    """A vision transformer that learns from its own moving average.

    Args:
        encoder: The encoder to train.
        large_size: Large crops' rows and columns, a multiple of the patch size.
        small_size: Small crops' rows and columns, likewise.
        num_small: Small crops of each frame.
        num_prototypes: Clusters that both tasks are scored against.
        momentum: First value of the moving average's momentum; it rises to 1 on a cosine.
        mask_ratio: Share of patches hidden from the student.
    """

    def __init__(
        self,
        encoder: RadDino,
        large_size: int = 112,
        small_size: int = 56,
        num_small: int = 2,
        num_prototypes: int = 256,
        momentum: float = 0.95,
        mask_ratio: float = 0.4,
    ) -> None:
        super().__init__()
        self.student = encoder
        self.large_size, self.small_size, self.num_small = large_size, small_size, num_small
        self.momentum, self.mask_ratio = momentum, mask_ratio
        channels = encoder.embed_dim
        self.view_head = PrototypeHead(channels, num_prototypes)
        self.patch_head = PrototypeHead(channels, num_prototypes)
        self.location_head = nn.Linear(channels, LOCATION_CELLS**2)
        self.average = copy.deepcopy(nn.ModuleList([self.student, self.view_head, self.patch_head]))
        self.average.requires_grad_(False)

    @property
    def encoder(self) -> RadDino:
        """The moving average: DINO's teacher is better than its student, and is what ships."""
        return cast(RadDino, self.average[0])

    def loss(self, batch: FrameBatch, generator: torch.Generator) -> Tensor:
        crops = [draw_crops(len(batch.image), LARGE_AREA, generator) for _ in range(2)]
        large = [jitter_gray(take_crops(batch.image, crop, self.large_size), generator) for crop in crops]
        views = images_for(self.student, torch.cat(large), self.large_size)
        view_target, patch_target = self._targets(views)
        hidden = self._draw_hidden(patch_target.shape[0], patch_target.shape[1], generator)
        parts = [self.student, self.view_head, self.patch_head]
        view, patches, tokens = _score(parts, views, hidden)
        other, is_shared = self._other_view(patch_target, torch.cat(crops))
        small_view, _, _ = _score(parts, self._small_views(batch.image, generator), None)
        predicted = [*view.chunk(2), *small_view.chunk(self.num_small)]
        pairs = [(p, t) for i, p in enumerate(predicted) for j, t in enumerate(view_target.chunk(2)) if i != j]
        view_loss = torch.stack([self._cross_entropy(p, t) for p, t in pairs]).mean()
        hidden_loss = self._cross_entropy(patches[hidden], patch_target[hidden])
        place_loss = self._cross_entropy(patches[is_shared], other[is_shared])
        return view_loss + hidden_loss + place_loss + self._location_loss(tokens, torch.cat(crops))

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the average towards the student."""
        momentum = 1 - (1 - self.momentum) * (math.cos(math.pi * progress) + 1) / 2
        learned = nn.ModuleList([self.student, self.view_head, self.patch_head])
        for old, new in zip(self.average.parameters(), learned.parameters(), strict=True):
            old.lerp_(new, 1 - momentum)

    def evaluate(self, train: PhantomFrames, held_out: PhantomFrames) -> dict[str, float]:
        """A linear probe on patch tokens: which structures lie in each patch?"""
        return probe_patches(self.encoder, train, held_out)

    @torch.no_grad()
    def _targets(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """The average's balanced prototype scores of views ``(B, K)`` and of their patches ``(B, P, K)``."""
        self.average.eval()
        view, patches, _ = _score(self.average, views, None)
        balanced = sinkhorn(patches.flatten(0, 1) / TEACHER_TEMPERATURE)
        return sinkhorn(view / TEACHER_TEMPERATURE), balanced.unflatten(0, patches.shape[:2])

    def _location_loss(self, tokens: Tensor, crops: Tensor) -> Tensor:
        cells = cells_of(crops, math.isqrt(tokens.shape[1]), LOCATION_CELLS)
        return F.cross_entropy(self.location_head(tokens).float().flatten(0, 1), cells.flatten())

    def _other_view(self, target: Tensor, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Patch targets ``(B, P, K)`` from the same places in the frame's other view, and where both views overlap."""
        side = math.isqrt(target.shape[1])
        maps = target.transpose(1, 2).unflatten(2, (side, side))
        found, is_shared = look_up(maps.roll(len(maps) // 2, 0), crops, crops.roll(len(crops) // 2, 0))
        return found.flatten(1, 2), is_shared.flatten(1)

    def _small_views(self, image: Tensor, generator: torch.Generator) -> Tensor:
        crops = [draw_crops(len(image), SMALL_AREA, generator) for _ in range(self.num_small)]
        views = [jitter_gray(take_crops(image, crop, self.small_size), generator) for crop in crops]
        return images_for(self.student, torch.cat(views), self.small_size)

    def _draw_hidden(self, count: int, num_patches: int, generator: torch.Generator) -> Tensor:
        """Hidden patches ``(B, P)`` in blocks of 2 x 2, so that neighbors do not give the answer away."""
        side = math.isqrt(num_patches)
        noise = torch.rand(count, 1, -(-side // 2), -(-side // 2), generator=generator)
        noise = noise.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :side, :side]
        return noise.flatten(1) < self.mask_ratio

    def _cross_entropy(self, scores: Tensor, target: Tensor) -> Tensor:
        return -(target * F.log_softmax(scores / STUDENT_TEMPERATURE, dim=-1)).sum(-1).mean()


@torch.no_grad()
def sinkhorn(scores: Tensor, rounds: int = 3) -> Tensor:  # (N, K) -> (N, K)
    """Assignments that use every prototype equally: rows sum to one, columns to N / K."""
    weights = torch.exp(scores - scores.max())
    for _ in range(rounds):
        weights = weights / weights.sum(dim=0, keepdim=True).clamp_min(1e-12)
        weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return weights


def _score(
    parts: nn.ModuleList | list[nn.Module], views: Tensor, hidden: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Prototype scores of views ``(B, K)`` and of their patches ``(B, P, K)``, and these patches' tokens."""
    encoder, view_head, patch_head = parts
    tokens = cast(RadDino, encoder).model(pixel_values=views, bool_masked_pos=hidden).last_hidden_state
    return view_head(tokens[:, 0]), patch_head(tokens[:, 1:]), tokens[:, 1:]
