"""What storing costs in accuracy: float16, int8 after PHI-S, plain int8; and how far teachers are from equivariant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bundle.losses.statistics import FeatureStatistics
from bundle.store.plan import feature_bytes
from bundle.store.precision import INT8_MAX, Float16, PhiSInt8
from bundle.store.store import TeacherIdentity

BATCH_SIZE = 8


@dataclass(frozen=True)
class PrecisionError:
    """One teacher's errors, relative: root mean square of the difference over that of the centered features.

    Attributes:
        teacher: Its name.
        float16_bytes: Disk per frame.
        int8_bytes: Disk per frame.
        float16: Error.
        int8: Error after PHI-S.
        plain_int8: Error of int8 with one step for the whole tensor, as large as its largest value asks.
        horizontal_flip: Difference between features of flipped frames and flipped features.
        vertical_flip: The same, upside down.
    """

    teacher: str
    float16_bytes: int
    int8_bytes: int
    float16: float
    int8: float
    plain_int8: float
    horizontal_flip: float
    vertical_flip: float


@torch.no_grad()
def measure_precision(
    teachers: Mapping[str, nn.Module], fitted: Sequence[Tensor], held_out: Sequence[Tensor]
) -> list[PrecisionError]:
    """Fit int8 on some frames and measure every error on others.

    Args:
        teachers: Live teachers by name.
        fitted: Batches of frames ``(B, 1, H, H)`` in [0, 1], without padding.
        held_out: Batches of other patients' frames.
    """
    errors = []
    for name, teacher in teachers.items():
        identity = TeacherIdentity.of(teacher)
        statistics = FeatureStatistics(identity.embed_dim, identity.address)
        sample = [teacher(frames) for frames in fitted]
        for features in sample:
            statistics.update(features)
        int8 = PhiSInt8.fit(statistics, sample)
        features = torch.cat([teacher(frames) for frames in held_out])
        mean = features.mean(dim=(0, 2, 3), keepdim=True)

        def relative(other: Tensor, features: Tensor = features, mean: Tensor = mean) -> float:
            return float(((other - features).square().mean() / (features - mean).square().mean()).sqrt())

        errors.append(
            PrecisionError(
                teacher=name,
                float16_bytes=feature_bytes(identity, torch.float16),
                int8_bytes=feature_bytes(identity, torch.int8),
                float16=relative(_through(Float16(), features)),
                int8=relative(_through(int8, features)),
                plain_int8=relative(plain_int8(features)),
                horizontal_flip=relative(torch.cat([teacher(frames.flip(3)) for frames in held_out]).flip(3)),
                vertical_flip=relative(torch.cat([teacher(frames.flip(2)) for frames in held_out]).flip(2)),
            )
        )
    return errors


def plain_int8(features: Tensor) -> Tensor:
    """Each frame's features with one step for all channels, and back."""
    step = features.abs().amax(dim=(1, 2, 3), keepdim=True) / INT8_MAX
    return (features / step).round() * step


def _through(codec: Float16 | PhiSInt8, features: Tensor) -> Tensor:
    encode: Callable[[Tensor], Tensor] = codec.encode
    return codec(encode(features))
