"""Results of DICOM studies, sent to a PACS with the patient of their source; the files here stay without a name."""

import json
from collections.abc import Sequence
from pathlib import Path

import pydicom

from bundle.atomic import write_json
from bundle.inference.dicom_source import identify, odd_values_kept, read_source_header
from bundle.inference.folder import Study, first_file
from bundle.inference.pacs import Pacs, PacsError
from bundle.inference.results import DONE, StudyResult

FILES = {"seg": "masks.dcm", "sr": "measures.dcm", "capture": "overlay.dcm"}
"""What is sent, by the outputs that write it."""

RECORD = "sent.json"


class Delivery:
    """Sends what a run has made, study by study; what is sent once is not sent again.

    Args:
        send_to: Address of a DICOMweb service; None: results stay here.
        output_dir: Folder of the results.
        outputs: What is written of each study.

    Raises:
        ValueError: If the address is wrong, or the outputs have nothing for a PACS.
    """

    def __init__(self, send_to: str | None, output_dir: str | Path, outputs: Sequence[str]) -> None:
        self.pacs = None if send_to is None else Pacs(send_to)
        self.output_dir = Path(output_dir)
        self.unsent: list[str] = []
        if self.pacs is not None and set(FILES).isdisjoint(outputs):
            raise ValueError(f"send_to needs one of {', '.join(FILES)} among the outputs, got {', '.join(outputs)}")

    def check(self) -> None:
        """Ask the PACS for something before anything is done.

        Raises:
            PacsError: If it does not answer, or not to this user.
        """
        if self.pacs is not None:
            self.pacs.check()

    def finish(self, study: Study, result: StudyResult) -> None:
        """Send a study's results; if the PACS does not take them, ``unsent`` says why and a later run sends them."""
        if self.pacs is None or result.status != DONE:
            return
        folder = self.output_dir / result.key
        files = [folder / name for name in FILES.values() if (folder / name).is_file()]
        if not files or self._is_sent(folder):
            return
        try:
            self._send(folder, files, first_file(study))
        except PacsError as error:
            self.unsent.append(str(error))

    def exit_if_unsent(self) -> None:
        """Raise ``SystemExit`` with a one-line message if results could not be sent; for the end of a command."""
        if self.unsent:
            raise SystemExit(
                f"results of {len(self.unsent)} studies were not sent, {self.unsent[-1]}; they are in "
                f"{self.output_dir}: give the same command again to send them"
            )

    def _send(self, folder: Path, files: Sequence[Path], source: Path) -> None:
        assert self.pacs is not None
        with odd_values_kept():
            header = read_source_header(source, "PACS")
            datasets = [pydicom.dcmread(file) for file in files]
            for dataset in datasets:
                identify(dataset, header)
            self.pacs.store(datasets)
        sent = [str(dataset.SOPInstanceUID) for dataset in datasets]
        write_json(folder / RECORD, {"service": self.pacs.address.service, "instances": sent})

    def _is_sent(self, folder: Path) -> bool:
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            return self.pacs is not None and record["service"] == self.pacs.address.service
        except (OSError, ValueError, KeyError, TypeError):
            return False
