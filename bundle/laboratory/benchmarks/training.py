"""Engine options on and off: speed and memory of phase 1's training step, when the teachers' features are given."""

import multiprocessing
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bundle.engines.amp import MixedPrecision
from bundle.engines.optimizer import GradientClipping, WeightAverage
from bundle.losses.balance import AttentionEntropyFloor
from bundle.losses.distances import Cosine, MeanSquared, WeightedSum
from bundle.losses.distillation import DistillationLoss
from bundle.losses.standardize import PhiS
from bundle.losses.statistics import FeatureStatistics
from bundle.students.encoder import StudentEncoder
from bundle.students.heads import ProjectionHead, StudentWithHeads
from bundle.students.trunk import TimmTrunk

Teachers = tuple[tuple[str, int, int], ...]
TEACHERS: Teachers = (("medsam2", 256, 32), ("rad_dino", 768, 37), ("medclip", 768, 7))
"""Name, channels and grid of the full-size teachers' features."""
EMBED_DIM = 256
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Options:
    """What a training step is run with; the defaults are those of ``configs/distill.json``.

    Attributes:
        precision: Of the forward pass.
        is_compiled: ``torch.compile``.
        is_channels_last: Memory format of the network's weights.
        is_fused: AdamW in one kernel.
        accumulation_steps: Batches, each so much smaller, per optimizer step.
        gradient_clip: Largest norm; None clips nothing.
        ema_decay: Of the averaged weights; 0 keeps none.
    """

    precision: str = "float32"
    is_compiled: bool = False
    is_channels_last: bool = True
    is_fused: bool = True
    accumulation_steps: int = 1
    gradient_clip: float | None = 5.0
    ema_decay: float = 0.0


DEFAULT = "default"
VARIANTS = {
    DEFAULT: Options(),
    "bfloat16": Options(precision="bfloat16"),
    "float16": Options(precision="float16"),
    "torch.compile": Options(is_compiled=True),
    "bfloat16 and torch.compile": Options(precision="bfloat16", is_compiled=True),
    "without channels-last": Options(is_channels_last=False),
    "without fused AdamW": Options(is_fused=False),
    "4 batches of a quarter per step": Options(accumulation_steps=4),
    "without gradient clipping": Options(gradient_clip=None),
    "average of the weights": Options(ema_decay=0.998),
}
"""Each option against the default; float16 only on a GPU."""


@dataclass(frozen=True)
class TrainingSetting:
    """What is the same for all variants.

    Attributes:
        backbone: The student's timm backbone.
        image_size: Side of the frames.
        batch_size: Frames per optimizer step.
        device: "cpu" or "cuda".
        teachers: Name, channels and grid of each teacher's features.
    """

    backbone: str = "efficientvit_b0"
    image_size: int = 512
    batch_size: int = 4
    device: str = "cpu"
    teachers: Teachers = TEACHERS


class TrainingStep:
    """A trainer of phase 1 on frames and features that stay in memory.

    Args:
        setting: Student and frames.
        options: What to run it with.
        steps: Optimizer steps of a round.
    """

    def __init__(self, setting: TrainingSetting, options: Options, steps: int) -> None:
        torch.manual_seed(0)
        self.setting = setting
        device = torch.device(setting.device)
        layout = torch.channels_last if options.is_channels_last else torch.contiguous_format
        self.network = make_network(setting).to(device).to(memory_format=layout)
        self.loss = make_loss(setting.teachers).to(device)
        average = WeightAverage(self.network, options.ema_decay)
        parameters = [*self.network.parameters(), *self.loss.parameters()]
        handlers: list[Any] = [average]
        if options.gradient_clip is not None:
            handlers.append(GradientClipping(options.gradient_clip))
        size = setting.batch_size // options.accumulation_steps
        batches = [make_batch(replace(setting, batch_size=size))] * (steps * options.accumulation_steps)
        self.trainer = SupervisedTrainer(
            device=device,
            max_epochs=1,
            train_data_loader=batches,
            network=self.network,
            optimizer=torch.optim.AdamW(parameters, lr=1e-4, fused=options.is_fused),
            loss_function=self.loss,
            prepare_batch=_to_device,
            inferer=MixedPrecision(options.precision, device),
            train_handlers=handlers,
            amp=options.precision == "float16",
            amp_kwargs={"enabled": False},
            compile=options.is_compiled,
            accumulation_steps=options.accumulation_steps,
            decollate=False,
            optim_set_to_none=True,
        )

    def run(self) -> None:
        """One more round, until the device is done."""
        self.trainer.state.max_epochs = self.trainer.state.epoch + 1
        self.trainer.run()
        if self.setting.device == "cuda":
            torch.cuda.synchronize()


