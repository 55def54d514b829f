"""Files in, clips ``(T, 1, H, W)`` out: DICOM, video, stills and NIfTI; data lists and labels; the phantom."""
