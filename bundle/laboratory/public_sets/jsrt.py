"""Chest radiographs with five overlapping structures (JSRT, masks of SCR): a folder becomes a data list.

Films: Japanese Society of Radiological Technology, Shiraishi et al., AJR 2000; 174: 71-74. Masks of the set SCR: van
Ginneken, Stegmann & Loog, Medical Image Analysis 2006; 10: 19-40. For research and education, not to be passed on. None
of them is part of this repository.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from bundle.data.make_datalist import make_datalist

STRUCTURES = ("heart", "left_lung", "right_lung", "left_clavicle", "right_clavicle")
NAME_OF_THE_SET = re.compile(r"JPC[LN]N\d{3}")
"""Of a file without its suffix: L with, N without a nodule."""

ABOUT = {
    "source": "films: JSRT database, Shiraishi et al., AJR 2000; 174: 71-74. Masks: SCR, van Ginneken, Stegmann & "
    "Loog, Medical Image Analysis 2006; 10: 19-40",
    "license": "for research and education, with citation of both papers, no redistribution",
}


def make_jsrt_datalist(
    folder: str | Path, root: str | Path, fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> Path:
    """Split the patients and write the data list; the films stay where they are.

    Args:
        folder: Has ``images/*.png`` and, under the same names, ``masks/<structure>/*.png`` of each of ``STRUCTURES``;
            one film per patient. Source and licence are written only if every name is of the set.
        root: Gets ``datalist.json``.
        fractions: Shares of the patients in training, validation and test.
        seed: Of the draw that splits the patients.

    Returns:
        Path of ``datalist.json``.

    Raises:
        FileNotFoundError: If there is no such folder, or a film lacks a mask.
        ValueError: If there are fewer patients than sections, or a mask has another size than its film.
    """
    images = Path(folder) / "images"
    if not images.is_dir():
        raise FileNotFoundError(
            f"no JSRT films: expected PNG files in {images} and, of the same names, in masks/<structure> beside it"
        )
    is_of_the_set = all(NAME_OF_THE_SET.fullmatch(path.stem) for path in images.glob("*.png"))
    return make_datalist(
        folder,
        structures=STRUCTURES,
        output=Path(root) / "datalist.json",
        images="images/*.png",
        labels="../masks/{structure}/{stem}",
        patient_pattern=r"images/(.+)\.png",
        fractions=fractions,
        seed=seed,
        **(ABOUT if is_of_the_set else {}),
    )
