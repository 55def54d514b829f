"""Clip or frame -> letterboxed model input: dictionary transforms for MONAI, pure functions for inference."""
