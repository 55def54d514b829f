"""The clinical measures of a phantom study worked out from its true motion, not from its masks."""

import numpy as np

from bundle.data.phantom.study import PhantomStudy

NARROWEST = 0.75
"""The phantom's sphincter is this much narrower in its middle than at its ends, where its truth gives the width."""

ENTRY_STATION = 0.30
"""Where the phantom's pharynx begins on the way of the bolus."""


def true_events(study: PhantomStudy) -> dict[str, int]:
    """Frames of the events, named as in ``SwallowMeasures.events``; -1 where one is not in the study."""
    truth = study.kinematics
    has_entered = truth.bolus_head >= ENTRY_STATION
    return {
        "hyoid_onset": truth.hyoid_onset_frame,
        "hyoid_peak": truth.hyoid_peak_frame,
        "pharyngeal_constriction": truth.constriction_frame,
        "bolus_enters_pharynx": int(np.argmax(has_entered)) if has_entered.any() else -1,
        "ues_opening": truth.ues_opening_frame,
        "ues_closing": truth.ues_closing_frame,
    }


def true_measures(study: PhantomStudy) -> dict[str, float]:
    """Values by the names and in the units of ``measure_swallow``, of a study that begins at rest.

    Areas count what a mask would hide behind other tissue. Times are those of the frames in which the events fall.
    """
    truth, events = study.kinematics, true_events(study)
    percent = 100.0 / truth.c2_c4_mm
    rest, peak = truth.hyoid_mm[0], truth.hyoid_mm[truth.hyoid_peak_frame]
    area = truth.pharynx_area_mm2 * percent / truth.c2_c4_mm
    after = slice(truth.ues_closing_frame, None)
    times = study.frame_times_ms
    return {
        "c2_c4_length": truth.c2_c4_mm / study.pixel_spacing_mm[0],
        "hyoid_rest_xy": percent * float(np.hypot(*rest)),
        "hyoid_peak_xy": percent * float(np.hypot(*peak)),
        "hyoid_excursion_x": percent * float((peak - rest)[0]),
        "hyoid_excursion_y": percent * float((peak - rest)[1]),
        "hyoid_excursion_xy": percent * float(np.hypot(*(peak - rest))),
        "pharyngeal_area_rest": float(area[0]),
        "pharyngeal_area_constriction": float(area.min()),
        "pharyngeal_constriction_ratio": float(area.min() / area[0]),
        "ues_maximal_width": percent * NARROWEST * float(truth.ues_width_mm.max()),
        "ues_opening_duration": float(times[events["ues_closing"]] - times[events["ues_opening"]]),
        "pharyngeal_transit": float(times[events["ues_closing"]] - times[events["bolus_enters_pharynx"]]),
        "residue": percent * float(np.median(truth.residue_area_mm2[after])) / truth.c2_c4_mm,
        "bolus_in_airway": float(np.count_nonzero(truth.bolus_in_airway)),
    }
