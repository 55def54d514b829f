"""What the tests compute once in one process and once in two: ``torchrun`` runs this file with a folder for results.

Each computation takes this process's share of the frames and returns plain tensors and numbers.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice
from torch import nn

from bundle.engines.distillation_metrics import distillation_metrics
from bundle.engines.distributed import data_parallel, end_processes, start_processes
from bundle.engines.validation import DealtBatches, MeanDiceOverRanks
from bundle.losses import balance
from bundle.losses.distances import Cosine, MeanSquared, WeightedSum
from bundle.losses.distillation import DistillationLoss
from bundle.losses.fit import fit_statistics
from bundle.losses.segmentation import SegmentationLoss
from bundle.losses.standardize import PhiS
from bundle.metrics.report import EvaluationTable
from bundle.ranks import rank, world_size
from bundle.segmentation.segmenter import Segmenter
from bundle.segmentation.training import TrainingSegmenter
from bundle.students.encoder import StudentEncoder
from bundle.students.heads import StudentWithHeads, make_heads
from bundle.students.trunk import TimmTrunk

SIZE = 64
STRUCTURES = ("hyoid", "bolus")
BALANCERS = {
    "Attention": lambda: balance.Attention(32, 2),
    "AttentionEntropyFloor": lambda: balance.AttentionEntropyFloor(32, 2),
    "Equal": balance.Equal,
    "HighestLossFirst": balance.HighestLossFirst,
    "Mlp": lambda: balance.Mlp(2),
    "Static": lambda: balance.Static([2.0, 1.0]),
    "TeacherDropping": lambda: balance.TeacherDropping(1.0),  # processes draw for their own images
    "Uncertainty": lambda: balance.Uncertainty(2),
}


class ToyTeacher(nn.Module):
    """A frozen convolution with one token per 16 x 16 pixels."""

    def __init__(self, embed_dim: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.input_size, self.grid_size, self.embed_dim = SIZE, SIZE // 16, embed_dim
        self.encode = nn.Conv2d(1, embed_dim, kernel_size=16, stride=16).requires_grad_(False)

    def forward(self, frames):
        return self.encode(frames)

    def valid_grid(self, valid):
        return nn.functional.avg_pool2d(valid, 16)


def make_frames(count: int, seed: int = 3) -> list[dict]:
    """Frames of which each has another share of padding, with masks of both structures but in the last frame."""
    generator = torch.Generator().manual_seed(seed)
    frames = []
    for index in range(count):
        image = torch.rand(1, SIZE, SIZE, generator=generator)
        valid = torch.zeros(1, SIZE, SIZE)
        valid[:, : SIZE - 9 * (index % 5)] = 1
        label = torch.zeros(2, SIZE, SIZE)
        label[0, 8:30, 8 : 20 + index] = 1
        label[1, 20:, 30:] = index < count - 1
        frames.append(
            {"image": image * valid, "valid": valid, "label": label, "clip": f"clip{index // 3}", "frame": index}
        )
    return frames


def own_share(batch: dict) -> dict:
    """This process's part of a batch."""
    per_process = len(batch["image"]) // world_size()
    return {key: values[rank() * per_process : (rank() + 1) * per_process] for key, values in batch.items()}


def make_batch(count: int) -> dict:
    frames = make_frames(count)
    return {key: torch.stack([frame[key] for frame in frames]) for key in ("image", "valid", "label")}


def make_teachers() -> dict[str, ToyTeacher]:
    return {"wide": ToyTeacher(12, seed=1), "narrow": ToyTeacher(6, seed=2)}


def make_student() -> StudentEncoder:
    torch.manual_seed(5 + rank())  # of several processes the first one's weights count
    return StudentEncoder(TimmTrunk("repvit_m0_9"), embed_dim=32)


class ToyNetwork(nn.Module):
    """In place of a student with heads, where only the loss matters."""

    def __init__(self, teachers: dict[str, ToyTeacher]) -> None:
        super().__init__()
        torch.manual_seed(5 + rank())
        self.student = nn.Conv2d(1, 32, kernel_size=16, stride=16)
        self.heads = nn.ModuleDict(make_heads(32, teachers))

    def forward(self, frames):
        embedding = self.student(frames)
        return {"embedding": embedding, "features": {name: head(embedding) for name, head in self.heads.items()}}


def make_target(teachers: dict, batch: dict) -> dict:
    features = {name: teacher(batch["image"]) for name, teacher in teachers.items()}
    return {"features": features, "valid": {name: t.valid_grid(batch["valid"]) for name, t in teachers.items()}}


def make_loss(teachers: dict, balancer: nn.Module) -> DistillationLoss:
    statistics = fit_statistics(teachers, [own_share(make_batch(8))])
    standardizers = {name: PhiS.from_statistics(entry) for name, entry in statistics.items()}
    return DistillationLoss(standardizers, WeightedSum([MeanSquared(), Cosine()], [1.0, 0.5]), balancer)


def gradients_and_buffers(*modules: nn.Module) -> dict:
    return {
        "gradients": [parameter.grad for module in modules for parameter in module.parameters()],
        "buffers": [buffer for module in modules for buffer in module.buffers()],
    }


