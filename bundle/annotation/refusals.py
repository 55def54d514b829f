"""Requests that are refused: with an HTTP status, one line, and no file or patient's name in it."""

from pathlib import PurePosixPath

MAX_NAME = 200


class RefusedRequestError(ValueError):
    """A request that cannot be answered as it is."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


def is_plain_name(name: str) -> bool:
    """Whether a name is one that a file in a folder can have, and no way out of that folder."""
    return (
        0 < len(name) <= MAX_NAME
        and name.isprintable()
        and "\\" not in name
        and not name.startswith(".")
        and PurePosixPath(name).name == name
    )


def check_plain_name(name: object, what: str) -> str:
    """The name, if it is a plain one."""
    if not isinstance(name, str) or not is_plain_name(name):
        raise RefusedRequestError(f"{what} must be a plain name without folders, got something else", status=400)
    return name
