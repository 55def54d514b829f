"""The default label set: 12 structures of a lateral videofluoroscopic swallowing study.

Projections overlap in X-ray images, so a pixel may belong to several structures: masks have one channel per structure,
in this order. A site with other labels names its own in its data list and in the configs' ``structures`` key.
"""

import re
import unicodedata
from collections.abc import Sequence

STRUCTURES: tuple[str, ...] = (
    "bolus",
    "hyoid",
    "mandible",
    "tongue",
    "pharynx",
    "epiglottis",
    "laryngeal_vestibule",
    "trachea",
    "upper_oesophageal_sphincter",
    "c2",
    "c3",
    "c4",
)

MANY_PARTS: tuple[str, ...] = ("bolus", "pharynx", "tongue")
"""Contrast and air, which come in pieces, and the tongue, whose mask breaks on hard films; the others are one body."""

SLOW: tuple[str, ...] = ("mandible", "tongue", "trachea", "upper_oesophageal_sphincter", "c2", "c3", "c4")
"""Structures that move by far less than their own size from one frame to the next."""

COLORS: dict[str, tuple[int, int, int]] = {
    "bolus": (240, 228, 66),
    "hyoid": (213, 94, 0),
    "mandible": (153, 153, 153),
    "tongue": (204, 121, 167),
    "pharynx": (86, 180, 233),
    "epiglottis": (0, 158, 115),
    "laryngeal_vestibule": (0, 114, 178),
    "trachea": (140, 220, 200),
    "upper_oesophageal_sphincter": (230, 159, 0),
    "c2": (180, 160, 255),
    "c3": (140, 110, 230),
    "c4": (100, 70, 190),
}
"""RGB for pictures: the Okabe-Ito palette, extended with tints that stay apart for color-blind readers."""

LONGEST_NAME = 64
"""Characters of a Segment Label (0062,0005), a DICOM LO."""

USABLE_NAME = re.compile(r"[^\W_]([\w .-]*[\w-])?")
DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""What Windows takes for a device, whatever follows the dot."""


def check_names(names: Sequence[str]) -> None:
    """Refuse names that cannot be what a structure's name becomes: folder, column, metric, DICOM segment label."""
    seen: dict[str, str] = {}
    for name in names:
        if not USABLE_NAME.fullmatch(name) or DEVICE_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            raise ValueError(
                f"structure {name!r} cannot name folders, metrics and DICOM segments: expected up to {LONGEST_NAME} "
                f"letters, digits, blanks, '_', '-' or '.', a letter or digit first; write {_usable(name)!r}"
            )
        same = seen.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if same != name:
            raise ValueError(
                f"structures {same!r} and {name!r} differ in case alone, and would share a folder on some disks: "
                "rename one"
            )


def _usable(name: str) -> str:
    plain = re.sub(r"[^\w .-]+", "_", unicodedata.normalize("NFC", name)).strip(" ._-")[:LONGEST_NAME].rstrip(" .")
    return f"structure_{plain}".rstrip("_") if not plain or DEVICE_NAME.fullmatch(plain) else plain
