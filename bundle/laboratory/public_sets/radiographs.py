"""Chest radiographs as data lists: Montgomery and Shenzhen with lungs, JSRT with the five structures of SCR.

Montgomery County (``MCUCXR_*``) and Shenzhen (``CHNCXR_*``): Jaeger et al., Quant. Imaging Med. Surg. 2014; 4: 475-477;
lung masks: Candemir et al., IEEE Trans. Med. Imaging 2014; 33: 577-590. JSRT: Shiraishi et al., AJR 2000; 174: 71-74;
its masks, SCR: van Ginneken, Stegmann & Loog, Medical Image Analysis 2006; 10: 19-40. For research; JSRT is
not to be passed on. None of the films is part of this repository.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from bundle.data.make_datalist import make_datalist

JSRT_STRUCTURES = ("heart", "left_lung", "right_lung", "left_clavicle", "right_clavicle")

NAMES_OF_THE_SETS = {
    "chest X-rays": re.compile(r"(MCU|CHN)CXR_\d+_[01]"),  # set, number, and 0 (normal) or 1 (abnormal)
    "JSRT films": re.compile(r"JPC[LN]N\d{3}"),  # L with, N without a nodule
}
"""Of files without their suffix; source and license are written only if every name is of the set."""

ABOUT = {
    "chest X-rays": {
        "source": "Montgomery County and Shenzhen chest X-ray sets, US National Library of Medicine: Jaeger et al., "
        "Quant. Imaging Med. Surg. 2014; 4: 475-477. Lung masks: Candemir et al., IEEE Trans. Med. Imaging 2014; 33: "
        "577-590",
        "license": "for research, with citation of both papers: see the terms of the National Library of Medicine",
    },
    "JSRT films": {
        "source": "films: JSRT database, Shiraishi et al., AJR 2000; 174: 71-74. Masks: SCR, van Ginneken, Stegmann & "
        "Loog, Medical Image Analysis 2006; 10: 19-40",
        "license": "for research and education, with citation of both papers, no redistribution",
    },
}


def make_chest_xray_datalist(
    folder: str | Path, root: str | Path, fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> Path:
    """Split the patients and write the data list; the films stay where they are.

    Args:
        folder: Has ``images/*.png`` and, under the same names, ``masks/*.png``; one film per patient.
        root: Gets ``datalist.json``.
        fractions: Shares of the patients in training, validation and test.
        seed: Of the draw that splits the patients.

    Returns:
        Path of ``datalist.json``.

    Raises:
        FileNotFoundError: If there is no such folder, or a film lacks a mask.
        ValueError: If there are fewer patients than sections, or a mask has another size than its film.
    """
    return _make("chest X-rays", ["lung"], "masks", folder, root, fractions, seed)


def make_jsrt_datalist(
    folder: str | Path, root: str | Path, fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> Path:
    """As :func:`make_chest_xray_datalist`, with ``masks/<structure>/*.png`` of each of ``JSRT_STRUCTURES``."""
    return _make("JSRT films", JSRT_STRUCTURES, "masks/{structure}", folder, root, fractions, seed)


def _make(
    what: str,
    structures: Sequence[str],
    masks: str,
    folder: str | Path,
    root: str | Path,
    fractions: Sequence[float],
    seed: int,
) -> Path:
    images = Path(folder) / "images"
    if not images.is_dir():
        raise FileNotFoundError(
            f"no {what}: expected PNG files in {images} and, of the same names, in {masks} beside it"
        )
    is_of_the_set = all(NAMES_OF_THE_SETS[what].fullmatch(path.stem) for path in images.glob("*.png"))
    return make_datalist(
        folder,
        structures=structures,
        output=Path(root) / "datalist.json",
        images="images/*.png",
        labels=f"../{masks}/{{stem}}",
        patient_pattern=r"images/(.+)\.png",
        fractions=fractions,
        seed=seed,
        **(ABOUT[what] if is_of_the_set else {}),
    )
