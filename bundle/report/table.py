"""The table of measures, as HTML and as a link to a CSV file inside the page."""

import csv
import io
from html import escape
from urllib.parse import quote

from bundle.metrics.kinematics import Measure, SwallowMeasures
from bundle.report.words import UNITS, grouped, items, measure_label, number, runs_in_words, sentence

HEAD = '<thead><tr><th scope="col">Measure</th><th scope="col">Value</th><th scope="col">Frames</th></tr></thead>'


def measures_html(measures: SwallowMeasures | None) -> str:
    """All measures in groups, with their warnings; a sentence where none were taken."""
    if measures is None:
        return "<p>No measures were taken from these masks.</p>"
    if measures.refusal:
        return f'<p class="missing">{escape(sentence(measures.refusal))}.</p>'
    groups = "".join(
        f"<table><caption>{escape(heading)}</caption>{HEAD}<tbody>{''.join(map(_row, members))}</tbody></table>"
        for heading, members in grouped(measures.measures.values()).items()
    )
    return f'{_warnings(measures)}<div class="groups">{groups}</div>'


def csv_link(measures: SwallowMeasures | None, study_key: str) -> str:
    """A link that saves the measures as a table; empty where there are none."""
    if measures is None or measures.refusal:
        return ""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["measure", "value", "unit", "uncertainty", "frames", "reason"])
    for m in measures.measures.values():
        writer.writerow([_text(x) for x in (m.name, m.value, m.unit, m.uncertainty, m.num_frames, m.reason)])
    address = f"data:text/csv;charset=utf-8,{quote(file.getvalue())}"
    return f'<a class="button" download="measures-{escape(study_key)}.csv" href="{address}">Save as CSV</a>'


def _row(measure: Measure) -> str:
    name = f'<th scope="row">{escape(measure_label(measure.name))}</th>'
    opening = f'<tr data-measure="{escape(measure.name)}">'
    if measure.value is None:
        return f'{opening}{name}<td class="missing" colspan="2">{escape(sentence(measure.reason))}</td></tr>'
    unit = escape(UNITS.get(measure.unit, measure.unit))
    uncertainty = "" if measure.uncertainty is None else f" ± {number(measure.uncertainty)}"
    value = f'<span class="value"><b>{number(measure.value)}</b>{uncertainty}</span> <span class="unit">{unit}</span>'
    return f"{opening}{name}<td>{value}</td><td>{measure.num_frames}</td></tr>"


def _warnings(measures: SwallowMeasures) -> str:
    warnings = list(measures.warnings)
    if measures.airway_frames:
        warnings.append(f"frames with bolus in the airway: {runs_in_words(measures.airway_frames)}")
    return f'<ul class="warnings">{items(warnings)}</ul>' if warnings else ""


def _text(value: str | float | None) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
