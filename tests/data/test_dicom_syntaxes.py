"""Every transfer syntax: stored values equal the source exactly if it is lossless, else within the codec's error."""

from io import BytesIO
from pathlib import Path

import av
import gdcm
import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from bundle.data import dicom_files
from bundle.data.clip import UnreadableStudyError
from bundle.data.dicom_files import read_dataset, stated_shape
from bundle.data.dicom_pixels import codestream_size, decode_frames
from bundle.data.readers import decode_clip

ROWS, COLUMNS = np.mgrid[:48, :64]
WAVES = np.stack([np.sin(COLUMNS / 9 + t) * np.cos(ROWS / 7) for t in range(3)])  # (3, 48, 64), -1 ... 1
PIXELS = {
    "8 bits": (np.uint8(127 + 120 * WAVES), 8),
    "10 bits": (np.uint16(511 + 500 * WAVES), 10),
    "12 bits": (np.uint16(2047 + 2000 * WAVES), 12),
    "16 bits": (np.uint16(32767 + 32000 * WAVES), 16),
    "12 bits, signed": (np.int16(2000 * WAVES), 12),
    "16 bits, signed": (np.int16(32000 * WAVES), 16),
}
GDCM_NAMES = {
    uid.JPEGBaseline8Bit: "JPEGBaselineProcess1",
    uid.JPEGExtended12Bit: "JPEGExtendedProcess2_4",
    uid.JPEGLossless: "JPEGLosslessProcess14",
    uid.JPEGLosslessSV1: "JPEGLosslessProcess14_1",
    uid.JPEG2000Lossless: "JPEG2000Lossless",
    uid.JPEG2000: "JPEG2000",
    uid.JPEGLSLossless: "JPEGLSLossless",
}
LOSSLESS = [
    *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian),
    *(uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLossless, uid.JPEGLosslessSV1),
    *(uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL),
]
HIGH_THROUGHPUT = {  # OpenJPH's options
    uid.HTJ2KLossless: {"reversible": True},
    uid.HTJ2KLosslessRPCL: {"reversible": True, "tlm": True},  # its progression is RPCL anyway
    uid.HTJ2K: {"reversible": False, "level": 0.001},
}


