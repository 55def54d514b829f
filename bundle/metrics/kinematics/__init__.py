"""Clinical measures of a swallow from its masks: C2-C4 scale, hyoid, pharynx, sphincter, residue, timings, airway."""

from bundle.metrics.kinematics.clip_masks import FilmMeasures, Measure, SwallowMeasures
from bundle.metrics.kinematics.film import measure_film
from bundle.metrics.kinematics.hidden import largest_field, visible_field
from bundle.metrics.kinematics.swallow import measure_swallow
from bundle.metrics.kinematics.verdict import measure_if_lateral

__all__ = [
    "FilmMeasures",
    "Measure",
    "SwallowMeasures",
    "largest_field",
    "measure_film",
    "measure_if_lateral",
    "measure_swallow",
    "visible_field",
]
