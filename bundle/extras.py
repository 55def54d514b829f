"""Packages that only some uses need: where one is missing, an error that names the feature and the extra."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


class MissingPackageError(ModuleNotFoundError):
    """A package of one of the extras in ``pyproject.toml`` is not installed."""


@contextmanager
def needs_extra(extra: str, feature: str) -> Iterator[None]:
    """Import optional packages in this context: one that is missing is a ``MissingPackageError``.

    Args:
        extra: Of ``pyproject.toml``, which brings them.
        feature: What they are for, the first words of the error.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if isinstance(error, MissingPackageError) or (error.name or "bundle").partition(".")[0] == "bundle":
            raise
        raise MissingPackageError(
            f"{feature} needs the package {error.name}, which is not installed: it is in the extra '{extra}' of "
            "pyproject.toml (docs/how-to/download.md has the commands)",
            name=error.name,
        ) from error


def missing_package(error: BaseException) -> str | None:
    """The line of a ``MissingPackageError`` behind an error; None if there is none.

    MONAI and ``pydoc`` replace an error of an import by one of their own, which only quotes it.
    """
    quoted = re.search(rf"{MissingPackageError.__name__}: (.+)", "".join(traceback.format_exception(error)))
    return quoted and quoted[1]
