"""A PACS through DICOMweb (PS3.18): studies are searched for (QIDO), fetched (WADO), and results stored (STOW).

Who asks is in the environment, never in an address, a config or a log.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from bundle.data.pacs_address import PASSWORD, TOKEN, USER, PacsAddress
from bundle.extras import needs_extra

MODALITIES = ("RF", "XA")
"""Of the series that are fetched, unless the address names others."""

TIMEOUT_S = (5, 120)
"""To connect, and for the next bytes of an answer."""

NO_DICOMWEB = "answers, but not as DICOMweb does: check the path of the address"


class PacsError(ValueError):
    """A PACS that does not do what it is asked; the message is one line for the person who named it."""


class Pacs:
    """A DICOMweb service.

    Args:
        address: Of the service; what it searches for is used by ``find_series``.

    Raises:
        ValueError: If the address or what the environment says of the user is wrong.
    """

    def __init__(self, address: str) -> None:
        self.address = PacsAddress.parse(address)
        with needs_extra("inference", "a PACS"), _pydicom_quiet():  # dicomweb-client imports what is deprecated
            import requests
            from dicomweb_client.web import DICOMwebClient
        for talkative in ("dicomweb_client", "urllib3"):  # they would log addresses with UIDs in them
            logging.getLogger(talkative).setLevel(logging.CRITICAL)
        session = requests.Session()
        session.auth = _credentials(self.address)
        session.request = partial(session.request, timeout=TIMEOUT_S)  # type: ignore[method-assign]
        self._client = DICOMwebClient(self.address.service, session=session, permissive_uid=True)
        self._client.set_http_retry_params(max_attempts=3, wait_exponential_multiplier=200)

    def check(self) -> None:
        """Ask for one study, so that a wrong address or password is said before anything else is done.

        Raises:
            PacsError: Saying what is wrong.
        """
        with self._errors():
            self._client.search_for_studies(limit=1, fields=["StudyInstanceUID"])

    def find_series(self) -> list[tuple[str, str]]:
        """Study and Series Instance UID of every series that the address asks for.

        Raises:
            PacsError: If there is none, or the PACS cannot be asked.
        """
        wanted = dict(self.address.filters)
        study = wanted.pop("StudyInstanceUID", None)
        modalities = [wanted.pop("Modality")] if "Modality" in wanted else MODALITIES
        found = []
        for modality in modalities:
            matches = self._search(study, {**wanted, "Modality": modality})
            found += [(_value(match, "0020000D") or study or "", _value(match, "0020000E")) for match in matches]
        if not found:
            searched = ", ".join(sorted(self.address.filters)) or "nothing in particular"
            raise PacsError(
                f"the PACS at {self.address.host} has no series of modality {' or '.join(modalities)} for this address "
                f"(searched by {searched}): check it, or add &Modality="
            )
        return sorted(set(found))

    def fetch(self, study: str, series: str, folder: Path) -> int:
        """Fetch the instances of a series as they are stored, one after the other; gives how many there are."""
        with self._errors():
            found = self._client.search_for_instances(study, series, fields=["SOPInstanceUID"])
        uids = sorted({_value(each, "00080018") for each in found})
        for number, uid in enumerate(uids):
            with self._errors():
                instance = self._client.retrieve_instance(study, series, uid, media_types=(("application/dicom", "*"),))
            instance.save_as(folder / f"{number:06d}.dcm", enforce_file_format=True)
        return len(uids)

    def store(self, datasets: Sequence[Dataset]) -> None:
        """Store instances, each by itself; one that is there already is the same again.

        Raises:
            PacsError: If one is not taken.
        """
        for dataset in datasets:
            with self._errors():
                answer = self._client.store_instances([dataset])
            if answer.get("FailedSOPSequence"):
                raise PacsError(f"the PACS at {self.address.host} has not taken a result ({dataset.Modality})")

    def _search(self, study: str | None, wanted: dict[str, str]) -> list[dict[str, Any]]:
        with self._errors():
            return self._client.search_for_series(study, search_filters=wanted, get_remaining=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """One line for whatever goes wrong on the way; without the addresses that libraries put into theirs."""
        import requests

        host = self.address.host
        try:
            yield
        except requests.exceptions.SSLError:
            words = "has a certificate that is not trusted: name the file of its authority in REQUESTS_CA_BUNDLE"
        except requests.exceptions.Timeout:
            words = "does not answer in time: check the address and the network"
        except requests.exceptions.HTTPError as error:
            words = _words_of_status(0 if error.response is None else error.response.status_code)
        except requests.exceptions.JSONDecodeError:
            words = NO_DICOMWEB
        except requests.exceptions.RequestException:
            words = "does not answer: check the address, and that the PACS runs"
        except (ValueError, KeyError):
            words = NO_DICOMWEB
        else:
            return
        raise PacsError(f"the PACS at {host} {words}") from None


@contextmanager
def _pydicom_quiet() -> Iterator[None]:
    log = logging.getLogger("pydicom")
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False


def _credentials(address: PacsAddress) -> Callable[[Any], Any] | tuple[str, str] | None:
    user, password, token = (os.environ.get(name, "") for name in (USER, PASSWORD, TOKEN))
    if bool(user) != bool(password) or (token and user):
        raise ValueError(f"a PACS needs {USER} with {PASSWORD}, or {TOKEN} alone, in the environment; or none of them")
    if not (user or token):
        return None
    if not address.is_private:
        raise ValueError(f"a password over http:// can be read on its way to {address.host}: use https://")
    if not token:
        return user, password

    def with_token(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return with_token


def _words_of_status(status: int) -> str:
    if status in (401, 403):
        return f"refuses the user: set {USER} and {PASSWORD}, or {TOKEN}, in the environment"
    if status == 404:
        return "has no DICOMweb service, or no such object, there: check the path of the address"
    return f"answers with status {status}: see its own log"


def _value(match: Mapping[str, Any], tag: str) -> str:
    return str((match.get(tag, {}).get("Value") or [""])[0])
