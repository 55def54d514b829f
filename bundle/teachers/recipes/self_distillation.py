"""Recipe of the small RAD-DINO: self-distillation without labels, after DINO, iBOT and DINOv2.

An exponential moving average of the student is its teacher. The student sees two large crops with hidden patches and
several small crops; it predicts the teacher's prototype scores of the whole view (DINO, arXiv 2104.14294) and of every
hidden patch (iBOT, arXiv 2111.07832). The teacher's scores are balanced by Sinkhorn-Knopp (DINOv2, arXiv 2304.07193).
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.teachers.rad_dino import RadDino
from bundle.teachers.recipes.frames import FrameBatch, PhantomFrames, images_for, jitter_gray
from bundle.teachers.recipes.probe import probe_patches


class PrototypeHead(nn.Module):
    """Scores of an L2-normalized bottleneck against learned prototypes."""

    def __init__(self, in_channels: int, num_prototypes: int, hidden: int = 384, bottleneck: int = 128) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(in_channels, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Linear(bottleneck, num_prototypes, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:  # (..., C) -> (..., K)
        return F.linear(F.normalize(self.mlp(tokens), dim=-1), F.normalize(self.prototypes.weight, dim=-1))


class SelfDistillation(nn.Module):
    """A vision transformer that learns from its own moving average.

    Args:
        encoder: The encoder to train.
        large_size, small_size: Crops' rows and columns, multiples of the patch size.
        num_small: Small crops of each frame.
        num_prototypes: Clusters that both tasks are scored against.
        momentum: First value of the moving average's momentum; it rises to 1 on a cosine.
        mask_ratio: Share of patches hidden from the student.
    """

    student_temperature = 0.1
    teacher_temperature = 0.05

    def __init__(
        self,
        encoder: RadDino,
        large_size: int = 112,
        small_size: int = 56,
        num_small: int = 4,
        num_prototypes: int = 512,
        momentum: float = 0.99,
        mask_ratio: float = 0.4,
    ) -> None:
        super().__init__()
        self.student = encoder
        self.large_size, self.small_size, self.num_small = large_size, small_size, num_small
        self.momentum, self.mask_ratio = momentum, mask_ratio
        channels = encoder.embed_dim
        self.view_head = PrototypeHead(channels, num_prototypes)
        self.patch_head = PrototypeHead(channels, num_prototypes)
        self.average = copy.deepcopy(nn.ModuleList([self.student, self.view_head, self.patch_head]))
        self.average.requires_grad_(False)

    @property
    def encoder(self) -> RadDino:
        """The moving average: DINO's teacher is better than its student, and is what ships."""
        return self.average[0]

    def loss(self, batch: FrameBatch, generator: torch.Generator) -> Tensor:
        large = [self._view(batch.image, self.large_size, (0.25, 0.7), generator) for _ in range(2)]
        small = [self._view(batch.image, self.small_size, (0.06, 0.25), generator) for _ in range(self.num_small)]
        views = images_for(self.student, torch.cat(large), self.large_size)
        with torch.no_grad():
            self.average.eval()
            view, patches = _score(self.average, views, None)
            view_target = sinkhorn(view / self.teacher_temperature).chunk(2)
            hidden = self._draw_hidden(*patches.shape[:2], generator)
            patch_target = sinkhorn(patches[hidden] / self.teacher_temperature)
        parts = [self.student, self.view_head, self.patch_head]
        view, patches = _score(parts, views, hidden)
        small_view, _ = _score(parts, images_for(self.student, torch.cat(small), self.small_size), None)
        patch_loss = self._cross_entropy(patches[hidden], patch_target)
        predicted = [*view.chunk(2), *small_view.chunk(self.num_small)]
        pairs = [(p, t) for i, p in enumerate(predicted) for j, t in enumerate(view_target) if i != j]
        view_loss = torch.stack([self._cross_entropy(p, t) for p, t in pairs]).mean()
        return view_loss + patch_loss

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

    def _view(self, image: Tensor, size: int, area: tuple[float, float], generator: torch.Generator) -> Tensor:
        return jitter_gray(crop(image, size, area, generator), generator)

    def _draw_hidden(self, count: int, num_patches: int, generator: torch.Generator) -> Tensor:
        """Hidden patches ``(B, P)`` in blocks of 2 x 2, so that neighbours do not give the answer away."""
        side = math.isqrt(num_patches)
        noise = torch.rand(count, 1, -(-side // 2), -(-side // 2), generator=generator)
        noise = noise.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :side, :side]
        return noise.flatten(1) < self.mask_ratio

    def _cross_entropy(self, scores: Tensor, target: Tensor) -> Tensor:
        return -(target * F.log_softmax(scores / self.student_temperature, dim=-1)).sum(-1).mean()


def crop(image: Tensor, size: int, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """One random square of each frame, covering a share of it within ``area``, resampled to ``size``."""
    uniform = torch.rand(3, len(image), generator=generator)
    side = (area[0] + (area[1] - area[0]) * uniform[0]).sqrt()
    centre = (1 - side) * (2 * uniform[1:] - 1)  # (2, B), in affine_grid's [-1, 1]
    zero = torch.zeros_like(side)
    theta = torch.stack([torch.stack([side, zero, centre[0]], 1), torch.stack([zero, side, centre[1]], 1)], 1)
    grid = F.affine_grid(theta, [len(image), 1, size, size], align_corners=False)
    return F.grid_sample(image, grid, align_corners=False)


@torch.no_grad()
def sinkhorn(scores: Tensor, rounds: int = 3) -> Tensor:  # (N, K) -> (N, K)
    """Assignments that use every prototype equally: rows sum to one, columns to N / K."""
    weights = torch.exp(scores - scores.max())
    for _ in range(rounds):
        weights = weights / weights.sum(dim=0, keepdim=True).clamp_min(1e-12)
        weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return weights


def _score(parts: nn.ModuleList | list[nn.Module], views: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
    """Prototype scores of whole views ``(B, K)`` and of their patches ``(B, P, K)``."""
    encoder, view_head, patch_head = parts
    tokens = encoder.model(pixel_values=views, bool_masked_pos=hidden).last_hidden_state
    return view_head(tokens[:, 0]).float(), patch_head(tokens[:, 1:]).float()
