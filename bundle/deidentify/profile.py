"""The Basic Application Level Confidentiality Profile (PS3.15 E.2, table E.1-1 of 2026c) on one data set, and stricter.

The table is the one of the package ``dicom-anonymizer``. Beyond it goes every private, unknown, overlay and curve
element, every date and time, and every name and text (it reads REMOVED then) but for the short ones in ``KEPT_TEXT``:
codes, device, software, and names of segments. Of these go the ones that hold a word of a person's name or an id.
Units stay if they are terms of the standard, code strings if they are no free text.
"""

import re
from collections.abc import Iterable

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag
from pydicom.uid import UID_dictionary

from bundle.deidentify.pseudonyms import Pseudonyms
from bundle.extras import needs_extra

with needs_extra("inference", "de-identification"):
    from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table

METHOD = "PS3.15 E.1-1 2026c basic profile and no free text"
REMOVED = "REMOVED"
KEPT_TEXT = frozenset(
    (
        *("CodeValue", "LongCodeValue", "CodeMeaning", "CodingSchemeDesignator", "CodingSchemeVersion"),
        *("Manufacturer", "ManufacturerModelName", "SoftwareVersions"),
        *("SegmentLabel", "SegmentAlgorithmName", "AlgorithmName", "AlgorithmVersion"),
    )
)
UNIT_KEYWORDS = frozenset(("RescaleType", "ModalityLUTType"))
TERMS_OF_UNITS = frozenset(("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"))  # PS3.3 C.11.1.1.2
CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")  # PS3.5 6.2
IDS = frozenset(("PatientID", "OtherPatientIDs", "AccessionNumber"))
KEPT_BINARY = frozenset(
    (
        *("PixelData", "LUTData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
        *("RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData"),
    )
)
TEXT_VRS = frozenset(("AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT", "PN"))
TIME_VRS = frozenset(("DA", "DT", "TM", "AS"))
BINARY_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
DUMMY_VALUES = {"DA": "19000101", "DT": "19000101000000", "TM": "000000", "UR": "about:blank"}
ENHANCED_TIMES = frozenset(("ContentDate", "ContentTime", "AcquisitionDateTime", "FrameAcquisitionDateTime"))
OVERLAYS, CURVES = range(0x6000, 0x6100), range(0x5000, 0x5100)
FIRST_GROUP = 0x0008  # lower ones belong to messages, files and directories, not to a data set


def _actions() -> dict[tuple[int, int], str]:
    """Table E.1-1: removed where the profile lets it (X/D, X/Z/D), empty where it may be (Z/D, X/Z)."""
    actions = dict.fromkeys([*table.X_TAGS, *table.X_D_TAGS, *table.X_Z_D_TAGS], "remove")
    actions.update(dict.fromkeys([*table.Z_TAGS, *table.Z_D_TAGS, *table.X_Z_TAGS], "empty"))
    actions.update(dict.fromkeys(table.U_TAGS, "map"))
    actions.update({tag: _dummy_action(tag) for tag in table.D_TAGS if dictionary_has_tag(tag)})
    return {tag: action for tag, action in actions.items() if len(tag) == 2}  # the others are curves and overlays


def _dummy_action(tag: tuple[int, int]) -> str:
    vr = dictionary_VR(tag)
    if vr == "UI":
        return "map"
    return "dummy" if vr in TEXT_VRS or vr in DUMMY_VALUES or vr == "CS" else "remove"


ACTIONS = _actions()


def apply_basic_profile(dataset: Dataset, pseudonyms: Pseudonyms) -> None:
    """Change a data set in place; pixel data stay as they are. A patient's id becomes a pseudonym, dates go."""
    patient = str(dataset.get("PatientID") or dataset.get("StudyInstanceUID") or "")
    is_enhanced = "SharedFunctionalGroupsSequence" in dataset
    _clean(dataset, pseudonyms, is_enhanced, _identifying_words(dataset))
    dataset.PatientID = pseudonyms.name("patient", patient)
    dataset.PatientName = f"{dataset.PatientID}^"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    profile = codes.DCM.BasicApplicationConfidentialityProfile
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = profile.value, profile.scheme_designator
    code.CodeMeaning = profile.meaning
    dataset.DeidentificationMethodCodeSequence = [code]


def has_graphics_in_pixels(dataset: Dataset) -> bool:
    """Whether an overlay lies in bits of the pixels (retired; its Overlay Bit Position is then not 0)."""
    return any(dataset.get((group, 0x0102)) and dataset[group, 0x0102].value for group in OVERLAYS if group % 2 == 0)


def _identifying_words(dataset: Dataset) -> frozenset[str]:
    """Words of people's names and of ids, wherever they stand in the data set."""
    elements = (element for element in dataset.iterall() if element.VR == "PN" or element.keyword in IDS)
    return frozenset(word for element in elements for word in _words(str(element.value)))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]{3,}", text.lower())


def _clean(dataset: Dataset, pseudonyms: Pseudonyms, is_enhanced: bool, identifying: frozenset[str]) -> None:
    for tag in list(dataset.keys()):
        if _is_foreign(tag):
            del dataset[tag]
            continue
        element = dataset[tag]
        action = _action(element, is_enhanced)
        if action == "remove":
            del dataset[tag]
        elif action == "empty":
            element.value = [] if element.VR == "SQ" else ""
        elif action == "dummy":
            element.value = DUMMY_VALUES.get(element.VR, REMOVED)
        elif action == "map":
            _map_uids(element, pseudonyms)
        elif action == "judge":
            _replace(element, [value if _may_stay(element, value, identifying) else REMOVED for value in _all(element)])
        elif element.VR == "SQ":
            for item in element.value:
                _clean(item, pseudonyms, is_enhanced, identifying)


def _is_foreign(tag: BaseTag) -> bool:
    is_graphic = tag.group in OVERLAYS or tag.group in CURVES
    return tag.is_private or is_graphic or tag.group < FIRST_GROUP or not dictionary_has_tag(tag)


def _action(element: DataElement, is_enhanced: bool) -> str:
    """What the table asks for, or else what the element's type does."""
    if is_enhanced and element.keyword in ENHANCED_TIMES:
        return "dummy"  # type 1 in enhanced objects
    planned = ACTIONS.get((element.tag.group, element.tag.element))
    if planned is not None:
        return planned
    if element.VR == "UI":
        return "keep" if element.keyword.endswith("ClassUID") else "map"
    if element.VR in TEXT_VRS or element.VR == "CS":
        return "keep" if element.is_empty else "judge"
    if element.VR in BINARY_VRS:
        return "keep" if element.keyword in KEPT_BINARY else "remove"
    return "remove" if element.VR in TIME_VRS else "keep"


def _may_stay(element: DataElement, value: object, identifying: frozenset[str]) -> bool:
    """Whether a text is one that nobody writes freely, as far as that can be told."""
    text = str(value)
    if element.VR == "CS":
        return CODE_STRING.fullmatch(text) is not None
    if element.keyword in UNIT_KEYWORDS:
        return text in TERMS_OF_UNITS
    return element.keyword in KEPT_TEXT and identifying.isdisjoint(_words(text))


def _map_uids(element: DataElement, pseudonyms: Pseudonyms) -> None:
    """Replace all but the UIDs that the standard itself defines."""
    _replace(element, [uid if uid in UID_dictionary else pseudonyms.uid(str(uid)) for uid in _all(element)])


def _all(element: DataElement) -> list[object]:
    return [element.value] if element.VM <= 1 else list(element.value)


def _replace(element: DataElement, values: Iterable[object]) -> None:
    values = list(values)
    element.value = values[0] if len(values) == 1 else values
