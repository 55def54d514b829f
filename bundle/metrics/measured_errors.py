"""How far the measures of one model's masks are from the truth, as a command of the laboratory measured it."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from bundle.metrics.kinematics import FilmMeasures, SwallowMeasures
from bundle.weights import file_sha256

KEY = "measured_errors"  # of a model's card


@dataclass(frozen=True)
class MeasuredErrors:
    """Errors of a model."""

    words: str = "not measured for this model"  # what they were measured on
    limits: dict[str, float] = field(default_factory=dict)  # by measure: 95% of errors are below this, in its unit

    def of_film(self, film: FilmMeasures) -> FilmMeasures:
        """The same measures with their uncertainty; it stays None where it is not known."""
        return replace(film, swallows=tuple(self._of_swallow(swallow) for swallow in film.swallows))

    def _of_swallow(self, swallow: SwallowMeasures) -> SwallowMeasures:
        measures = {
            name: measure if measure.value is None else replace(measure, uncertainty=self.limits.get(name))
            for name, measure in swallow.measures.items()
        }
        return replace(swallow, measures=measures)


UNMEASURED = MeasuredErrors()


def read_errors(checkpoint: str | Path) -> MeasuredErrors:
    """Errors of a file of weights, from its card, where ``scripts/laboratory/measure_agreement.py --record`` puts them.

    Without a card or a record in it, or where the record is of other weights, nothing is known.

    Raises:
        ValueError: If there is a record and it is none.
    """
    path = Path(checkpoint).with_suffix(".json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))[KEY]
    except (OSError, ValueError, KeyError, TypeError):
        return UNMEASURED  # no card, or none with a record: other code says what is wrong with a card
    try:
        if record["sha256"] != file_sha256(checkpoint):
            return UNMEASURED
        return MeasuredErrors(str(record["words"]), {name: float(limit) for name, limit in record["limits"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{KEY} in {path} must hold sha256, words and limits, as measure_agreement.py --record writes: {error!r}"
        ) from None