def statistics() -> dict:
    batches = [make_batch_of(seed) for seed in range(5)]
    fitted = fit_statistics(make_teachers(), batches[rank() :: world_size()], num_batches=4)
    return {
        name: {"mean": entry.mean, "scatter": entry.scatter, "counts": (entry.num_tokens, entry.num_images)}
        for name, entry in fitted.items()
    }


def make_batch_of(seed: int) -> dict:
    frames = make_frames(2, seed)
    return {key: torch.stack([frame[key] for frame in frames]) for key in ("image", "valid")}


def balanced_step(balancer: str) -> dict:
    """Gradients of network and balancer; the balancer's parameters are random, so that its weights are not equal."""
    teachers = make_teachers()
    network, loss = ToyNetwork(teachers), make_loss(teachers, BALANCERS[balancer]())
    for parameter in loss.balancer.parameters():
        nn.init.normal_(parameter)
    return step(network, loss, teachers)


def student_step() -> dict:
    """Gradients and batch statistics of a real student, in float64, so that only the float32 loss is rounded."""
    teachers = make_teachers()
    network = StudentWithHeads(make_student(), make_heads(32, teachers)).double()
    return step(network, make_loss(teachers, BALANCERS["Equal"]()), teachers, torch.float64)


def step(network: nn.Module, loss: DistillationLoss, teachers: dict, dtype: torch.dtype = torch.float32) -> dict:
    batch = own_share(make_batch(4))
    parallel_network, parallel_loss = data_parallel(network, find_unused_parameters=True), data_parallel(loss)
    torch.manual_seed(7)
    value = parallel_loss(parallel_network(batch["image"].to(dtype)), make_target(teachers, batch))
    value.backward()
    return {"loss": value.item(), "latest": loss.latest, **gradients_and_buffers(network, loss.balancer)}


def segmentation_step() -> dict:
    """Gradients of phase 2's network; the processes' frames show different numbers of structures."""
    batch = own_share(make_batch(4))
    label = batch["label"]
    points = torch.tensor([[[12.0, 12.0]]]).expand(len(label), -1, -1)
    network = TrainingSegmenter(Segmenter(make_student(), STRUCTURES, SIZE)).train()
    parallel = data_parallel(network, find_unused_parameters=True)
    point_labels = torch.ones(len(label), 1, dtype=torch.int32)
    output = parallel(batch["image"], points=points, point_labels=point_labels)
    value = SegmentationLoss()(output, {"label": label, "valid": batch["valid"], "prompted_label": label[:, :1]})
    value.backward()
    return gradients_and_buffers(network)


def validation(num_frames: int) -> dict:
    """Metrics of both phases; five batches, or one, for two processes."""
    teachers, frames = make_teachers(), make_frames(num_frames)
    loader = DataLoader(frames, batch_sampler=DealtBatches(frames, batch_size=2))
    loss = make_loss(teachers, BALANCERS["Mlp"]())
    torch.manual_seed(5)
    student = StudentEncoder(TimmTrunk("repvit_m0_9"), embed_dim=32)
    metrics = distillation_metrics(loss)
    distillation = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader,
        network=StudentWithHeads(student, make_heads(32, teachers)),
        prepare_batch=lambda batch, *_, **__: (batch["image"], make_target(teachers, batch)),
        key_val_metric=metrics,
        decollate=False,
    )
    distillation.run()
    dice = MeanDiceOverRanks()
    table = EvaluationTable(STRUCTURES)
    segmentation = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader,
        network=Segmenter(student, STRUCTURES, SIZE),
        prepare_batch=lambda batch, *_, **__: (batch["image"], batch["label"]),
        key_val_metric={"dice": dice},
        additional_metrics={"monai_dice": MeanDice(output_transform=dice_masks)},
        decollate=False,
    )
    segmentation.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: score(table, engine))
    segmentation.run()
    return {
        "distillation": distillation.state.metrics,
        "dice": segmentation.state.metrics["dice"],
        "monai_dice": segmentation.state.metrics["monai_dice"],
        "report": table.summary(),
        "scores": [vars(entry) for entry in table.scores],
        "batches": len(loader),
    }


def dice_masks(output: dict) -> tuple[torch.Tensor, torch.Tensor]:
    return (output["pred"] > 0).float(), output["label"]


def score(table: EvaluationTable, engine) -> None:
    batch, output = engine.state.batch, engine.state.output
    clips = list(batch["clip"])
    table.update(output["pred"] > 0, output["label"] > 0.5, clips, clips, batch["frame"])


def compute_all() -> dict:
    """Every computation, by name."""
    return {
        "statistics": statistics(),
        "balanced_step": {name: balanced_step(name) for name in BALANCERS},
        "student_step": student_step(),
        "segmentation_step": segmentation_step(),
        "validation": {count: validation(count) for count in (9, 2)},
    }


if __name__ == "__main__":
    start_processes(torch.device("cpu"), timeout_minutes=1)
    torch.save(compute_all(), Path(sys.argv[1]) / f"{dist.get_rank()}.pt")
    end_processes()
