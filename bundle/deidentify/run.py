"""A file or folder of studies to copies without identity, file by file, with what became of each."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from bundle.data.clip import UnreadableStudyError
from bundle.data.kinds import is_dicom
from bundle.data.sources import LeftOut, find_sources, shown
from bundle.deidentify.blacken import Rectangle
from bundle.deidentify.copies import (
    REFUSED,
    VIDEO_FORMATS,
    Outcome,
    deidentify_dicom,
    deidentify_video,
    mark_folder,
)
from bundle.deidentify.pseudonyms import Pseudonyms, read_or_make_key

NOT_DONE_BY_THIS_TOOL = """\
What this tool does not do, and a person must:
- Find text in the picture. Names, dates and times that are burned into frames stay: look at every file, and give
  --blacken ROW0,COL0,ROW1,COL1 where there is some.
- Hide recognizable anatomy: the outline of a face, teeth, implants, jewellery, rare findings.
- Look into compressed streams: comments inside JPEG or H.264 data stay, unless --blacken rewrites the pixels.
- Judge what is left: device model, acquisition settings, codes and frame times may identify together with other
  knowledge, and a pseudonym ties the files of one patient together.
- Decide whether sharing is lawful. Whoever has the key file can find out whom a pseudonym stands for: keep it apart."""


@dataclass(frozen=True)
class DeidentifyReport:
    """What became of every file."""

    root: Path  # Folder of the originals
    output: Path  # Folder of the copies
    outcomes: tuple[Outcome, ...]  # In the order of the files
    num_files: int  # More than the outcomes if the run was interrupted
    left_out: LeftOut  # What was not looked at

    @property
    def exit_status(self) -> int:
        """0 if there is a copy of every file, else 1."""
        return int(not self.outcomes or self.num_copies < self.num_files)

    @property
    def num_copies(self) -> int:
        """Files of which there is a copy."""
        return sum(outcome.status != REFUSED for outcome in self.outcomes)

    def table(self) -> str:
        """One line per file, paths from the two folders; it names originals, so keep it as confidential as they are."""
        lines = [self._line(outcome) for outcome in self.outcomes]
        is_whole = len(self.outcomes) == self.num_files
        total = f"{self.num_copies} of {self.num_files} files done{'' if is_whole else ': interrupted'}"
        return "\n".join([*lines, *self.left_out.lines(), total])

    def _line(self, outcome: Outcome) -> str:
        target = f" -> {outcome.target.relative_to(self.output)}" if outcome.target else ""
        notes = f" ({'; '.join(outcome.notes)})" if outcome.notes else ""
        return f"{outcome.status:<12} {shown(outcome.source.relative_to(self.root))}{target}{notes}"


def deidentify(
    source: str | Path,
    output: str | Path,
    rectangle: Rectangle | None = None,
    key_file: str | Path | None = None,
    progress: bool = True,
) -> DeidentifyReport:
    """Copy what can be cleaned; originals are only read, and nothing is overwritten.

    Every file that ``find_sources`` does not leave out has an outcome. An interruption ends the run with what is done,
    since nobody can tell again which copy is whose.

    Args:
        source: File or folder, searched with its subfolders.
        output: Folder of the copies, outside ``source``.
        rectangle: What becomes black in every frame of every DICOM file; videos are then refused.
        key_file: Makes names and UIDs the same across runs. Made if it is not there.
        progress: Whether to show a progress bar.
    """
    source, output = Path(source), Path(output)
    sources = find_sources(source, exclude=output)
    _check_folders(source if sources.files == [source] else sources.root, output, key_file)
    pseudonyms = Pseudonyms(read_or_make_key(key_file) if key_file is not None else None)
    outcomes: list[Outcome] = []
    try:
        for file in tqdm(sources.files, desc="files", unit="file", disable=not progress):
            outcomes.append(_deidentify_file(file, output, pseudonyms, rectangle))
    except KeyboardInterrupt:
        pass  # the table says so
    return DeidentifyReport(sources.root, output, tuple(outcomes), len(sources.files), sources.left_out)


def _check_folders(source: Path, output: Path, key_file: str | Path | None) -> None:
    inside, outside = output.resolve(), source.resolve()
    if source.is_dir() and (inside.is_relative_to(outside) or outside.is_relative_to(inside)):
        raise ValueError(f"copies and originals must not mix: {output} and {source} lie in each other")
    if key_file is not None and Path(key_file).resolve().is_relative_to(inside):
        raise ValueError(f"the key file must not lie among the copies, which it undoes: {key_file} is in {output}")


def _deidentify_file(file: Path, output: Path, pseudonyms: Pseudonyms, rectangle: Rectangle | None) -> Outcome:
    try:
        outcome = _copy(file, output, pseudonyms, rectangle)
        mark_folder(output)
    except UnreadableStudyError as error:
        return Outcome(file, REFUSED, notes=(error.reason,))
    except OSError as error:
        return Outcome(file, REFUSED, notes=(error.strerror or str(error),))
    return outcome


def _copy(file: Path, output: Path, pseudonyms: Pseudonyms, rectangle: Rectangle | None) -> Outcome:
    if is_dicom(file):
        return deidentify_dicom(file, output, pseudonyms, rectangle)
    if file.suffix.lower() not in VIDEO_FORMATS:
        known = ", ".join(VIDEO_FORMATS)
        raise UnreadableStudyError(file, f"neither DICOM nor {known}: this tool does not know what identifies in it")
    if rectangle is not None:
        raise UnreadableStudyError(file, "--blacken works on DICOM only: cover the text in a video editor")
    return deidentify_video(file, output, pseudonyms)
