"""Measures as a DICOM Structured Report (PS3.16, TID 1500, in a Comprehensive SR, PS3.3 A.35.3).

What ``measures.csv`` says of a measure the report says too: value, unit in UCUM, uncertainty, the frames that it comes
from, and why one could not be computed.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import highdicom as hd
from highdicom.sr import RelationshipTypeValues
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from bundle.atomic import atomic_path
from bundle.inference.dicom_seg import segment_code
from bundle.inference.dicom_source import (
    PRIVATE_SCHEME,
    declare_nameless,
    declare_own_codes,
    files_of,
    name_and_version,
    nameless_source,
    odd_values_kept,
    read_source_header,
)
from bundle.inference.folder import study_key
from bundle.inference.study import INTENDED_USE, SegmentedStudy
from bundle.metrics.kinematics import SwallowMeasures

SERIES_DESCRIPTION = "Automatic measures, research use only"  # LO: at most 64 characters

UNITS = {
    "pixels": ("{pixels}", "pixels"),
    "%C2-4": ("%{C2-4}", "percent of the C2-C4 length"),
    "%(C2-4)^2": ("%{(C2-4)^2}", "percent of the C2-C4 length squared"),
    "%C2-4/s": ("%{C2-4}/s", "percent of the C2-C4 length per second"),
    "1": ("1", "no units"),
    "ms": ("ms", "millisecond"),
    "frames": ("{frames}", "frames"),
    "%": ("%", "percent"),
}
"""UCUM codes and their meaning. What stands in braces is a note to the reader: UCUM has no such unit."""


class Basis(NamedTuple):
    """What a measure is taken from."""

    structures: tuple[str, ...]
    events: tuple[str, ...] = ()  # of ``SwallowMeasures``, at whose frames to look; none: the whole film
    derivation: Code | None = None


BASES = {
    "c2_c4": Basis(("c2", "c4")),
    "hyoid_rest": Basis(("hyoid",)),
    "hyoid_peak": Basis(("hyoid",), ("hyoid_peak",)),
    "hyoid": Basis(("hyoid",), ("hyoid_onset", "hyoid_peak")),
    "pharyngeal_area_rest": Basis(("pharynx",)),
    "pharyngeal_area_constriction": Basis(("pharynx",), ("pharyngeal_constriction",), codes.SCT.Minimum),
    "pharyngeal_constriction": Basis(("pharynx",), ("pharyngeal_constriction",)),
    "pharyngeal_transit": Basis(("bolus", "pharynx"), ("bolus_enters_pharynx", "ues_closing")),
    "ues_maximal_width": Basis(("upper_oesophageal_sphincter",), ("ues_opening", "ues_closing"), codes.SCT.Maximum),
    "ues": Basis(("upper_oesophageal_sphincter",), ("ues_opening", "ues_closing")),
    "residue": Basis(("pharynx",), ("ues_closing",)),
    "nrrs": Basis(("pharynx",), ("ues_closing",)),
    "bolus_in_airway": Basis(("laryngeal_vestibule", "trachea")),
}
"""By how the name of a measure begins; the longest beginning counts."""

IN_AIRWAY = "bolus_in_airway"
CAPITALS = {"c2": "C2", "c4": "C4", "ues": "UES", "nrrs": "NRRS"}


def write_dicom_sr(study: SegmentedStudy, path: Path) -> Path:
    """Write the measures of a study, with references to the frames of its source.

    Of the source's header nothing but UIDs is kept; ``identify`` puts the patient in for a PACS.

    Args:
        study: Of DICOM files.
        path: File to write.

    Raises:
        NoDicomSourceError: If the clip is no DICOM, or has no UIDs to refer to.
    """
    paths = files_of(study.clip.origin)
    pseudonym = study.key or study_key(paths[0] if len(paths) == 1 else paths[0].parent)
    with odd_values_kept():
        sources = {file: nameless_source(read_source_header(file, "DICOM SR"), pseudonym) for file in paths}
        report = hd.sr.ComprehensiveSR(
            evidence=list(sources.values()),
            content=_measurement_report(study, _Frames(study, sources)),
            series_instance_uid=hd.UID(),
            series_number=1001,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="not stated",
            series_description=SERIES_DESCRIPTION,
        )
        declare_own_codes(report)
        declare_nameless(report, "measures")
        with atomic_path(path) as temporary:
            report.save_as(temporary)
    return path


def measure_code(name: str) -> Code:
    """A measure's name in 99VFSS: DICOM and SNOMED CT have none for these."""
    words = [CAPITALS.get(word, word) for word in name.split("_")]
    return Code(name, PRIVATE_SCHEME, " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])[:64])


def unit_code(unit: str) -> Code:
    """A unit in UCUM; one that is not in ``UNITS`` as a note in braces."""
    note = "".join(letter for letter in unit if letter.isascii() and letter.isprintable() and letter not in "{}")
    code, meaning = UNITS.get(unit, (f"{{{note[:14]}}}", unit[:64]))
    return Code(code, "UCUM", meaning)


class _Frames:
    """References to the frames of a clip."""

    def __init__(self, study: SegmentedStudy, sources: Mapping[Path, Dataset]) -> None:
        self.origins, self.sources = study.clip.origin, sources
        self.is_cine = len(self.origins) > len(sources)

    def references(self, indices: Iterable[int]) -> list[hd.sr.SourceImageForMeasurement]:
        """Of some frames, gathered by file."""
        numbers: dict[Path, list[int]] = {}
        for index in sorted(set(indices)):
            numbers.setdefault(self.origins[index].path, []).append(self.origins[index].index + 1)
        return [
            hd.sr.SourceImageForMeasurement(*self._uids(path), frames if self.is_cine else None)
            for path, frames in numbers.items()
        ]

    def whole(self) -> list[hd.sr.SourceImageForMeasurementGroup]:
        """Of the whole clip."""
        return [hd.sr.SourceImageForMeasurementGroup(*self._uids(path)) for path in self.sources]

    def _uids(self, path: Path) -> tuple[str, str]:
        return self.sources[path].SOPClassUID, self.sources[path].SOPInstanceUID


def _measurement_report(study: SegmentedStudy, frames: _Frames) -> hd.sr.MeasurementReport:
    name, version = name_and_version(study.model)
    observer = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[name, version]), name=f"{name} {version}", model_name=INTENDED_USE
    )
    algorithm = hd.sr.AlgorithmIdentification(name=name, version=version)
    context = hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=observer)
    groups = [_group(number, study, frames, algorithm) for number, _ in study.measures.numbered()]
    return hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=context),
        procedure_reported=codes.SCT.Fluoroscopy,
        imaging_measurements=groups,
    )


