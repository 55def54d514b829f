"""The default label set: 12 structures of a lateral videofluoroscopic swallowing study.

Projections overlap in X-ray images, so a pixel may belong to several structures: masks have one channel per structure,
in this order. A site with other labels names its own in its data list and in the configs' ``structures`` key.
"""

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

COLOURS: dict[str, tuple[int, int, int]] = {
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
"""RGB for pictures: the Okabe-Ito palette, extended with tints that stay apart for colour-blind readers."""