def with_gdcm(path, syntax):
    """Compress a plain file in place."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, GDCM_NAMES[syntax])))
    if syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        codec = gdcm.JPEGCodec()
        codec.SetLossless(False)
        codec.SetQuality(95)
        change.SetUserCodec(codec)
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    return path


@pytest.fixture
def write(tmp_path, write_dicom):
    """Write stored values in a transfer syntax."""

    def write_in(syntax, stored, bits, **tags):
        is_signed = stored.dtype.kind == "i"
        tags |= {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(is_signed)}
        if is_signed:
            tags["SOPClassUID"] = uid.CTImageStorage  # gdcm writes no signed RF, as the standard asks
        path = write_dicom(tmp_path / "cine.dcm", stored, **tags)
        if syntax in GDCM_NAMES:
            return with_gdcm(path, syntax)
        dataset = pydicom.dcmread(path)
        if syntax in HIGH_THROUGHPUT:
            frames = [imagecodecs.htj2k_encode(frame, **HIGH_THROUGHPUT[syntax]) for frame in stored]
            dataset.PixelData = encapsulate(frames)
            dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(path)
            return path
        if syntax in (uid.RLELossless, uid.JPEGLSNearLossless):
            dataset.compress(syntax, **({"jls_error": 2} if syntax == uid.JPEGLSNearLossless else {}))
            dataset.save_as(path)
            return path
        if syntax == uid.ExplicitVRBigEndian and stored.dtype.itemsize == 2:
            dataset.PixelData = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
        dataset["PixelData"].VR = "OW" if stored.dtype.itemsize == 2 else "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(path, dataset, enforce_file_format=True, **encoding_of(syntax))
        return path

    return write_in


def encoding_of(syntax):
    return {"implicit_vr": syntax == uid.ImplicitVRLittleEndian, "little_endian": syntax != uid.ExplicitVRBigEndian}


def stored_values(path, warnings=None):
    dataset = read_dataset(path)
    frames = decode_frames(path, dataset, stated_shape(path, dataset), [] if warnings is None else warnings)
    return np.stack(list(frames))


@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_a_lossless_syntax_gives_the_source_values_exactly(write, syntax, pixels):
    stored, bits = PIXELS[pixels]
    got = stored_values(write(syntax, stored, bits))
    assert got.dtype == stored.dtype
    np.testing.assert_array_equal(got, stored)


@pytest.mark.parametrize(
    ("syntax", "pixels", "error"),
    [
        (uid.JPEGBaseline8Bit, "8 bits", 4),
        (uid.JPEGExtended12Bit, "8 bits", 4),
        (uid.JPEGExtended12Bit, "12 bits", 16),
        (uid.JPEGLSNearLossless, "8 bits", 2),
        (uid.JPEGLSNearLossless, "12 bits", 2),
        (uid.JPEG2000, "8 bits", 4),
        (uid.JPEG2000, "12 bits", 64),
        (uid.JPEG2000, "16 bits", 1024),
        (uid.HTJ2K, "8 bits", 4),
        (uid.HTJ2K, "12 bits", 64),
    ],
)
def test_a_lossy_syntax_stays_within_its_codec_error(write, syntax, pixels, error):
    stored, bits = PIXELS[pixels]
    path = write(syntax, stored, bits)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    got = stored_values(path)
    assert got.dtype == stored.dtype
    assert np.abs(got.astype(int) - stored).max() <= error


CODECS = {
    "MPEG-2": (uid.MPEG2MPML, "mpeg2video", "mpeg"),
    "MPEG-2 program stream": (uid.MPEG2MPML, "mpeg2video", "vob"),
    "H.264 in a transport stream": (uid.MPEG4HP41, "libx264", "mpegts"),
    "H.264 in MP4": (uid.MPEG4HP41, "libx264", "mp4"),
    "HEVC": (uid.HEVCMP51, "libx265", "hevc"),
}


def video_stream(codec, container, num_frames=12):
    """Gray frames that brighten by 15 each, as one stream."""
    buffer = BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 4_000_000
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), 40 + 15 * index, np.uint8), format="gray")
            output.mux(stream.encode(frame.reformat(format="yuv420p")))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.fixture
def write_dicom_video(tmp_path, write_dicom):
    """Put a stream, cut into fragments, into a file."""

    def write_stream(syntax, stream, **tags):
        tags = {"PhotometricInterpretation": "YBR_PARTIAL_420", "SamplesPerPixel": 3, "PlanarConfiguration": 0} | tags
        path = write_dicom(tmp_path / "video.dcm", np.zeros((1, 48, 64), np.uint8), **{"NumberOfFrames": 12} | tags)
        dataset = pydicom.dcmread(path)
        half = len(stream) // 4 * 2
        parts = [stream[:half], stream[half:]]
        dataset.PixelData = encapsulate(parts, has_bot=False)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
        return path

    return write_stream


@pytest.mark.parametrize("codec", CODECS)
def test_video_inside_dicom_has_every_frame(write_dicom_video, codec):
    syntax, encoder, container = CODECS[codec]
    clip = decode_clip(write_dicom_video(syntax, video_stream(encoder, container), FrameTime=40))
    assert clip.frames.shape == (12, 1, 48, 64)
    np.testing.assert_allclose(clip.frames.mean(axis=(1, 2, 3)) * 255, 40 + 15 * np.arange(12), atol=4)
    np.testing.assert_allclose(clip.frame_times_ms, 40 * np.arange(12))


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"NumberOfFrames": 20}, "the header says 20 frames, the file has 12"),
        ({"Rows": 40}, r"the header says \(40, 64\) rows and columns, its frames have \(48, 64\)"),
    ],
)
def test_video_that_contradicts_its_header_is_refused(write_dicom_video, tags, message):
    path = write_dicom_video(uid.MPEG4HP41, video_stream("libx264", "mp4"), **tags)
    with pytest.raises(UnreadableStudyError, match=rf"video\.dcm: .*{message}"):
        decode_clip(path)


def test_video_with_more_frames_than_the_header_says_is_cut_with_a_warning(write_dicom_video):
    clip = decode_clip(write_dicom_video(uid.MPEG4HP41, video_stream("libx264", "mp4"), NumberOfFrames=5))
    assert clip.num_frames == 5
    assert "the header says 5 frames, the file has 12" in clip.warnings


def test_a_damaged_stream_is_refused_under_the_dicom_file_name(write_dicom_video):
    with pytest.raises(UnreadableStudyError, match=r"video\.dcm: not a readable study: the video in it: "):
        decode_clip(write_dicom_video(uid.MPEG2MPML, bytes(4000)))


GRAY_RGB = np.repeat(PIXELS["8 bits"][0][..., None], 3, axis=-1)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_a_gray_capture_in_color_gives_the_gray_values_without_a_warning(tmp_path, write_dicom, photometric):
    gray = GRAY_RGB[..., 0]
    if photometric == "RGB":
        path = write_dicom(tmp_path / "capture.dcm", GRAY_RGB)
    elif photometric == "YBR_FULL":
        ycc = np.stack([gray, np.full_like(gray, 128), np.full_like(gray, 128)], axis=-1)
        path = write_dicom(tmp_path / "capture.dcm", ycc, PhotometricInterpretation=photometric)
    else:  # baseline JPEG with halved chroma
        path = write_dicom(tmp_path / "capture.dcm", GRAY_RGB, PhotometricInterpretation=photometric)
        dataset = pydicom.dcmread(path)
        dataset.PixelData = encapsulate([jpeg(frame) for frame in GRAY_RGB])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
        dataset.save_as(path)
    clip = decode_clip(path)
    np.testing.assert_allclose(clip.frames[:, 0] * 255, gray, atol=6 if photometric == "YBR_FULL_422" else 0.01)
    assert clip.warnings == ()


def jpeg(frame):
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=95, subsampling="4:2:2")
    return buffer.getvalue()


BYTES, WORDS = [0, 51, 102, 255], [0, 13107, 26214, 65535]
STATED_WRONG = {16: "the header's look-up table states entries of 16 bits, and has entries of 8: taken as 8"}
STATED_WRONG[8] = "the header's look-up table states entries of 8 bits, and has entries of 16: taken as 16"


@pytest.fixture
def write_palette(tmp_path, write_dicom):
    """Write the indices 0 to 3 (or others) with a palette of equal red, green and blue."""

    def write(table: bytes, bits: int, num_entries: int = 4, stored=((0, 1), (2, 3)), dtype=np.uint8, **how) -> Path:
        tags = {"PhotometricInterpretation": "PALETTE COLOR"}
        for color in ("Red", "Green", "Blue"):
            tags[f"{color}PaletteColorLookupTableDescriptor"] = [num_entries, 0, bits]
            tags[f"{color}PaletteColorLookupTableData"] = table
        return write_dicom(tmp_path / "capture.dcm", np.array([stored], dtype), **how, **tags)

    return write


@pytest.mark.parametrize(
    ("table", "bits", "is_wrong"),
    [
        (np.array(WORDS, "<u2"), 16, False),
        (np.array(BYTES, "u1"), 8, False),
        (np.array(BYTES, "u1"), 16, True),
        (np.array(BYTES, "<u2"), 16, True),
        (np.array(BYTES, "<u2"), 8, False),
        (np.array(WORDS, "<u2"), 8, True),
    ],
    ids=["words", "bytes", "bytes as words", "bytes in words as words", "bytes in words", "words as bytes"],
)
def test_a_gray_palette_gives_its_gray_values_whatever_bits_its_descriptor_states(write_palette, table, bits, is_wrong):
    clip = decode_clip(write_palette(table.tobytes(), bits))
    np.testing.assert_allclose(clip.frames[0, 0], [[0.0, 0.2], [0.4, 1.0]], atol=1e-4)
    assert clip.warnings == ((STATED_WRONG[bits],) if is_wrong else ())


def test_a_palette_of_an_odd_number_of_bytes_is_read(write_palette):
    clip = decode_clip(write_palette(bytes([0, 102, 255, 0]), 8, num_entries=3))
    np.testing.assert_allclose(clip.frames[0, 0], [[0.0, 0.4], [1.0, 1.0]], atol=1e-4)


def test_a_palette_of_bytes_has_more_than_256_entries(write_palette):
    table = bytes(number // 4 for number in range(1024))
    clip = decode_clip(write_palette(table, 8, num_entries=1024, stored=((0, 255), (256, 1023)), dtype=np.uint16))
    np.testing.assert_allclose(clip.frames[0, 0] * 255, [[0, 63], [64, 255]], atol=1e-3)


def test_a_palette_with_too_few_entries_is_refused(write_palette):
    with pytest.raises(UnreadableStudyError, match="damaged"):
        decode_clip(write_palette(bytes(BYTES), 8, num_entries=256))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_window_table_gives_its_gray_values_whatever_bits_its_descriptor_states(tmp_path, write_dicom, bits):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4, 0, bits], BYTES if bits == 16 else WORDS
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US"
    path = write_dicom(tmp_path / "lut.dcm", np.array([[[0, 1], [2, 3]]], np.uint16), VOILUTSequence=[table])
    clip = decode_clip(path)
    np.testing.assert_allclose(clip.frames[0, 0], [[0.0, 0.2], [0.4, 1.0]], atol=1e-4)
    assert clip.warnings == (STATED_WRONG[bits],)


def test_bits_outside_the_stored_ones_are_cleared(tmp_path, write_dicom):
    stored = PIXELS["12 bits"][0]
    overlay_above = stored | np.uint16(0xF000)
    plain = write_dicom(tmp_path / "above.dcm", overlay_above)
    np.testing.assert_array_equal(stored_values(plain), stored)
    overlay_below = (stored << 4) | np.uint16(0x5)
    plain = write_dicom(tmp_path / "below.dcm", overlay_below, HighBit=15)
    np.testing.assert_array_equal(stored_values(plain), stored)


@pytest.mark.parametrize(
    "syntax", [uid.JPEGBaseline8Bit, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless]
)
def test_rows_and_columns_exchanged_in_the_header_are_noticed(write, syntax):
    path = write(syntax, *PIXELS["8 bits"])
    dataset = pydicom.dcmread(path)
    dataset.Rows, dataset.Columns = 64, 48  # as many pixels
    dataset.save_as(path)
    with pytest.raises(UnreadableStudyError, match=r"says \(64, 48\) rows and columns, its frames have \(48, 64\)"):
        stored_values(path)


@pytest.mark.parametrize(
    "syntax", [*GDCM_NAMES, uid.RLELossless, uid.ExplicitVRBigEndian], ids=lambda syntax: syntax.name
)
@pytest.mark.parametrize("number", [2, 4, 0, None])
def test_the_number_of_frames_is_held_against_the_file(write, syntax, number):
    path = write(syntax, *PIXELS["8 bits"])
    whole = stored_values(path)
    dataset = pydicom.dcmread(path)
    if number is None:
        del dataset.NumberOfFrames
    else:
        dataset.NumberOfFrames = number
    dataset.save_as(path)
    warnings = []
    if number == 4:
        with pytest.raises(UnreadableStudyError, match=r"the header says 4 frames, (the file has 3|3 whole ones)"):
            stored_values(path)
        return
    got = stored_values(path, warnings)
    assert len(got) == (number or 1)
    np.testing.assert_array_equal(got, whole[: len(got)])
    assert any("the file has 3: the rest is left out" in note for note in warnings)
    assert any("NumberOfFrames is 0" in note for note in warnings) == (number == 0)


def test_eight_bits_in_words_are_swapped_in_big_endian(tmp_path, write_dicom):
    stored = PIXELS["8 bits"][0]
    dataset = pydicom.dcmread(write_dicom(tmp_path / "cine.dcm", stored))
    dataset.PixelData = stored.reshape(-1, 2)[:, ::-1].tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "swapped.dcm", dataset, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(stored_values(tmp_path / "swapped.dcm"), stored)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("syntax", [*LOSSLESS, uid.JPEGBaseline8Bit, uid.JPEG2000], ids=lambda syntax: syntax.name)
def test_a_truncated_file_is_refused(write, syntax, share):
    path = write(syntax, *PIXELS["8 bits"])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnreadableStudyError, match=r"cine\.dcm: not a readable study: "):
        stored_values(path)


def test_a_deflate_bomb_is_refused_before_it_is_unpacked(tmp_path, write_dicom, monkeypatch):
    path = write_dicom(tmp_path / "bomb.dcm", np.zeros((1, 4, 4), np.uint8))
    dataset = pydicom.dcmread(path)
    dataset.PixelData = bytes(12 * 2**20)
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert path.stat().st_size < 2**20
    assert decode_clip(path).num_frames == 1
    monkeypatch.setattr(dicom_files, "MAX_INFLATED_BYTES", 2**22)
    with pytest.raises(UnreadableStudyError, match=r"unpack to more than the limit of 4 MiB"):
        decode_clip(path)


def test_code_streams_state_their_size():
    assert codestream_size(jpeg(GRAY_RGB[0])) == (48, 64)
    assert codestream_size(b"\xff\xd8\xff") is None
    assert codestream_size(b"") is None
