"""The benchmark of reading measures what it says."""

from bundle.laboratory.benchmarks.reading import ReadingSpeed, measure_reading


def test_every_format_is_read_by_all_three_ways():
    speeds = measure_reading(num_frames=2, size=64, repeats=1)
    assert [speed.kind for speed in speeds] == [
        "DICOM, uncompressed",
        "DICOM, RLE",
        "DICOM, JPEG 2000",
        "H.264 in MP4",
        "MJPEG in AVI",
    ]
    assert all(min(speed.bare, speed.in_process, speed.read) > 0 for speed in speeds)


def test_the_ratio_is_the_share_of_the_bare_decoder():
    assert ReadingSpeed("H.264", bare=200.0, in_process=150.0, read=180.0).ratio == 0.9
