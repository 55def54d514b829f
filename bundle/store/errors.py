"""The store's one kind of error, and the remedy that most of them share."""

REMEDY = "run configs/cache_features.json again"


class StoreError(ValueError):
    """The store on disk is not what a run needs; the message says what, where, and what to do."""
