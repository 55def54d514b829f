"""Where studies come from: a file or folder, or a PACS, whose series are fetched one after the other."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bundle.data.sources import LeftOut, is_address
from bundle.inference.folder import FoundStudies, Study, find_studies
from bundle.inference.pacs import Pacs

FETCHED = ".fetched-"
"""How folders begin in which a series of a PACS lies while it is segmented."""


class FetchedStudies:
    """The studies of a PACS, in the order of their UIDs: a series is on the disk until the next one is asked for.

    Args:
        pacs: With an address that says which.
        folder: Gets a hidden folder for the series; what a killed run has left there goes.

    Raises:
        PacsError: If the PACS has none, or cannot be asked.
    """

    def __init__(self, pacs: Pacs, folder: str | Path) -> None:
        self.pacs, self.folder = pacs, Path(folder)
        self.series = pacs.find_series()

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[Study]:
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f"{FETCHED}*"):
            shutil.rmtree(left)
        for study, series in self.series:
            with tempfile.TemporaryDirectory(prefix=FETCHED, dir=self.folder) as place:
                if self.pacs.fetch(study, series, Path(place)):
                    yield from find_studies(place).studies


def find_input(source: str | Path | None, output_dir: str | Path) -> FoundStudies:
    """The studies of a file, a folder or a PACS.

    Args:
        source: Path, or address such as ``https://host/dicom-web?StudyInstanceUID=1.2.3``; None has no studies.
        output_dir: Folder of the results, which is not searched.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If there is no study in it, or the address is wrong.
        PacsError: If the PACS has none, or cannot be asked.
    """
    if source is not None and is_address(source):
        return FoundStudies(FetchedStudies(Pacs(str(source)), output_dir), LeftOut())
    return find_studies(source, exclude=output_dir)
