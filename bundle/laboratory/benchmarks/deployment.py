"""Speed and accuracy of the exported segmenter beside other networks, and where the real-time preset's time goes."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from monai.networks.nets import BasicUNet, UNet
from sam2.build_sam import build_sam2
from torch import Tensor, nn

from bundle.data.readers import read_clip
from bundle.export.deploy import Exporter
from bundle.inference.predictor import ClipInferer
from bundle.inference.run import segment_studies
from bundle.inference.runtimes.enlarge import MaskEnlarger
from bundle.inference.runtimes.load import PRECISIONS, Runtime, load_runtime
from bundle.laboratory.benchmarks.record import Row
from bundle.metrics.overlap import dice
from bundle.paths import ROOT
from bundle.phantom import PhantomStudy, generate_study
from bundle.phantom.writer import write_dicom
from bundle.segmentation.segmenter import Segmenter
from bundle.structures import STRUCTURES
from bundle.students.encoder import StudentEncoder
from bundle.students.trunk import TimmTrunk
from bundle.transforms.letterbox import LetterboxGeometry, letterbox

SAM = "SAM 2.1 Hiera-T, 12 points"
STRIDE = 16  # of SAM 2's image embedding


class PromptedSam2(nn.Module):
    """SAM 2.1 Hiera-T with random weights: one encoder pass, then a mask per structure from a point each.

    All prompts of a frame go through the mask decoder as one batch, which is the fastest way it offers.
    """

    points: Tensor

    def __init__(self, image_size: int, num_structures: int) -> None:
        super().__init__()
        grid = image_size // STRIDE
        attention = "++model.memory_attention.layer"
        overrides = [
            f"++model.image_size={image_size}",
            f"{attention}.self_attention.feat_sizes=[{grid},{grid}]",
            f"{attention}.cross_attention.feat_sizes=[{grid},{grid}]",
        ]
        config = "configs/sam2.1/sam2.1_hiera_t.yaml"
        self.model = build_sam2(config, device="cpu", hydra_overrides_extra=overrides, apply_postprocessing=False)
        self.register_buffer("points", torch.linspace(0, image_size, num_structures)[:, None, None].repeat(1, 1, 2))

    def forward(self, frames: Tensor) -> Tensor:  # (B, 1, S, S) -> (B, N, S/4, S/4)
        return torch.cat([self._segment(frame[None]) for frame in frames])

    def _segment(self, frame: Tensor) -> Tensor:
        stride_4, stride_8, embedding = self.model.forward_image(frame.expand(-1, 3, -1, -1))["backbone_fpn"]
        labels = torch.ones(self.points.shape[:2], dtype=torch.int32)
        sparse, dense = self.model.sam_prompt_encoder(points=(self.points, labels), boxes=None, masks=None)
        masks, *_ = self.model.sam_mask_decoder(
            image_embeddings=embedding,
            image_pe=self.model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=True,
            high_res_features=[stride_4, stride_8],
        )
        return masks.transpose(0, 1)


def other_networks(image_size: int, num_structures: int) -> dict[str, nn.Module]:
    """Networks of other projects, with random weights, from frames ``(B, 1, S, S)`` to logits."""
    unet = UNet(2, 1, num_structures, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2)
    networks = {
        SAM: PromptedSam2(image_size, num_structures),
        "MONAI UNet": unet,
        "MONAI BasicUNet": BasicUNet(2, 1, num_structures),
    }
    return {name: network.eval() for name, network in networks.items()}


STUDENTS = ("efficientvit_b0", "efficientvit_b1", "repvit_m0_9", "tiny_vit_5m_224")
OUTPUTS = ("nifti", "areas", "measures")
"""What ``configs/realtime.json`` writes."""
HELD_OUT_SEEDS = range(800_000_000, 800_000_006)
"""Synthetic patients far from those of any data set."""
BATCH_SIZE = 8
FILM_SECONDS = 2.0


@dataclass(frozen=True)
class Setting:
    """What is measured, and for how long."""

    image_size: int = 512  # Side of the frames, and of the film
    students: Sequence[str] = STUDENTS  # timm backbones
    checkpoints: Mapping[str, Path] | None = None  # Trained weights of some of them; the others get random ones
    seconds: float = 1.5  # Of every timing
    num_calibration_frames: int = 64  # For int8 of trained weights; of random ones 4
    longest_film: int = 120  # Frames of the longest film
    runtimes: Sequence[str] = tuple(PRECISIONS)  # Which of them

    def trained(self, student: str) -> Path | None:
        """Where a student's weights are; by default the shipped model's."""
        if self.checkpoints is not None:
            return self.checkpoints.get(student)
        path = ROOT / "models" / "model.pt"
        return path if student == "efficientvit_b0" and path.is_file() else None


def measure_deployment(setting: Setting = Setting()) -> list[Row]:
    """One row per network, runtime and precision.

    Each network runs on all cores. In process is ``segment_studies`` on a short film: decoding, letterboxing, the
    network, masks at the film's resolution, and the real-time preset's outputs written.
    """
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        bench = _Bench(setting, Path(name))
        others = other_networks(setting.image_size, len(STRUCTURES))
        others[SAM] = Runtime(others[SAM], setting.image_size, "torch", "float32")  # its logits are at stride 4, too
        before = bench.speed(others[SAM])
        rows = [row for student in setting.students for row in bench.student_rows(student)]
        rows += [bench.row(title, "torch", "float32", network, None) for title, network in others.items()]
    after = next(float(row["frames/s"] or 0) for row in rows if row["network"] == SAM)
    return [_with_ratio(row, (before + after) / 2) for row in rows]


def measure_stages(setting: Setting = Setting(), runtime: str = "auto") -> list[Row]:
    """Milliseconds per frame of every stage of the real-time preset alone, and of all of them overlapped."""
    with tempfile.TemporaryDirectory() as name:
        bench = _Bench(setting, Path(name))
        student = setting.students[0]
        segmenter, checkpoint = bench.segmenter(student)
        loaded = load_runtime(Exporter(segmenter, checkpoint, bench.folder), runtime, "auto", num_streams=None)
        with torch.inference_mode():
            return bench.stage_rows(loaded, segmenter)


class _Bench:
    """Films, held-out frames and checkpoints of one measurement, in a folder of their own."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting = setting
        self.folder = folder
        self.study = generate_study(HELD_OUT_SEEDS[0], setting.image_size, min(24, setting.longest_film))
        self.frames = torch.from_numpy(np.resize(self.study.frames, (BATCH_SIZE, *self.study.frames.shape[1:])))

    def segmenter(self, student: str) -> tuple[Segmenter, Path]:
        """A student's segmenter and its weights; random ones are written."""
        network = Segmenter(StudentEncoder(TimmTrunk(student)), STRUCTURES, self.setting.image_size).eval()
        trained, path = self.setting.trained(student), self.folder / f"{student}.pt"
        if trained is None and not path.is_file():
            torch.save(network.state_dict(), path)
        return network, trained or path

    def student_rows(self, student: str) -> Iterator[Row]:
        """Every runtime and precision that this machine has."""
        network, checkpoint = self.segmenter(student)
        is_trained = self.setting.trained(student) is not None
        num_frames = self.setting.num_calibration_frames if is_trained else 4
        exporter = Exporter(network, checkpoint, self.folder, num_calibration_frames=num_frames)
        reference: float | None = None
        for name in self.setting.runtimes:
            for precision in PRECISIONS[name]:
                try:
                    runtime = load_runtime(exporter, name, precision, num_streams=None)
                except RuntimeError as error:
                    print(f"{student}, {name}, {precision}: left out, {error}")  # noqa: T201 - a command's output
                    continue
                score = self.mean_dice(runtime) if is_trained else None
                reference = score if reference is None else reference
                yield self.row(student, name, precision, runtime, score, reference)

    def row(
        self,
        title: str,
        name: str,
        precision: str,
        network: nn.Module,
        score: float | None,
        reference: float | None = None,
    ) -> Row:
        """Speed of a network alone, and with all that is done around it."""
        speed = self.speed(network)
        return {
            "network": title,
            "runtime": name,
            "precision": precision,
            "ms/frame": 1000 / speed,
            "frames/s": speed,
            "in process, frames/s": self.in_process(network, speed),
            "Dice": "not trained" if score is None else f"{score:.4f}",
            "to float32": "–" if score is None or reference is None else f"{score - reference:+.4f}",
        }

    def speed(self, network: nn.Module) -> float:
        """Frames per second of the network alone, its own output: the median of some batches."""
        compute = network.coarse if isinstance(network, Runtime) else network
        with torch.inference_mode():
            first = _seconds(lambda: compute(self.frames[:1]))
            frames = self.frames if first < 0.2 else self.frames[:1]
            if len(frames) > 1:
                compute(frames)
            times: list[float] = []
            while len(times) < 3 or sum(times) < self.setting.seconds:
                times.append(_seconds(lambda: compute(frames)))
        return len(frames) / median(times)

    def in_process(self, network: nn.Module, speed: float) -> float:
        """Frames per second from a DICOM film to written masks; the film is as long as some seconds of the network."""
        num_frames = int(min(self.setting.longest_film, max(4, FILM_SECONDS * speed)))
        film, inferer = self.film(num_frames), self.inferer()
        with tempfile.TemporaryDirectory(dir=self.folder) as target:
            seconds = _seconds(lambda: segment_studies(film, target, network, inferer, STRUCTURES, OUTPUTS))
        return num_frames / seconds

    def inferer(self) -> ClipInferer:
        """As the preset has it."""
        return ClipInferer(self.setting.image_size, BATCH_SIZE, progress=False)

    @cache  # noqa: B019 - lives as long as the measurement
    def film(self, num_frames: int) -> Path:
        """The study again and again, as a cine at its own rate."""
        path = self.folder / f"film{num_frames}.dcm"
        write_dicom(repeated_study(self.study, num_frames), path, "bench")
        return path

    @cache  # noqa: B019
    def held_out(self) -> tuple[Tensor, Tensor]:
        """Frames ``(N, 1, S, S)`` of synthetic patients that no training has seen, and their masks."""
        studies = [generate_study(seed, self.setting.image_size, 4) for seed in HELD_OUT_SEEDS]
        frames, masks = (np.concatenate([getattr(study, key) for study in studies]) for key in ("frames", "masks"))
        return torch.from_numpy(frames), torch.from_numpy(masks)

    def mean_dice(self, runtime: Runtime) -> float:
        """Mean over structures of the mean over frames."""
        frames, masks = self.held_out()
        pred = self.enlarger()(torch.cat([runtime.coarse(batch) for batch in frames.split(BATCH_SIZE)]))
        return float(dice(pred, masks).nanmean(dim=0).nanmean())

    def enlarger(self) -> MaskEnlarger:
        """To the frames' own size."""
        size = self.setting.image_size
        return MaskEnlarger(LetterboxGeometry(size, size, size), size // 4)

    def stage_rows(self, runtime: Runtime, segmenter: Segmenter) -> list[Row]:
        """Each stage alone, and all of them overlapped; encoder and decoder apart as PyTorch computes them."""
        num_frames = self.setting.longest_film
        film, frames, enlarger = self.film(num_frames), self.frames, self.enlarger()
        coarse, features = runtime.coarse(frames), segmenter.encode(frames)
        stages: dict[str, tuple[Callable[[], object], int]] = {
            "decoding": (lambda: read_clip(film), num_frames),
            "letterboxing": (lambda: letterbox(frames, self.setting.image_size), len(frames)),
            f"network: {runtime.name}, {runtime.precision}": (lambda: runtime.coarse(frames), len(frames)),
            "its encoder, in PyTorch": (lambda: segmenter.encode(frames), len(frames)),
            "its mask decoder, in PyTorch": (lambda: segmenter.decode_structures(features), len(frames)),
            "masks at the film's resolution": (lambda: enlarger(coarse), len(frames)),
        }
        rows: list[Row] = [
            {"stage": title, "ms/frame": 1000 * median(_seconds(stage) for _ in range(5)) / count}
            for title, (stage, count) in stages.items()
        ]
        for outputs in (*((output,) for output in OUTPUTS), OUTPUTS):
            with tempfile.TemporaryDirectory(dir=self.folder) as target:
                run = partial(segment_studies, film, target, runtime, self.inferer(), STRUCTURES, outputs)
                title = f"all of it overlapped, with {', '.join(outputs)}"
                rows.append({"stage": title, "ms/frame": 1000 * _seconds(run) / num_frames})
        return rows


def repeated_study(study: PhantomStudy, num_frames: int) -> PhantomStudy:
    """The study again and again, at its own rate, until there are so many frames."""
    interval = study.frame_times_ms[1] - study.frame_times_ms[0]
    stored = np.resize(study.stored, (num_frames, *study.stored.shape[1:]))
    return replace(study, stored=stored, frame_times_ms=np.arange(num_frames) * interval)


def _with_ratio(row: Row, sam: float) -> Row:
    return {**row, "times SAM 2.1-T": float(row["frames/s"] or 0) / sam}


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
