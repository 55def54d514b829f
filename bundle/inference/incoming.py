"""Where studies come from: a file or folder, or a PACS, whose series are fetched one after the other."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
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


def share_of(studies: Sequence[Study], share: str) -> Sequence[Study]:
    """Every n-th study, for one of n runs that share a folder: ``2/4`` is the second, sixth, tenth and so on.

    Raises:
        ValueError: If ``share`` is not such a text, or nothing is left for it.
    """
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", share)
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError(f"share must be which of how many runs, such as 2/4 for the second of four, got {share!r}")
    if int(found[1]) > len(studies):
        raise ValueError(f"nothing is left for share {share}: studies of the input: {len(studies)}; use fewer runs")
    return studies[int(found[1]) - 1 :: int(found[2])]


def find_input(source: str | Path | None, output_dir: str | Path, share: str | None = None) -> FoundStudies:
    """The studies of a file, a folder or a PACS, or a share of them.

    Args:
        source: Path, or address such as ``https://host/dicom-web?StudyInstanceUID=1.2.3``; None has no studies.
        output_dir: Folder of the results, which is not searched.
        share: As for ``share_of``; None: all.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If there is no study in it, or the address or the share is wrong.
        PacsError: If the PACS has none, or cannot be asked.
    """
    if source is None or not is_address(source):
        found = find_studies(source, exclude=output_dir)
        return found if share is None else FoundStudies(share_of(list(found.studies), share), found.left_out)
    if share is not None:
        raise ValueError(f"a PACS has no share {share!r}: give each run the UIDs of its own studies, or a folder")
    return FoundStudies(FetchedStudies(Pacs(str(source)), output_dir), LeftOut())
