"""Names of a batch's entries, used by every stage."""

IMAGE = "image"
"""Frames ``(B, 1, H, W)``, float32 in [0, 1], bright = many X-rays."""

LABEL = "label"
"""Multi-label masks ``(B, S, H, W)``, 0 or 1, one channel per structure."""

VALID = "valid"
"""Where the letterboxed frame has image content ``(B, 1, H, W)``, 1 inside and 0 on padding."""

FRAME = "frame"
"""Index of the frame within its clip."""

PATIENT = "patient"
"""Pseudonymous patient id; splits are by it."""

CLIP = "clip"
"""Name of the clip within its data list."""

PIXEL_SPACING_MM = "pixel_spacing_mm"
"""Row and column spacing of the model input ``(2,)``; NaN where the source gives none."""

PIXEL_ASPECT = "pixel_aspect"
"""Height of a frame's pixel divided by its width, before the letterbox, which makes pixels square."""

FIELD_OF_VIEW = "field_of_view"
"""Part of a film's frames that the network looks at: top, bottom, left and right, the ends not included."""