def _group(
    number: int | None, study: SegmentedStudy, frames: _Frames, algorithm: hd.sr.AlgorithmIdentification
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """The measures of one swallow; of the whole film where there is no whole one, and ``number`` is None."""
    rows = [row for row in study.measure_rows() if row["swallow"] == number]
    name = "the whole film" if number is None else f"swallow {number}"
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=name),
        algorithm_id=algorithm,
        measurements=[_measurement(row, study, frames) for row in rows if row["value"] is not None],
        qualitative_evaluations=[_failure(row) for row in rows if row["value"] is None],
        source_images=frames.whole(),
    )


def _measurement(row: Mapping[str, Any], study: SegmentedStudy, frames: _Frames) -> hd.sr.Measurement:
    name, unit = row["measure"], unit_code(row["unit"])
    basis, swallow = _basis_of(name), study.measures.swallows[(row["swallow"] or 1) - 1]
    measurement = hd.sr.Measurement(
        name=measure_code(name),
        value=row["value"],
        unit=unit,
        derivation=basis.derivation,
        finding_sites=[hd.sr.FindingSite(segment_code(structure)[1]) for structure in basis.structures],
        referenced_images=frames.references(_frames_of(name, basis, swallow)),
    )
    _add(measurement[0], [*_uncertainty(row["uncertainty"], unit), *_properties(row)])
    return measurement


def _failure(row: Mapping[str, Any]) -> hd.sr.QualitativeEvaluation:
    """Of a measure without a value: highdicom does not read a number that is empty, as PS3.3 C.18.1 would have it."""
    evaluation = hd.sr.QualitativeEvaluation(name=measure_code(row["measure"]), value=codes.DCM.MeasurementFailure)
    _add(evaluation[0], _properties(row))
    return evaluation


def _add(item: Dataset, children: list[hd.sr.ContentItem]) -> None:
    item.ContentSequence = [*item.get("ContentSequence", []), *children]


def _basis_of(name: str) -> Basis:
    beginning = max((each for each in BASES if name.startswith(each)), key=len, default=None)
    return Basis(()) if beginning is None else BASES[beginning]


def _frames_of(name: str, basis: Basis, swallow: SwallowMeasures) -> Sequence[int]:
    if name == IN_AIRWAY:
        return swallow.airway_frames
    return [swallow.events[event] for event in basis.events if event in swallow.events]


def _uncertainty(half_width: float | None, unit: Code) -> list[hd.sr.NumContentItem]:
    """As in TID 310, in the measure's own unit: highdicom's template says that it has none."""
    names = (codes.SCT.RangeOfUpperMeasurementUncertainty, codes.SCT.RangeOfLowerMeasurementUncertainty)
    relationship = RelationshipTypeValues.HAS_PROPERTIES
    if half_width is None:
        return []
    return [hd.sr.NumContentItem(name, half_width, unit, relationship_type=relationship) for name in names]


def _properties(row: Mapping[str, Any]) -> list[hd.sr.ContentItem]:
    """The other columns of ``measures.csv``."""
    known = ("measure", "value", "unit", "uncertainty")
    units = {"human_error": row["unit"], "frames": "frames"}
    return [
        _property(key, value, units.get(key, "1"))
        for key, value in row.items()
        if key not in known and value not in (None, "")
    ]


def _property(column: str, value: Any, unit: str) -> hd.sr.ContentItem:
    name = codes.DCM.Comment if column == "reason" else measure_code(column)
    relationship = RelationshipTypeValues.HAS_PROPERTIES
    if isinstance(value, int | float):
        return hd.sr.NumContentItem(name, value, unit_code(unit), relationship_type=relationship)
    return hd.sr.TextContentItem(name, str(value), relationship_type=relationship)
