"""Recipe of the small MedCLIP: contrast between frames and generated report phrases, after MedCLIP (arXiv 2210.10163).

As in MedCLIP the targets are soft: how far report ``j`` holds for frame ``i`` is the share of its statements that agree
with the frame's findings. Added to this, since training takes minutes: of each finding, the true sentence against those
that contradict it.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.laboratory.recipes.frames import FrameBatch, PhantomFrames, augment, images_for
from bundle.teachers.medclip import PROJECTION_DIM, MedClipSwin

FINDINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "bolus": {
        "present": ("barium bolus in view", "contrast agent is seen", "opaque bolus present"),
        "absent": ("no barium in view", "no contrast agent is seen"),
    },
    "phase": {
        "oral": ("oral phase of the swallow", "bolus is held in the mouth", "oral transit of the bolus"),
        "pharyngeal": ("pharyngeal phase of the swallow", "bolus passes through the pharynx"),
        "oesophageal": ("oesophageal phase of the swallow", "bolus tail leaves the pharynx"),
        "rest": ("at rest after the swallow", "swallow is completed"),
    },
    "sphincter": {
        "open": ("upper oesophageal sphincter is open", "sphincter relaxes and opens"),
        "shut": ("upper oesophageal sphincter is shut", "closed sphincter"),
    },
    "residue": {
        "present": (
            "residue remains in the valleculae",
            "pharyngeal residue after the swallow",
            "incomplete clearance",
        ),
        "absent": ("no residue", "no contrast is left behind"),
    },
    "airway": {
        "present": ("contrast enters the larynx", "laryngeal penetration", "the airway is invaded"),
        "absent": ("no laryngeal penetration", "the airway stays clear"),
    },
    "hardware": {
        "present": ("cervical plate with screws", "metal hardware on the cervical spine"),
        "absent": ("no hardware on the spine", "native cervical spine"),
    },
    "dental_metal": {
        "present": ("metal fillings in the teeth", "dense dental metal"),
        "absent": ("no dental metal", "no metal fillings"),
    },
    "teeth": {
        "present": ("teeth are present", "dentition is seen"),
        "absent": ("edentulous patient", "toothless jaws"),
    },
    "marker": {
        "disc": ("a coin lies in the field as a calibration marker", "round metal disc for calibration"),
        "rings": ("two metal rings for calibration", "ring markers in the field"),
        "none": ("no calibration marker", "nothing to calibrate lengths with"),
    },
    "machine": {
        "image intensifier": ("round field of an image intensifier", "circular image"),
        "flat detector": ("rectangular field of a flat detector", "flat panel image"),
    },
    "grayscale": {
        "linear": ("linear gray scale", "gray in proportion to the exposure"),
        "log": ("logarithmic gray scale", "gray follows the thickness of tissue"),
    },
}
"""Finding -> value -> ways to word it. Every frame has exactly one value of each finding."""


@dataclass(frozen=True)
class Statement:
    """One sentence of a report and the claim that it makes."""

    finding: str
    value: str
    sentence: str


def draw_report(findings: dict[str, str], generator: torch.Generator, most: int = 3) -> list[Statement]:
    """Between one and ``most`` true statements in random order and wording.

    Raises:
        ValueError: If a finding is missing or has a value without a wording.
    """
    check_findings(findings)
    order = torch.randperm(len(FINDINGS), generator=generator).tolist()
    count = 1 + int(torch.randint(most, (), generator=generator))
    names = list(FINDINGS)
    return [draw_statement(names[i], findings[names[i]], generator) for i in order[:count]]


def check_findings(findings: dict[str, str]) -> None:
    """Refuse findings that have no wording."""
    for name, wordings in FINDINGS.items():
        if findings.get(name) not in wordings:
            raise ValueError(f"finding {name!r} must be one of {sorted(wordings)}, got {findings.get(name)!r}")


def vocabulary() -> list[str]:
    """Every word and word pair of every sentence, sorted."""
    sentences = [s for wordings in FINDINGS.values() for variants in wordings.values() for s in variants]
    return sorted({word for sentence in sentences for word in words_of(sentence)})


def words_of(sentence: str) -> list[str]:
    """Lower-case words, then pairs of neighbors, so that ``no residue`` is not merely ``residue``."""
    words = sentence.lower().replace(",", "").split()
    return words + [f"{a} {b}" for a, b in itertools.pairwise(words)]


def draw_statement(finding: str, value: str, generator: torch.Generator) -> Statement:
    """One of the wordings of a finding's value."""
    variants = FINDINGS[finding][value]
    return Statement(finding, value, variants[int(torch.randint(len(variants), (), generator=generator))])


