"""The MONAI Label app: automatic masks, clicks, propagation, training and promotion for annotators, over HTTP.

Whatever is asked for and cannot be done is refused with a ``RefusedRequestError``, in every module here: one line that
says what was expected, what came and the remedy, and an HTTP status.
"""
