"""Report phrases generated from the phantom's findings: what a radiologist would dictate about one frame."""

import itertools
from dataclasses import dataclass

import torch

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
    """Lower-case words, then pairs of neighbours, so that ``no residue`` is not merely ``residue``."""
    words = sentence.lower().replace(",", "").split()
    return words + [f"{a} {b}" for a, b in itertools.pairwise(words)]


def draw_statement(finding: str, value: str, generator: torch.Generator) -> Statement:
    """One of the wordings of a finding's value."""
    variants = FINDINGS[finding][value]
    return Statement(finding, value, variants[int(torch.randint(len(variants), (), generator=generator))])
