"""Rows of the bad-input table that are not DICOM: what each file gives, through ``read_clip``, in a user's words."""

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bundle.data.clip import Clip
from bundle.data.readers import UnreadableStudyError, probe_clip, read_clip

NOISE = np.random.default_rng(0).integers(0, 256, (12, 64, 96), dtype=np.uint8)


def png(values: np.ndarray = NOISE[0]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../outside.dcm", b"DICM" * 100)


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("cine.dcm")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


def pickled(path: Path) -> None:
    np.save(path, np.array([{"frames": NOISE}], dtype=object), allow_pickle=True)
    saved = path.with_name(path.name + ".npy")  # numpy adds its suffix
    if saved.exists():
        saved.rename(path)


def png_of_size(columns: int, rows: int) -> bytes:
    """A header that promises so many pixels, and one row of them."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(columns + 1)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def nifti_header(*shape: int, dtype: type = np.uint8) -> bytes:
    """A NIfTI-2 header of this shape, without values."""
    header = nib.Nifti2Header()
    header.set_data_dtype(dtype)
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    header["magic"], header["vox_offset"] = b"n+2", 544
    return header.binaryblock + bytes(4)


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


REFUSED: list[tuple[str, bytes | Callable[[Path], None], str]] = [
    ("empty.avi", b"", "the file is empty"),
    ("empty.png", b"", "the file is empty"),
    ("empty.nii.gz", b"", "the file is empty"),
    ("zeros.mp4", bytes(5000), r"named \.mp4, but its content is no"),
    ("zeros.png", bytes(5000), r"named \.png, but its content is no"),
    ("zeros.nii", bytes(5000), r"named \.nii, but its content is no"),
    ("zeros.nii.gz", gzip.compress(bytes(5000)), "no NIfTI in it"),
    ("text.mkv", b"this is not a video\n" * 100, r"named \.mkv, but its content is no"),
    ("playlist.ts", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n", r"named \.ts, but its content is no"),
    ("renamed.mp4", png(), r"named \.mp4, but its content is picture"),
    ("renamed.nii", png(), r"named \.nii, but its content is picture"),
    ("renamed.jpg", b"\x1a\x45\xdf\xa3" + bytes(500), r"named \.jpg, but its content is video"),
    ("text.dcm", b"this is no X-ray\n" * 100, "no DICOM"),
    ("archive.dcm", zipped, "no DICOM image|damaged"),
    ("archive.avi", zipped, r"named \.avi, but its content is no"),
    ("archive.tar", tarred, "its content is no"),
    ("frames.npy", pickled, "its content is no"),
    ("frames.png", pickled, r"named \.png, but its content is no"),
    ("head.avi", b"RIFF\x00\x10\x00\x00AVI LIST", "no video that FFmpeg can open|no video stream"),
    ("head.mp4", b"\x00\x00\x00\x18ftypisom" + bytes(12), "no video that FFmpeg can open"),
    ("head.png", png()[:20], "no PNG, JPEG or TIFF in it"),
    ("cut.png", cut(0.5)(png()), "its pixels are damaged or cut off"),
    ("bomb.png", png_of_size(65535, 65535), r"the header says more than \d+ million pixels"),
    ("short.png", png_of_size(96, 64), "its pixels are cut off: 97 of 6208 bytes are there"),
    ("cut.nii.gz", cut(0.5)(gzip.compress(nifti_header(64, 96, 12) + NOISE.tobytes())), "damaged or cut off"),
    ("cut.nii", cut(0.5)(nifti_header(64, 96, 12) + NOISE.tobytes()), "its values are damaged or cut off"),
    ("large.nii", nifti_header(512, 512, 1, 2_000_000_000) + bytes(99), "2000000000 frames of 512 x 512 pixels"),
    ("wide.nii", nifti_header(65535, 65535) + bytes(99), "65535 x 65535 pixels, 16 GiB decoded; the limit is 8 GiB"),
    ("none.nii", nifti_header(0, 512) + bytes(99), "the header says 1 frames of 512 x 0 pixels"),
    ("volume.nii", nifti_header(4, 4, 4, 4) + bytes(256), r"expected \(X, Y\), .* got \(4, 4, 4, 4\)"),
    ("complex.nii", nifti_header(4, 4, dtype=np.complex64) + bytes(128), "real numbers, got complex64"),
]


@pytest.mark.parametrize(("name", "content", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_no_clip_is_refused_by_file_and_reason(tmp_path, name, content, reason):
    path = tmp_path / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    with pytest.raises(UnreadableStudyError, match=reason) as caught:
        read_clip(path)
    assert str(caught.value).startswith(f"{path}: not a readable study: ")
    assert "\n" not in str(caught.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [name]  # nothing unpacked beside it


def test_a_deflate_bomb_behind_a_small_header_is_refused(tmp_path):
    path = tmp_path / "bomb.nii.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(nifti_header(4, 4) + bytes(16))
        for _ in range(80):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(UnreadableStudyError, match="more than 64 MiB follow the values that its header counts"):
        read_clip(path)


def test_a_damaged_gzip_is_refused_by_its_checksum_even_if_every_value_is_there(tmp_path):
    path = tmp_path / "clip.nii.gz"
    content = bytearray(gzip.compress(nifti_header(12, 64, 96) + NOISE.tobytes(), compresslevel=0))
    content[-100] ^= 1  # stored, not deflated: one value becomes another
    path.write_bytes(content)
    with pytest.raises(UnreadableStudyError, match="its values are damaged or cut off"):
        read_clip(path)


def test_names_that_ffmpeg_takes_for_addresses_are_files(tmp_path, write_video, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.avi", "http:a.avi", "%03d.avi", "-i.avi", "two\nlines.avi"):
        write_video(tmp_path / "plain.avi", NOISE[:2]).rename(tmp_path / name)
        assert read_clip(name).num_frames == 2


def test_one_bad_file_among_many_leaves_the_others_readable(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(png() if number != 3 else png()[:500])
    outcomes = {}
    for path in sorted(tmp_path.iterdir()):
        try:
            outcomes[path.stem] = type(read_clip(path))
        except UnreadableStudyError as error:
            outcomes[path.stem] = type(error)
    assert outcomes.pop("3") is UnreadableStudyError
    assert set(outcomes.values()) == {Clip}


@pytest.mark.parametrize("name", ["cine.avi", "cine.mkv", "cine.ts"])
def test_a_cut_at_any_place_gives_an_error_or_a_clip_that_says_so(tmp_path, write_video, name):
    codec = "libx264" if name.endswith(".ts") else "mjpeg"
    content = write_video(tmp_path / f"whole_{name}", NOISE, codec).read_bytes()
    whole = read_clip(tmp_path / f"whole_{name}")
    path = tmp_path / name
    for share in np.linspace(0.01, 0.99, 8):
        path.write_bytes(cut(share)(content))
        try:
            clip = read_clip(path)
        except UnreadableStudyError:
            continue
        assert clip.num_frames <= whole.num_frames
        assert probe_clip(path).num_frames >= clip.num_frames
        if clip.num_frames < whole.num_frames and not name.endswith(".ts"):  # a transport stream counts nothing
            assert "cut off" in clip.warnings[0]


def test_a_video_stream_that_is_only_a_sound_files_cover_is_none(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        sound = file.add_stream("aac", rate=8000)
        cover = file.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 64, 96, "gray"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        file.mux(sound.encode(frame))
        file.mux(cover.encode(av.VideoFrame.from_ndarray(NOISE[0], format="gray")))
        for stream in (sound, cover):
            file.mux(stream.encode(None))
    with pytest.raises(UnreadableStudyError, match="no video stream in it"):
        read_clip(path)
