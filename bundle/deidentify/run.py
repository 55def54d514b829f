"""A file or folder of studies to copies without identity, file by file, with what became of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from bundle.data.clip import UnreadableStudyError
from bundle.data.dicom import DICOM_SUFFIXES, has_dicom_preamble
from bundle.deidentify.blacken import Rectangle
from bundle.deidentify.dicom import deidentify_dicom
from bundle.deidentify.pseudonyms import Pseudonyms, read_or_make_key
from bundle.deidentify.video import FORMATS, deidentify_video

DONE, REFUSED = "done", "refused"
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
class Outcome:
    """What became of a file.

    Attributes:
        source: The original.
        status: ``done`` or ``refused``.
        target: The copy; None where refused.
        notes: Why it was refused, or what a person must look at.
    """

    source: Path
    status: str
    target: Path | None = None
    notes: tuple[str, ...] = ()


def deidentify(
    source: str | Path,
    output: str | Path,
    rectangle: Rectangle | None = None,
    key_file: str | Path | None = None,
    progress: bool = True,
) -> list[Outcome]:
    """Copy what can be cleaned; originals are only read, and nothing is overwritten.

    Hidden files and DICOMDIR are left out; every other file has an outcome.

    Args:
        source: File or folder, searched with its subfolders.
        output: Folder of the copies, outside ``source``.
        rectangle: What becomes black in every frame of every DICOM file; videos are then refused.
        key_file: Makes names and UIDs the same across runs. Made if it is not there.
        progress: Whether to show a progress bar.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If a folder lies in the other, or the key file among the copies or is none.
    """
    source, output = Path(source), Path(output)
    if not source.exists():
        raise FileNotFoundError(f"no such file or folder: {source}")
    _check_folders(source, output, key_file)
    pseudonyms = Pseudonyms(read_or_make_key(key_file) if key_file is not None else None)
    files = [source] if source.is_file() else list(_files(source))
    shown = tqdm(files, desc="files", unit="file", disable=not progress)
    return [_deidentify_file(file, output, pseudonyms, rectangle) for file in shown]


def outcome_table(outcomes: Sequence[Outcome], source: str | Path, output: str | Path) -> str:
    """One line per file, paths from the two folders; it names originals, so keep it as confidential as they are."""
    lines = []
    for outcome in outcomes:
        name = outcome.source.relative_to(source) if outcome.source != Path(source) else outcome.source.name
        target = f" -> {outcome.target.relative_to(output)}" if outcome.target else ""
        notes = f" ({'; '.join(outcome.notes)})" if outcome.notes else ""
        lines.append(f"{outcome.status:8}{name}{target}{notes}")
    num_done = sum(outcome.status == DONE for outcome in outcomes)
    return "\n".join([*lines, f"{num_done} of {len(outcomes)} files done"])


def _check_folders(source: Path, output: Path, key_file: str | Path | None) -> None:
    inside, outside = output.resolve(), source.resolve()
    if source.is_dir() and (inside.is_relative_to(outside) or outside.is_relative_to(inside)):
        raise ValueError(f"copies and originals must not mix: {output} and {source} lie in each other")
    if key_file is not None and Path(key_file).resolve().is_relative_to(inside):
        raise ValueError(f"the key file must not lie among the copies, which it undoes: {key_file} is in {output}")


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not is_hidden and path.name.upper() != "DICOMDIR":
            yield path


def _deidentify_file(file: Path, output: Path, pseudonyms: Pseudonyms, rectangle: Rectangle | None) -> Outcome:
    try:
        target, notes = _copy(file, output, pseudonyms, rectangle)
    except UnreadableStudyError as error:
        return Outcome(file, REFUSED, notes=(error.reason,))
    except FileExistsError as error:
        return Outcome(file, REFUSED, notes=(str(error),))
    except PermissionError:
        return Outcome(file, REFUSED, notes=("no permission to read it",))
    return Outcome(file, DONE, target, tuple(notes))


def _copy(
    file: Path, output: Path, pseudonyms: Pseudonyms, rectangle: Rectangle | None
) -> tuple[Path, list[str]]:  # copy, notes
    if file.name.lower().endswith(DICOM_SUFFIXES) or has_dicom_preamble(file):
        return deidentify_dicom(file, output, pseudonyms, rectangle)
    if file.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise UnreadableStudyError(file, f"neither DICOM nor {known}: this tool does not know what identifies in it")
    if rectangle is not None:
        raise UnreadableStudyError(file, "--blacken works on DICOM only: cover the text in a video editor")
    return deidentify_video(file, output, pseudonyms)
