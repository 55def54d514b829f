"""The benchmark of reading measures what it says."""

from bundle.laboratory.benchmarks.reading import measure_reading


def test_every_format_is_read_by_all_three_ways():
    rows = measure_reading(num_frames=2, size=64, repeats=1)
    kinds = ["DICOM, uncompressed", "DICOM, RLE", "DICOM, JPEG 2000", "H.264 in MP4", "MJPEG in AVI"]
    assert [row["file"] for row in rows] == kinds
    for row in rows:
        assert min(row["bare decoder, frames/s"], row["decode_clip"], row["read_clip"]) > 0
        assert row["read_clip / bare"] == row["read_clip"] / row["bare decoder, frames/s"]
