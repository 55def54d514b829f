"""The address of a PACS: what it may hold, checked before anything of it is written down."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

USER, PASSWORD, TOKEN = "VFSS_PACS_USER", "VFSS_PACS_PASSWORD", "VFSS_PACS_TOKEN"
"""Names in the environment: of a user with a password, or of a bearer token."""

FILTERS = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "StudyDate")
"""What an address may search by. Names and numbers of patients would stay in shells' histories and in config.json."""


@dataclass(frozen=True)
class PacsAddress:
    """``https://host/dicom-web?StudyInstanceUID=1.2.3``: a DICOMweb service and what to search it for."""

    service: str
    filters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> "PacsAddress":
        """Take an address apart.

        Raises:
            ValueError: If it holds a password, is no address of a service, or searches by something else.
        """
        parts = urlsplit(text)
        if "@" in parts.netloc:
            raise ValueError(f"a PACS's address holds no user or password: put them into {USER} and {PASSWORD}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise ValueError("a PACS's address is like https://host/dicom-web?StudyInstanceUID=1.2.3")
        filters = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(set(filters) - set(FILTERS))
        if unknown:
            raise ValueError(f"a PACS is searched by {', '.join(FILTERS)}, got {', '.join(unknown)}")
        wrong = [key for key in filters if not re.fullmatch(r"[\w.-]+", filters[key])]
        if wrong:
            raise ValueError(f"a PACS is searched by whole values, such as a UID of digits and dots: see {wrong[0]}")
        return cls(f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/"), filters)

    @property
    def host(self) -> str:
        """Where it is, for messages."""
        parts = urlsplit(self.service)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def is_private(self) -> bool:
        """Whether nobody can listen: TLS, or this machine."""
        parts = urlsplit(self.service)
        return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost", "::1")
