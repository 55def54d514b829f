"""Chest X-rays with lung masks of the US National Library of Medicine: a folder becomes a data list.

Montgomery County (``MCUCXR_*``) and Shenzhen (``CHNCXR_*``): Jaeger et al., Quant. Imaging Med. Surg. 2014; 4: 475-477.
Lung masks: Candemir et al., IEEE Trans. Med. Imaging 2014; 33: 577-590. The library gives the images for research and
asks that the papers are cited; read its terms before you use them. None of them is part of this repository.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from bundle.data.make_datalist import make_datalist

STRUCTURE = "lung"
NAME_OF_THE_SETS = re.compile(r"(MCU|CHN)CXR_\d+_[01]")
"""Of a file without its suffix: set, number, and 0 (normal) or 1 (abnormal)."""

ABOUT = {
    "source": "Montgomery County and Shenzhen chest X-ray sets, US National Library of Medicine: Jaeger et al., Quant. "
    "Imaging Med. Surg. 2014; 4: 475-477. Lung masks: Candemir et al., IEEE Trans. Med. Imaging 2014; 33: 577-590",
    "license": "for research, with citation of both papers: see the terms of the National Library of Medicine",
}


def make_chest_xray_datalist(
    folder: str | Path, root: str | Path, fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> Path:
    """Split the patients and write the data list; the images stay where they are.

    Args:
        folder: Has ``images/*.png`` and, under the same names, ``masks/*.png``; one file per patient. Source and
            licence are written only if every name is of the two sets.
        root: Gets ``datalist.json``.
        fractions: Shares of the patients in training, validation and test.
        seed: Of the draw that splits the patients.

    Returns:
        Path of ``datalist.json``.

    Raises:
        FileNotFoundError: If there is no such folder, or an image has no mask.
        ValueError: If there are fewer patients than sections, or a mask has another size than its image.
    """
    images = Path(folder) / "images"
    if not images.is_dir():
        raise FileNotFoundError(
            f"no chest X-rays: expected PNG files in {images} and, of the same names, beside it in masks"
        )
    is_of_the_sets = all(NAME_OF_THE_SETS.fullmatch(path.stem) for path in images.glob("*.png"))
    return make_datalist(
        folder,
        structures=[STRUCTURE],
        output=Path(root) / "datalist.json",
        images="images/*.png",
        labels="../masks/{stem}",
        patient_pattern=r"images/(.+)\.png",
        fractions=fractions,
        seed=seed,
        **(ABOUT if is_of_the_sets else {}),
    )