class ReportEncoder(nn.Module):
    """Bag of words and word pairs of each sentence, mixed by an MLP; a report is the mean of its sentences."""

    def __init__(self, embed_dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.index = {word: i for i, word in enumerate(vocabulary())}
        self.words = nn.EmbeddingBag(len(self.index), hidden, mode="mean")
        self.mix = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, embed_dim)
        )

    def forward(self, reports: list[list[str]]) -> Tensor:  # reports of sentences -> (R, C), unit length
        tokens = [[self.index[word] for word in words_of(sentence)] for report in reports for sentence in report]
        offsets = torch.tensor([0, *[len(sentence) for sentence in tokens[:-1]]]).cumsum(0)
        words = torch.tensor(list(itertools.chain.from_iterable(tokens)))
        sentences = self.mix(self.words(words, offsets))
        lengths = [len(report) for report in reports]
        return F.normalize(torch.stack([part.mean(0) for part in sentences.split(lengths)]), dim=-1)


class ImageTextContrast(nn.Module):
    """An image encoder whose pooled features name what a report would say.

    The frames' vectors are standardized over the batch, without weights: of an untrained encoder they all point the
    same way, and a short run would spend itself on telling them apart.
    """

    target_temperature = 0.1

    def __init__(self, encoder: MedClipSwin, reports_per_frame: int = 4) -> None:
        super().__init__()
        self.encoder, self.reports_per_frame = encoder, reports_per_frame
        self.standardize = nn.BatchNorm1d(PROJECTION_DIM, affine=False)
        self.report_encoder = ReportEncoder(PROJECTION_DIM)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def loss(self, batch: FrameBatch, generator: torch.Generator) -> Tensor:
        image, _ = augment(batch.image, batch.label[:, :0], generator)
        reports = [draw_report(f, generator) for f in batch.findings for _ in range(self.reports_per_frame)]
        texts = self.report_encoder([[statement.sentence for statement in report] for report in reports])
        embedding = self.embed(image)
        logits = self._logits(embedding, texts)  # (B, R)
        agreement = agreement_of(reports, batch.findings) / self.target_temperature
        to_reports = F.cross_entropy(logits, agreement.softmax(dim=1))
        to_frames = F.cross_entropy(logits.T, agreement.T.softmax(dim=1))
        return (to_reports + to_frames) / 2 + self._contradiction_loss(embedding, batch.findings, generator)

    def after_step(self, progress: float) -> None:
        """Nothing here is learned otherwise than by gradient."""

    def _logits(self, embedding: Tensor, texts: Tensor) -> Tensor:
        return self.log_scale.exp().clamp(max=100) * (embedding @ texts.T).float()

    def _contradiction_loss(
        self, embedding: Tensor, findings: list[dict[str, str]], generator: torch.Generator
    ) -> Tensor:
        """Of each finding, which of one sentence per value is true? Mean over the findings."""
        losses = []
        for finding, wordings in FINDINGS.items():
            statements = [draw_statement(finding, value, generator) for value in wordings]
            logits = self._logits(embedding, self.report_encoder([[statement.sentence] for statement in statements]))
            truth = torch.tensor([list(wordings).index(frame[finding]) for frame in findings])
            losses.append(balanced_cross_entropy(logits, truth))
        return torch.stack(losses).mean()

    def embed(self, image: Tensor) -> Tensor:  # (B, 1, H, W) -> (B, C), unit length
        return F.normalize(self.standardize(self.encoder.summary(images_for(self.encoder, image)).float()), dim=-1)

    @torch.no_grad()
    def evaluate(self, train: PhantomFrames, held_out: PhantomFrames) -> dict[str, float]:
        """Zero-shot reading of held-out patients: the wording nearest to the frame names its finding."""
        del train
        self.eval()
        images = torch.cat([self.embed(batch.image) for batch in held_out.batches(32)])
        result, accuracies, chances = {}, [], []
        for finding, wordings in FINDINGS.items():
            values = list(wordings)
            texts = torch.stack([self.report_encoder([[s] for s in wordings[value]]).mean(0) for value in values])
            truth = torch.tensor([values.index(f[finding]) for f in held_out.findings])
            present = truth.unique()
            if len(present) < 2:
                continue  # nothing to tell apart in these patients
            named = (images @ texts.T).argmax(dim=1)
            recalls = torch.stack([(named[truth == value] == value).float().mean() for value in present])
            result[f"zero_shot_balanced_accuracy_{finding}"] = recalls.mean().item()
            accuracies.append(recalls.mean().item())
            chances.append(1 / len(values))
        result["zero_shot_balanced_accuracy"] = sum(accuracies) / len(accuracies)
        result["chance"] = sum(chances) / len(chances)
        return result


def balanced_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of logits ``(B, V)`` in which each value that occurs in ``truth`` ``(B,)`` weighs the same."""
    each = F.cross_entropy(logits, truth, reduction="none")
    return torch.stack([each[truth == value].mean() for value in truth.unique()]).mean()


def agreement_of(reports: list[list[Statement]], findings: list[dict[str, str]]) -> Tensor:
    """Share ``(B, R)`` of each report's statements that hold for each frame."""
    return torch.tensor([[_share_true(report, frame) for report in reports] for frame in findings])


def _share_true(report: list[Statement], findings: dict[str, str]) -> float:
    return sum(findings[statement.finding] == statement.value for statement in report) / len(report)
