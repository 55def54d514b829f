"""An epoch of phase 1 from the store against one with live full-size teachers: time, work, and waiting for data."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from bundle.data.datalist import load_datalist
from bundle.engines.prepare_batch import PrepareDistillationBatch, PrepareStoredBatch
from bundle.keys import IMAGE
from bundle.laboratory.benchmarks.training import Setting, make_loss, make_network
from bundle.phantom import make_phantom_dataset
from bundle.store.dataset import StoredViews
from bundle.store.fill import StoreFiller
from bundle.store.passes import FillOptions
from bundle.store.views import ViewRecipe
from bundle.teachers.base import Teacher
from bundle.teachers.medclip import MedClipSwin
from bundle.teachers.medsam2 import MedSAM2
from bundle.teachers.rad_dino import RadDino
from bundle.transforms.letterbox import Letterboxd
from bundle.transforms.load import LoadFramed

BACKBONES = ("efficientvit_b0", "repvit_m0_9", "tiny_vit_5m_224")


@dataclass(frozen=True)
class EpochTimes:
    """Of one student, medians over the rounds.

    Attributes:
        backbone: The student's timm backbone.
        live_seconds: An epoch with live teachers.
        stored_seconds: The same batches from the store.
        compute_ratio: Floating-point operations of teachers and student, over those of the student alone.
        waiting: Share of the stored epoch's time in which the step waits for its batch.
    """

    backbone: str
    live_seconds: float
    stored_seconds: float
    compute_ratio: float
    waiting: float

    @property
    def speedup(self) -> float:
        return self.live_seconds / self.stored_seconds


class Epoch:
    """Epochs of phase 1 over one loader, with the time that goes into getting batches.

    Args:
        setting: Student and device.
        loader: Gives ``StoredViews``' batches.
        prepare_batch: Live or stored.
    """

    def __init__(self, setting: Setting, loader: DataLoader, prepare_batch: Any) -> None:
        torch.manual_seed(0)
        device = torch.device(setting.device)
        self.network = make_network(setting).to(device).to(memory_format=torch.channels_last)
        loss = make_loss().to(device)
        self.device = device
        self.waited = self._asked = 0.0
        self.trainer = SupervisedTrainer(
            device=device,
            max_epochs=1,
            train_data_loader=loader,
            network=self.network,
            optimizer=torch.optim.AdamW([*self.network.parameters(), *loss.parameters()], lr=1e-4, fused=True),
            loss_function=loss,
            prepare_batch=prepare_batch,
            decollate=False,
            optim_set_to_none=True,
        )
        self.trainer.add_event_handler(Events.GET_BATCH_STARTED, self._ask)
        self.trainer.add_event_handler(Events.GET_BATCH_COMPLETED, self._get)

    def run(self) -> tuple[float, float]:
        """One more epoch: its seconds, and the seconds of it that were spent on waiting."""
        self.waited = 0.0
        start = time.perf_counter()
        self.trainer.state.max_epochs = self.trainer.state.epoch + 1
        self.trainer.run()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, self.waited

    def _ask(self, _engine: Engine) -> None:
        self._asked = time.perf_counter()

    def _get(self, _engine: Engine) -> None:
        self.waited += time.perf_counter() - self._asked


def measure_epochs(
    backbones: Sequence[str] = BACKBONES,
    image_size: int = 512,
    num_frames: int = 8,
    batch_size: int = 2,
    rounds: int = 3,
    device: str = "cpu",
    num_workers: int = 0,
) -> list[EpochTimes]:
    """Fill a store with random-weight teachers' features of phantom frames, then let both ways take turns.

    Args:
        backbones: Students.
        image_size: Side of the frames.
        num_frames: Frames of an epoch.
        batch_size: Frames of a step.
        rounds: Epochs of each way that count; one more does not.
        device: "cpu" or "cuda".
        num_workers: Processes that read the store.
    """
    teachers = full_size_teachers()
    with tempfile.TemporaryDirectory() as name:
        datalist = make_phantom_dataset(Path(name) / "data", 1, 1, 1, num_frames=num_frames, size=image_size)
        entries = load_datalist(datalist, "training")
        recipe = ViewRecipe([LoadFramed(None), Letterboxd(IMAGE, image_size)])
        store = Path(name) / "store"
        options = FillOptions(image_size, batch_size=batch_size, device=device)
        StoreFiller(store, recipe, entries, [], teachers, 0, options).run()
        views = StoredViews(store, recipe, entries, teachers, num_views=0)
        loader = DataLoader(
            views, batch_size, num_workers=num_workers, persistent_workers=num_workers > 0, pin_memory=device != "cpu"
        )
        ways = {"live": PrepareDistillationBatch(teachers), "stored": PrepareStoredBatch(teachers, views.decoders)}
        teacher_flops = _flops_of_teachers(teachers, image_size)
        settings = [Setting(backbone, image_size, batch_size, device) for backbone in backbones]
        return [_measure(setting, loader, ways, teacher_flops, rounds) for setting in settings]


def full_size_teachers() -> dict[str, Teacher]:
    """The three published architectures with random weights: their time does not depend on what they know."""
    encoders: dict[str, nn.Module] = {"medsam2": MedSAM2(), "rad_dino": RadDino(), "medclip": MedClipSwin()}
    return {name: Teacher(name, encoder, "random, for a benchmark") for name, encoder in encoders.items()}


def _measure(
    setting: Setting, loader: DataLoader, ways: Mapping[str, Any], teacher_flops: int, rounds: int
) -> EpochTimes:
    epochs = {name: Epoch(setting, loader, prepare_batch) for name, prepare_batch in ways.items()}
    with FlopCounterMode(display=False) as counter:
        epochs["stored"].run()
    epochs["live"].run()
    num_frames = len(loader) * setting.batch_size
    student_flops = counter.get_total_flops() / num_frames
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            seconds[name].append(epoch.run())
    return EpochTimes(
        backbone=setting.backbone,
        live_seconds=median(total for total, _ in seconds["live"]),
        stored_seconds=median(total for total, _ in seconds["stored"]),
        compute_ratio=(teacher_flops + student_flops) / student_flops,
        waiting=median(waited / total for total, waited in seconds["stored"]),
    )


def _flops_of_teachers(teachers: Mapping[str, Teacher], image_size: int) -> int:
    frame = torch.zeros(1, 1, image_size, image_size)
    with FlopCounterMode(display=False) as counter:
        for teacher in teachers.values():
            teacher.to(frame.device)(frame)
    return counter.get_total_flops()
