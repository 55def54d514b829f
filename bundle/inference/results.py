"""What became of every study of a run: a table on disk without file names, and one for the terminal with them."""

from dataclasses import dataclass
from pathlib import Path

from bundle.metrics.atomic import write_csv

DONE, REFUSED, DUPLICATE = "done", "refused", "duplicate"


@dataclass(frozen=True)
class StudyResult:
    """One study: what it is called in the results, what became of it, and why."""

    source: Path
    key: str
    status: str
    reason: str = ""
    frames: int = 0
    outputs: tuple[str, ...] = ()


class StudyResults:
    """Collects results and keeps ``results.csv`` up to date, so that an interrupted run leaves a true table.

    ``results.csv`` names studies by the hash of their content, since file names may name patients.

    Args:
        output_dir: Folder of the run's results.
        write_sources: Whether to also write ``sources.csv``, which says which file has which key. It holds file names:
            keep it as confidential as the files.
    """

    def __init__(self, output_dir: str | Path, write_sources: bool = False) -> None:
        self.output_dir = Path(output_dir)
        self.write_sources = write_sources
        self.reset()

    def reset(self) -> None:
        """Forget all studies; the table on disk stays until the next one is added."""
        self.studies: list[StudyResult] = []

    def add(self, result: StudyResult) -> None:
        """Add a study and write the table."""
        self.studies.append(result)
        rows = (
            {
                "key": study.key,
                "status": study.status,
                "reason": _without_names(study.reason, study.source),
                "frames": study.frames,
                "outputs": " ".join(study.outputs),
            }
            for study in self.studies
        )
        write_csv(self.output_dir / "results.csv", ["key", "status", "reason", "frames", "outputs"], rows)
        if self.write_sources:
            sources = ({"key": study.key, "source": str(study.source)} for study in self.studies)
            write_csv(self.output_dir / "sources.csv", ["key", "source"], sources)

    def is_known(self, key: str) -> bool:
        """Whether a study with this content was there before."""
        return any(study.key == key for study in self.studies)

    @property
    def exit_status(self) -> int:
        """0 if every study was segmented (or is the same as one that was), else 1."""
        return int(not self.studies or any(study.status == REFUSED for study in self.studies))

    def format_table(self) -> str:
        """One line per study, with its file name, for the person who started the run."""
        width = max((len(study.source.name) for study in self.studies), default=0)
        lines = [
            f"{study.source.name:<{width}}  {study.key:<12}  {study.status:<9}  "
            + (f"{study.frames} frames" if study.status == DONE else study.reason)
            for study in self.studies
        ]
        counts = [
            f"{number} {status}"
            for status in (DONE, DUPLICATE, REFUSED)
            if (number := sum(study.status == status for study in self.studies))
        ]
        return "\n".join([*lines, f"{', '.join(counts) or 'no study'}: {self.output_dir / 'results.csv'}"])

    def exit_if_refused(self) -> None:
        """Raise ``SystemExit`` with a one-line message if a study was refused; for the end of a command."""
        refused = sum(study.status == REFUSED for study in self.studies)
        if self.exit_status:
            raise SystemExit(
                f"{refused} of {len(self.studies)} studies were refused: see {self.output_dir / 'results.csv'}"
            )


def _without_names(reason: str, source: Path) -> str:
    """A reason may quote names of files; the table on disk must not."""
    names = {str(source), source.name}
    if source.is_dir():
        names |= {entry.name for entry in source.iterdir()}
    for name in sorted(names - {""}, key=len, reverse=True):
        reason = reason.replace(name, "<name>")
    return reason