def measure_training(
    setting: TrainingSetting,
    names: Sequence[str] | None = None,
    rounds: int = 5,
    steps: int = 2,
    is_cpu_time: bool = False,
    with_memory: bool = True,
) -> dict[str, Any]:
    """Let the variants take turns, round by round, and compare each with the default of its own round.

    Args:
        setting: Student and frames.
        names: Variants; all that the device can do unless given. The default is always measured.
        rounds: Rounds that count; one more, which compiles and allocates, does not.
        steps: Optimizer steps of a variant in a round.
        is_cpu_time: Count the CPU time of this process instead of the time that passes: for a busy machine.
        with_memory: Also measure memory, each variant in a process of its own.

    Returns:
        The setting, ``gflop_per_image`` (forward and backward), and ``options``: per variant ``images_per_second``, its
        ``ratio`` to the default with the lowest and the highest round, and ``peak_memory_mb``.

    Raises:
        ValueError: If a name is unknown, or the batch size is not a multiple of 4.
    """
    if setting.batch_size % 4:
        raise ValueError(
            f"batch_size must be a multiple of 4, which the accumulation divides, got {setting.batch_size}"
        )
    unknown = [name for name in names or () if name not in VARIANTS]
    if unknown:
        raise ValueError(f"unknown options {unknown}, expected some of {list(VARIANTS)}")
    wanted = names or [name for name in VARIANTS if name != "float16" or setting.device == "cuda"]
    chosen = {name: VARIANTS[name] for name in dict.fromkeys([DEFAULT, *wanted])}
    seconds = _take_turns(setting, chosen, rounds, steps, time.process_time if is_cpu_time else time.perf_counter)
    options = []
    for name, variant in chosen.items():
        ratios = [base / own for base, own in zip(seconds[DEFAULT], seconds[name], strict=True)]
        options.append(
            {
                "name": name,
                "images_per_second": round(steps * setting.batch_size / median(seconds[name]), 3),
                "ratio": round(median(ratios), 3),
                "lowest_ratio": round(min(ratios), 3),
                "highest_ratio": round(max(ratios), 3),
                "peak_memory_mb": round(measure_memory(setting, variant)) if with_memory else None,
            }
        )
    return {
        **asdict(setting),
        "clock": "CPU time" if is_cpu_time else "wall time",
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "steps": steps,
        "gflop_per_image": round(count_flops(setting) / 1e9, 2),
        "options": options,
    }


def measure_memory(setting: TrainingSetting, options: Options) -> float:
    """Largest memory of two steps in a new process, in MiB: of the GPU's allocator, or what the process grew by."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (setting, options))


def count_flops(setting: TrainingSetting) -> int:
    """Floating-point operations of one training step, forward and backward, per image."""
    step = TrainingStep(replace(setting, batch_size=4, device="cpu"), Options(), steps=1)
    with FlopCounterMode(display=False) as counter:
        step.run()
    return counter.get_total_flops() // 4


def make_network(setting: TrainingSetting) -> StudentWithHeads:
    """The student with a head for every teacher."""
    student = StudentEncoder(TimmTrunk(setting.backbone), EMBED_DIM)
    heads = {name: ProjectionHead(EMBED_DIM, channels, grid) for name, channels, grid in setting.teachers}
    return StudentWithHeads(student, heads)


def make_loss(teachers: Teachers = TEACHERS) -> DistillationLoss:
    """The default loss, its standardizers from random features."""
    standardizers = {}
    for name, channels, grid in teachers:
        statistics = FeatureStatistics(channels, "random")
        statistics.update(torch.randn(2, channels, grid, grid))
        standardizers[name] = PhiS.from_statistics(statistics)
    distance = WeightedSum([MeanSquared(), Cosine()], [1.0, 1.0])
    return DistillationLoss(standardizers, distance, AttentionEntropyFloor(EMBED_DIM, len(teachers)))


def make_batch(setting: TrainingSetting) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """Random frames with a target as ``PrepareDistillationBatch`` gives it."""
    size = setting.batch_size
    return torch.rand(size, 1, setting.image_size, setting.image_size), {
        "features": {name: torch.randn(size, channels, grid, grid) for name, channels, grid in setting.teachers},
        "valid": {name: torch.ones(size, 1, grid, grid) for name, _, grid in setting.teachers},
    }


def _to_device(batch: Any, device: torch.device, non_blocking: bool = False, **_: Any) -> tuple[Tensor, Any]:
    frames, target = batch
    moved = {
        kind: {name: value.to(device, non_blocking=non_blocking) for name, value in entries.items()}
        for kind, entries in target.items()
    }
    return frames.to(device, non_blocking=non_blocking), moved


def _take_turns(
    setting: TrainingSetting, variants: Mapping[str, Options], rounds: int, steps: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    training = {name: TrainingStep(setting, options, steps) for name, options in variants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in training}
    for number in range(rounds + 1):
        for name, step in training.items():
            start = clock()
            step.run()
            if number:
                seconds[name].append(clock() - start)
    return seconds


def _peak_memory(setting: TrainingSetting, options: Options) -> float:
    before = _peak_of_process()
    TrainingStep(setting, options, steps=2).run()
    if setting.device == "cuda":
        return torch.cuda.max_memory_allocated() / MEBIBYTE
    return _peak_of_process() - before


def _peak_of_process() -> float:
    """MiB; from Linux, since ``getrusage`` begins with what the parent process had."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]
