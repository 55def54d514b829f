"""Copies of studies without identity, for sharing: DICOM by PS3.15's basic profile, video without its metadata."""
