"""A look inside on real films: feature space and CKA of teachers and of a student before and after; no picture."""

from pathlib import Path

import numpy as np
from monai.bundle import ConfigParser

from bundle.atomic import write_text
from bundle.data.datalist import read_datalist
from bundle.laboratory.studies.feature_space import draw_embeddings, nearest_table
from bundle.laboratory.studies.inside import network_points, similarity_part, write_figure
from bundle.laboratory.studies.layer_similarity import differences_only, draw_similarity, layer_similarity
from bundle.laboratory.studies.networks import AFTER, BEFORE, HeldOutFrames, Networks, all_features
from bundle.laboratory.studies.readouts import read_student
from bundle.laboratory.studies.real_films import load_films
from bundle.paths import ROOT
from bundle.weights import find_card

SEED = 0
"""Of the random weights, where no student before is given."""


def look_inside_films(
    datalist: str | Path,
    config: str | Path,
    after: str | Path,
    output_dir: str | Path,
    before: str | Path | None = None,
    section: str = "test",
) -> Path:
    """Measure, draw, and write ``inside_<name of the data list>.md`` with its two figures; its path.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the student has no card, or a file does not fit.
    """
    card, name, target = find_card(after), Path(datalist).stem, Path(output_dir)
    if not {"student_backbone", "image_size"} <= card.keys():
        raise ValueError(f"{Path(after).with_suffix('.json')} must say student_backbone and image_size, got {card}")
    structures = read_datalist(datalist)["structures"]
    patients, frames, masks = load_films(datalist, section, structures, card["image_size"])
    held = HeldOutFrames(frames, masks > 0.5, np.unique(patients, return_inverse=True)[1])
    parser = ConfigParser(ConfigParser.load_config_file(str(config)))
    parser["bundle_root"] = str(ROOT)
    teachers = parser.get_parsed_content("teachers")
    files = {BEFORE: before, AFTER: after}
    students = {
        when: read_student(None if path is None else Path(path), card["student_backbone"], SEED).eval()
        for when, path in files.items()
    }
    batches = list(all_features(Networks(teachers, students), held.frames, batch_size=4))
    grid_size = min(teacher.grid_size for teacher in teachers.values())
    titles = {teacher: teacher for teacher in teachers}
    alike = {name: layer_similarity(batches, grid_size)}
    points = {name: network_points(batches, held)}
    write_figure(draw_embeddings(points[name], structures), target / f"inside_{name}_feature_space.png", dpi=110)
    write_figure(draw_similarity(alike, titles), target / f"inside_{name}_cka.svg")
    text = PAGE.format(
        name=name,
        films=len(held.frames),
        section=section,
        before="random weights" if before is None else f"`{Path(before).name}`",
        grid=grid_size,
        nearest=nearest_table(points),
        cka=similarity_part(alike, titles),
        differences=similarity_part({name: layer_similarity(differences_only(batches), grid_size)}, titles),
    )
    return write_text(target / f"inside_{name}.md", text)


PAGE = """# A look inside on real films: {name}

{films} films of the section `{section}`; none of them is shown. Student before: {before}. Student after: distilled from
these teachers.

## Feature space

![t-SNE of the structures' features](inside_{name}_feature_space.png)

Each point is one structure in one film: the features, averaged under its true mask. t-SNE keeps neighbors together;
distances between groups, and their sizes, mean nothing. How often the nearest point of *another patient* is of the same
structure:

{nearest}

## CKA

![Linear CKA of the student's layers and the teachers, before and after distillation](inside_{name}_cka.svg)

Linear CKA over all positions on a grid of {grid} x {grid}. Layers: student before → after. Below them: the teachers
among themselves.

{cka}

The same without what all films have in common at a position:

{differences}
"""
