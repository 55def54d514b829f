"""How a structure is told apart: color, letters, dash. Color is never the only cue.

Contrast after WCAG 2.2, success criteria 1.4.3 and 1.4.11.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from bundle.report.words import structure_label
from bundle.structures import COLORS

Color = tuple[int, int, int]

# Letters on the picture and in the curves; other structures get their first letters or a number.
CODES = {
    "bolus": "B",
    "hyoid": "H",
    "mandible": "M",
    "tongue": "T",
    "pharynx": "P",
    "epiglottis": "E",
    "laryngeal_vestibule": "V",
    "trachea": "Tr",
    "upper_oesophageal_sphincter": "U",
}

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
PAPER, NIGHT = (255, 255, 255), (27, 31, 36)  # what curves are drawn on, as in page.css
LINE_CONTRAST = 3.2  # of a curve against what it is drawn on; the guideline asks for 3
LETTER_CONTRAST = 7.0  # of a letter on the picture against its rim; the guideline asks for 4.5


@dataclass(frozen=True)
class Mark:
    """Look of one structure."""

    name: str  # as in the masks' channels
    label: str  # in words
    code: str  # one to three letters, unique in the report
    color: str  # on the picture, ``#rrggbb``
    letter: str  # the color of the letters on the picture, which have a dark rim
    ink: str  # black or white, whichever reads better on ``color``
    on_light: str  # the color of a curve on the light page
    on_dark: str  # the color of a curve on the dark page


def structure_marks(structures: Sequence[str]) -> list[Mark]:
    """Marks in the structures' order; a site's own names take in turn the colors that no structure has."""
    unused = [color for name, color in COLORS.items() if name not in structures] or list(COLORS.values())
    others = cycle(unused)
    marks: list[Mark] = []
    for name in structures:
        color = COLORS[name] if name in COLORS else next(others)
        marks.append(
            Mark(
                name=name,
                label=structure_label(name),
                code=_code(name, {mark.code for mark in marks} | set(CODES.values())),
                color=_hex(color),
                letter=_hex(_towards(color, WHITE, BLACK, LETTER_CONTRAST)),
                ink=_hex(max(BLACK, WHITE, key=lambda ink: contrast(ink, color))),
                on_light=_hex(_towards(color, BLACK, PAPER, LINE_CONTRAST)),
                on_dark=_hex(_towards(color, WHITE, NIGHT, LINE_CONTRAST)),
            )
        )
    return marks


def contrast(one: Color, other: Color) -> float:
    """Contrast ratio of WCAG, from 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Color) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _towards(color: Color, end: Color, background: Color, wanted: float) -> Color:
    """The color, mixed with as little black or white as gives it the wanted contrast."""
    for share in range(0, 101, 5):
        mixed = [round(c + (e - c) * share / 100) for c, e in zip(color, end, strict=True)]
        if contrast((mixed[0], mixed[1], mixed[2]), background) >= wanted:
            break
    return mixed[0], mixed[1], mixed[2]


def _code(name: str, taken: set[str]) -> str:
    if name in CODES:
        return CODES[name]
    letters = [c for c in structure_label(name) if c.isalnum()] or ["S"]
    wanted = ["".join(letters[:2]), letters[0] + letters[-1], *(f"{letters[0]}{n}" for n in range(2, 100))]
    return next(code for code in wanted if code not in taken)


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
