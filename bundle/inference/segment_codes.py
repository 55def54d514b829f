"""What a segment shows, in coded words for DICOM SEG (PS3.3 C.8.20.4; categories from PS3.16 CID 7150).

SNOMED CT where DICOM's own context groups or public lists have a code, else the Foundational Model of Anatomy (FMA).
The rest is in the private scheme 99VFSS, which readers show by its meaning.
"""

from dataclasses import dataclass

from pydicom.sr.coding import Code

PRIVATE_SCHEME = "99VFSS"
PRIVATE_SCHEME_NAME = "Structures of videofluoroscopic swallowing studies"

ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
SPACE = Code("309825002", "SCT", "Spatial and Relational Concept")
SUBSTANCE = Code("105590001", "SCT", "Substance")


@dataclass(frozen=True)
class SegmentCode:
    """Category and type of a segment.

    Attributes:
        category: Segmented Property Category (0062,0003).
        property_type: Segmented Property Type (0062,000F).
    """

    category: Code
    property_type: Code


SEGMENT_CODES: dict[str, SegmentCode] = {
    "bolus": SegmentCode(SUBSTANCE, Code("bolus", PRIVATE_SCHEME, "Swallowed bolus with contrast")),
    "hyoid": SegmentCode(ANATOMY, Code("21387005", "SCT", "Hyoid bone")),
    "mandible": SegmentCode(ANATOMY, Code("91609006", "SCT", "Mandible")),
    "tongue": SegmentCode(ANATOMY, Code("21974007", "SCT", "Tongue")),
    "pharynx": SegmentCode(ANATOMY, Code("54066008", "SCT", "Pharynx")),
    "epiglottis": SegmentCode(ANATOMY, Code("61563008", "SCT", "Epiglottis")),
    "laryngeal_vestibule": SegmentCode(SPACE, Code("vestibule", PRIVATE_SCHEME, "Laryngeal vestibule")),
    "trachea": SegmentCode(ANATOMY, Code("44567001", "SCT", "Trachea")),
    "upper_oesophageal_sphincter": SegmentCode(ANATOMY, Code("265203", "FMA", "Upper esophageal sphincter")),
    "c2": SegmentCode(ANATOMY, Code("39976000", "SCT", "C2 vertebra")),
    "c3": SegmentCode(ANATOMY, Code("113205007", "SCT", "C3 vertebra")),
    "c4": SegmentCode(ANATOMY, Code("5329002", "SCT", "C4 vertebra")),
}


def segment_code(structure: str) -> SegmentCode:
    """The code of a structure; one that is not in ``SEGMENT_CODES`` (a site's own label) gets its name in 99VFSS."""
    own = Code(structure, PRIVATE_SCHEME, structure.replace("_", " ").capitalize()[:64])
    return SEGMENT_CODES.get(structure, SegmentCode(ANATOMY, own))
