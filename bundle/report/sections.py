"""The parts of the page that are HTML before any script runs: switches, plots' frames, key frames, measures, facts."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from bundle.data.clip import Clip
from bundle.metrics.kinematics import FilmMeasures, Measure, SwallowMeasures
from bundle.metrics.reliability import MEASURE_COLUMNS, human_reliability, measure_rows
from bundle.report.content import picture_size
from bundle.report.curves import Curve, Plot
from bundle.report.marks import Mark
from bundle.report.outlines import SPECK_PIXELS
from bundle.report.words import (
    MEASURES,
    UNITS,
    event_label,
    grouped,
    items,
    measure_label,
    moment,
    number,
    rate_in_words,
    runs,
    runs_in_words,
    sentence,
    usable_times,
)

SHOWN_EVENTS = ("bolus_enters_pharynx", "ues_opening", "hyoid_peak", "pharyngeal_constriction")
MOST_AIRWAY_RUNS = 4
DASHES = ("", "7 4", "2 3", "9 3 2 3")  # of a plot's lines, in their order
HEAD = (
    '<thead><tr><th scope="col">Measure</th><th scope="col">Value</th><th scope="col">People</th>'
    '<th scope="col">Frames</th></tr></thead>'
)


@dataclass(frozen=True)
class KeyFrame:
    """A frame and why it is shown."""

    label: str  # in words
    frame: int  # index from 0
    is_for_review: bool = False  # whether a clinician is asked to look at it


def key_frames(swallow: SwallowMeasures, rest_frame: int | None) -> list[KeyFrame]:
    """Rest, events and the start of each of the first runs of frames with bolus in the airway, in the order of time."""
    found = [] if rest_frame is None else [KeyFrame("Rest", rest_frame)]
    found += [KeyFrame(event_label(e), swallow.events[e]) for e in SHOWN_EVENTS if e in swallow.events]
    airway = runs(swallow.airway_frames)[:MOST_AIRWAY_RUNS]
    found += [KeyFrame("Bolus in airway: review", first, is_for_review=True) for first, _ in airway]
    return sorted(found, key=lambda key_frame: key_frame.frame)


def switches(marks: Iterable[Mark]) -> str:
    """One check box per structure, all on."""
    return "".join(
        f'<label class="switch" style="--color:{mark.color};--text:{mark.ink}">'
        f'<input type="checkbox" checked data-structure="{index}">'
        f'<span class="swatch" aria-hidden="true">{escape(mark.code)}</span>'
        f'<span class="name">{escape(mark.label)}</span></label>'
        for index, mark in enumerate(marks)
    )


def refusal_html(refusal: str) -> str:
    """Why nothing is measured, for the top of the page; empty where it is."""
    return f'<p class="notice" role="alert"><strong>{escape(sentence(refusal))}.</strong></p>' if refusal else ""


def clip_warnings(clip: Clip, num_simplified: int) -> str:
    """What limits the recording, and how many masks are drawn simplified; empty where nothing is known."""
    warnings = list(clip.warnings)
    if num_simplified:
        warnings.append(
            f"{num_simplified} masks are too ragged to be drawn in full: their specks below {SPECK_PIXELS} pixels are "
            "left out and their outlines are coarser, in the picture only; curves and measures are from the whole masks"
        )
    return f'<ul class="warnings">{items(warnings)}</ul>' if warnings else ""


def plots_html(plots: Iterable[Plot], marks: list[Mark]) -> str:
    """An empty drawing with its legend per plot, or the reason why there is none."""
    return "".join(_plot(plot, {mark.name: mark for mark in marks}) for plot in plots)


def path_html(hyoid: Plot) -> str:
    """The hyoid's path from C4: a drawing, or the reason why there is none."""
    if hyoid.reason:
        return _missing(hyoid)
    return '<svg id="path" class="path" role="img" aria-label="Path of the hyoid in the axes of the spine"></svg>'


def key_frames_html(frames: list[KeyFrame], clip: Clip) -> str:
    """Buttons with room for a thumbnail each."""
    if not frames:
        return "<p>No key frames were found.</p>"
    return "".join(
        f'<button type="button" class="key-frame{" review" if key.is_for_review else ""}" data-frame="{key.frame}">'
        f'<canvas aria-hidden="true"></canvas><strong>{escape(key.label)}</strong>'
        f'<span class="when">{_when(key.frame, clip)}</span></button>'
        for key in frames
    )


