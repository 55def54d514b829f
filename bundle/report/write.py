"""Put the report together: everything in one HTML file that needs no network and loads nothing."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from bundle.atomic import write_text
from bundle.data.clip import Clip
from bundle.metrics.kinematics import FilmMeasures
from bundle.metrics.kinematics.clip_masks import ClipMasks, MaskFrames
from bundle.metrics.measured_errors import UNMEASURED
from bundle.report import sections
from bundle.report.content import script_json, study_content
from bundle.report.curves import refused_curves, swallow_curves
from bundle.report.marks import structure_marks
from bundle.report.words import usable_times

SCRIPTS = ("cine.js", "plots.js", "page.js")


def write_report(
    path: str | Path,
    masks: MaskFrames,
    clip: Clip,
    structures: Sequence[str],
    measures: FilmMeasures | None,
    model: Mapping[str, str],
    study_key: str,
) -> Path:
    """Write the report of one study; nothing in it names a file or a patient.

    Args:
        path: HTML file, complete or not there.
        masks: ``(T, S, H, W)``, 0 and 1.
        clip: What was segmented. Text burned into its frames stays.
        structures: Names of the S channels.
        measures: From ``measure_if_lateral``; None: curves but no table, events or review frames.
        model: Name and version of what made the masks.
        study_key: What the study is called.

    Raises:
        ValueError: If masks, clip and structures do not fit.
    """
    grid = clip.num_frames, clip.shape.rows, clip.shape.columns
    if (*masks.shape[:1], *masks.shape[2:]) != grid:
        raise ValueError(f"masks must be on the clip's grid {grid}, got {masks.shape}")
    swallow = ClipMasks(masks, usable_times(clip), structures, clip.pixel_aspect)
    refusal = "" if measures is None else measures.refusal
    curves = refused_curves("not measured") if refusal else swallow_curves(swallow, _windows(measures))
    marks = structure_marks(structures)
    content = study_content(swallow.masks, clip, marks, curves, measures)
    page = Template(_part("page.html")).substitute(
        study_key=escape(study_key),
        length=escape(_length(clip)),
        refusal=sections.refusal_html(refusal),
        clip_warnings=sections.clip_warnings(clip, content["simplified"]),
        last_frame=clip.num_frames - 1,
        num_frames=clip.num_frames,
        switches=sections.switches(marks),
        plots=sections.plots_html(curves.plots, marks),
        path=sections.path_html(curves.plots[0]),
        overview=sections.overview_html(measures, clip),
        swallows=sections.swallows_html(measures, curves.rest_frames, clip),
        people=sections.people_html(),
        errors=escape(model.get("errors", UNMEASURED.words)),
        csv=sections.csv_link(measures, study_key),
        facts=sections.facts_html(clip, model, study_key),
        style=_part("page.css"),
        content=script_json(content),
        script="\n".join(_part(name) for name in SCRIPTS),
    )
    return write_text(path, page)


def _windows(measures: FilmMeasures | None) -> list[tuple[int, int]]:
    """Frames of each whole swallow."""
    if measures is None or measures.refusal or measures.no_swallow:
        return []
    return [swallow.frames for swallow in measures.swallows]


def _length(clip: Clip) -> str:
    frames = f"{clip.num_frames} frame{'s' if clip.num_frames > 1 else ''}"
    times = usable_times(clip)
    return frames if times is None or len(times) < 2 else f"{frames} · {times[-1] / 1000:.2f} s"


def _part(name: str) -> str:
    return files("bundle.report").joinpath(name).read_text(encoding="utf-8")
