"""The MONAI Label app: automatic masks, clicks, propagation, training and promotion for annotators, over HTTP."""