def facts_html(clip: Clip, model: Mapping[str, str], study_key: str) -> str:
    """Where the numbers come from, as a list of terms."""
    facts = {
        "Study key": study_key,
        "Recording": _recording(clip),
        "Frame rate": rate_in_words(clip),
        "Pixel spacing": _spacing(clip),
        "Masks": "automatic, not checked by a person",
        **{f"Model {name}": value for name, value in model.items()},
    }
    return "".join(f"<dt>{escape(sentence(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())


def _plot(plot: Plot, marks: Mapping[str, Mark]) -> str:
    head = f"<h3>{escape(plot.title)} <small>{escape(plot.unit)}</small></h3>"
    if plot.reason:
        return f'<figure class="plot">{head}{_missing(plot)}</figure>'
    legend = "".join(
        _legend(curve, marks[curve.structure], dash) for curve, dash in zip(plot.curves, DASHES, strict=False)
    )
    return (
        f'<figure class="plot" data-plot="{plot.key}">{head}<div class="legend">{legend}</div>'
        f'<svg role="img" aria-label="{escape(plot.title)} over time, {escape(plot.unit)}"></svg></figure>'
    )


def _legend(curve: Curve, mark: Mark, dash: str) -> str:
    return (
        f'<span class="key" style="--light:{mark.on_light};--dark:{mark.on_dark}" data-dash="{dash}"'
        f' data-code="{escape(curve.code or mark.code)}">'
        f'<svg class="line" viewBox="0 0 26 6" aria-hidden="true"><path d="M1 3H25" stroke-dasharray="{dash}"/></svg>'
        f"{escape(curve.label or mark.label)} ({escape(curve.code or mark.code)}) <output></output></span>"
    )


def _when(frame: int, clip: Clip) -> str:
    return "".join(f"<span>{escape(part)}</span>" for part in moment(clip, frame).split(" · "))


def _recording(clip: Clip) -> str:
    rows, columns = clip.shape.rows, clip.shape.columns
    height, width = picture_size(clip)
    size = f"{clip.num_frames} frames of {rows} × {columns} pixels"
    if clip.pixel_aspect != 1:
        size += f", each {clip.pixel_aspect:.4g} times as high as wide; shown and measured so, in widths of a pixel"
    return size if (height, width) == (rows, columns) else f"{size}; shown reduced to {height} × {width} in this page"


def _missing(plot: Plot) -> str:
    return f'<p class="missing">{escape(sentence(plot.reason))}</p>'


def _spacing(clip: Clip) -> str:
    if clip.pixel_spacing_mm is None:
        return "none: no millimeters in this report"
    row, column = clip.pixel_spacing_mm
    size = f"{row:.3g} mm" if row == column else f"{row:.3g} mm between rows, {column:.3g} mm between columns"
    return f"{size} ({clip.spacing_source})"


def swallows_html(film: FilmMeasures | None, rest_frames: Sequence[int | None], clip: Clip) -> str:
    """A card per swallow: its key frames, its warnings and all its measures in groups."""
    if film is None or film.refusal:
        return ""
    rests = [*rest_frames, *[None] * len(film.swallows)]
    return "".join(
        f'<section class="card swallow"><div class="row spread"><h2>{_heading(count, len(film.swallows))}</h2>'
        f'<p class="hint">{escape(_span(swallow.frames, clip))}</p></div>'
        f'<div class="key-frames">{key_frames_html(key_frames(swallow, rest), clip)}</div>'
        f"{_warnings(swallow)}{_groups(swallow)}</section>"
        for (count, swallow), rest in zip(film.numbered(), rests, strict=False)
    )


def overview_html(film: FilmMeasures | None, clip: Clip) -> str:
    """Which swallows there are, what limits all of them, and what was refused and why."""
    if film is None:
        return "<p>No measures were taken from these masks.</p>"
    if film.refusal:
        return f'<p class="missing">{escape(sentence(film.refusal))}.</p>'
    if film.no_swallow:
        found = f'<p class="missing">No swallow is measured: {escape(sentence(film.no_swallow))}.</p>'
    else:
        buttons = "".join(
            f'<button type="button" class="go" data-frame="{swallow.events.get("hyoid_onset", swallow.frames[0])}">'
            f"{_heading(count, len(film.swallows))}: {escape(_span(swallow.frames, clip))}</button>"
            for count, swallow in film.numbered()
        )
        found = f'<div class="row">{buttons}</div>'
    warnings = f'<ul class="warnings">{items(film.warnings)}</ul>' if film.warnings else ""
    return f"{found}{warnings}<h3>Refused, and why</h3>{_refused(film)}"


def people_html() -> str:
    """What is known of people who take these measures, with sources."""
    rows = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td>{escape(str(human_reliability(name)))}</td></tr>'
        for name, label in MEASURES.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _refused(film: FilmMeasures) -> str:
    """Reasons, each with the measures of a swallow that it refuses."""
    refused: dict[tuple[str, str], list[str]] = {}
    for count, swallow in film.numbered():
        of = f"swallow {count}: " if len(film.swallows) > 1 else ""
        for measure in swallow.measures.values():
            if measure.value is None:
                why = measure.reason.removeprefix("not computable: ")
                refused.setdefault((of, why), []).append(measure_label(measure.name))
    if not refused:
        return "<p>Nothing: every measure was taken.</p>"
    reasons = items(f"{of}{why} – {', '.join(names)}" for (of, why), names in refused.items())
    return f'<ul class="refused">{reasons}</ul>'


def _heading(count: int | None, num_swallows: int) -> str:
    if count is None:
        return "The whole film"
    return f"Swallow {count} of {num_swallows}" if num_swallows > 1 else "Swallow"


def _span(frames: tuple[int, int], clip: Clip) -> str:
    """Such as ``frames 1–84 · 0.00–2.77 s``."""
    times, (first, stop) = usable_times(clip), frames
    words = f"frames {first + 1}–{stop}"
    return words if times is None else f"{words} · {times[first] / 1000:.2f}–{times[stop - 1] / 1000:.2f} s"


def _groups(swallow: SwallowMeasures) -> str:
    tables = "".join(
        f"<table><caption>{escape(heading)}</caption>{HEAD}<tbody>{''.join(map(_row, members))}</tbody></table>"
        for heading, members in grouped(swallow.measures.values()).items()
    )
    return f'<div class="groups">{tables}</div>'


def csv_link(film: FilmMeasures | None, study_key: str) -> str:
    """A link that saves the measures as a table; empty where there are none."""
    if film is None or film.refusal:
        return ""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(MEASURE_COLUMNS)
    writer.writerows([_text(value) for value in row.values()] for row in measure_rows(film))
    address = f"data:text/csv;charset=utf-8,{quote(file.getvalue())}"
    return f'<a class="button" download="measures-{escape(study_key)}.csv" href="{address}">Save as CSV</a>'


def _row(measure: Measure) -> str:
    name = f'<th scope="row">{escape(measure_label(measure.name))}</th>'
    opening = f'<tr data-measure="{escape(measure.name)}">'
    if measure.value is None:
        return f'{opening}{name}<td class="missing" colspan="3">{escape(sentence(measure.reason))}</td></tr>'
    unit = escape(UNITS.get(measure.unit, measure.unit))
    uncertainty = "" if measure.uncertainty is None else f" ± {number(measure.uncertainty)}"
    value = f'<span class="value"><b>{number(measure.value)}</b>{uncertainty}</span> <span class="unit">{unit}</span>'
    limit = human_reliability(measure.name).limit
    people = "–" if limit is None else f"± {number(limit)}"
    return f'{opening}{name}<td>{value}</td><td class="people">{people}</td><td>{measure.num_frames}</td></tr>'


def _warnings(swallow: SwallowMeasures) -> str:
    warnings = list(swallow.warnings)
    if swallow.airway_frames:
        warnings.append(f"frames with bolus in the airway: {runs_in_words(swallow.airway_frames)}")
    return f'<ul class="warnings">{items(warnings)}</ul>' if warnings else ""


def _text(value: str | float | None) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
