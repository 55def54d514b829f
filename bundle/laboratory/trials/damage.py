"""Small intact files of every kind that can be written here, and ways to damage them."""

import gzip
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import av
import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

PATIENT_NAME = "Secret^Name"
"""Stands in every DICOM seed, so that an error message that quotes a header is noticed."""

NUM_FRAMES, ROWS, COLUMNS = 6, 48, 64


def write_seeds(folder: Path, kinds: Sequence[str] | None = None) -> tuple[dict[str, Path], dict[str, str]]:
    """Write one file of each kind.

    Returns:
        Path of each kind, and for each kind that could not be written the reason, such as a missing encoder.

    Raises:
        ValueError: If a kind is not known.
    """
    unknown = sorted(set(kinds or ()) - set(_WRITERS))
    if unknown:
        raise ValueError(f"kinds must be among {list(_WRITERS)}, got {unknown}")
    seeds: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for kind in kinds or _WRITERS:
        suffix, write = _WRITERS[kind]
        path = folder / f"{kind.replace(' ', '_')}{suffix}"
        try:
            write(path)
        except (ImportError, RuntimeError, NotImplementedError, ValueError, OSError) as error:
            missing[kind] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        seeds[kind] = path
    return seeds, missing


def moving_disc(white: int = 255) -> np.ndarray:
    """A disc that sinks through weak noise: ``(T, H, W)``, uint8 or uint16 by the value of white."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    frames = np.random.default_rng(0).uniform(0.3, 0.4, (NUM_FRAMES, ROWS, COLUMNS))
    for index, frame in enumerate(frames):
        frame[(rows - 8 - 6 * index) ** 2 + (columns - 32) ** 2 < 64] = 0.9
    return np.rint(frames * white).astype(np.uint8 if white < 256 else np.uint16)


def _dataset(stored: np.ndarray, bits: int, syntax: UID = uid.ExplicitVRLittleEndian) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = uid.XRayRadiofluoroscopicImageStorage
    meta.MediaStorageSOPInstanceUID = uid.generate_uid(entropy_srcs=[str(syntax)])
    order = {"is_implicit_VR": syntax.is_implicit_VR, "is_little_endian": syntax.is_little_endian}
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128), **order)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.Modality, dataset.FrameTime = PATIENT_NAME, "RF", 33.3
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = ROWS, COLUMNS, NUM_FRAMES
    is_color = stored.ndim == 4
    dataset.SamplesPerPixel = 3 if is_color else 1
    dataset.PhotometricInterpretation = "RGB" if is_color else "MONOCHROME2"
    if is_color:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    dataset.PixelData = stored.tobytes()
    return dataset


def _raw(syntax: UID, bits: int = 12) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        stored = moving_disc(2**bits - 1)
        dataset = _dataset(stored if syntax.is_little_endian else stored.byteswap(), bits, syntax)
        dataset.save_as(path, enforce_file_format=True)

    return write


def _without_preamble(path: Path) -> None:
    dataset = pydicom.Dataset(_dataset(moving_disc(), 8))
    pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True)


def _color(path: Path) -> None:
    _dataset(np.repeat(moving_disc()[..., None], 3, axis=-1), 8).save_as(path, enforce_file_format=True)


def _compressed(syntax: UID, bits: int) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        dataset = _dataset(moving_disc(2**bits - 1), bits)
        dataset.compress(syntax)
        dataset.save_as(path, enforce_file_format=True)

    return write


def _by_pillow(syntax: UID, bits: int, format_name: str, **options: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        fragments = []
        for frame in moving_disc(2**bits - 1):
            buffer = BytesIO()
            Image.fromarray(frame).save(buffer, format_name, **options)
            fragments.append(buffer.getvalue())
        _encapsulated(path, syntax, bits, fragments)

    return write


def _by_gdcm(name: str, bits: int) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        import gdcm

        _raw(uid.ExplicitVRLittleEndian, bits)(path)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise NotImplementedError(f"gdcm does not write {name}")
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()

    return write


def _video_in_dicom(syntax: UID, codec: str, container: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        stream = path.with_suffix(".stream")
        _video(codec, container)(stream)
        _encapsulated(path, syntax, 8, [stream.read_bytes()])
        stream.unlink()

    return write


def _encapsulated(path: Path, syntax: UID, bits: int, fragments: list[bytes]) -> None:
    dataset = _dataset(moving_disc(2**bits - 1), bits)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(fragments)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)


def _video(codec: str, container: str, pix_fmt: str = "yuv420p", **options: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        with av.open(str(path), "w", format=container, options=options) as file:
            stream = cast(av.VideoStream, file.add_stream(codec, rate=25, options=quiet))
            stream.height, stream.width, stream.pix_fmt = ROWS, COLUMNS, pix_fmt
            for index, values in enumerate(moving_disc()):
                frame = av.VideoFrame.from_ndarray(values, format="gray")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))

    return write


def _still(white: int = 255, mode: str | None = None, **options: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        picture = Image.fromarray(moving_disc(white)[0])
        (picture.convert(mode) if mode else picture).save(path, **options)

    return write


def _pages(white: int, **options: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        first, *rest = (Image.fromarray(frame) for frame in moving_disc(white))
        first.save(path, save_all=True, append_images=rest, **options)

    return write


def _nifti(dtype: type, shape: tuple[int, ...], scale: float | None = None) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        image = nib.Nifti1Image(moving_disc().T.astype(dtype).reshape(shape), np.eye(4))
        image.header.set_xyzt_units("mm", "sec")
        if scale:
            image.header.set_slope_inter(scale, 0.0)
        nib.save(image, path)

    return write


_XYT = (COLUMNS, ROWS, NUM_FRAMES)
_XY1T = (COLUMNS, ROWS, 1, NUM_FRAMES)

_WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "DICOM explicit": (".dcm", _raw(uid.ExplicitVRLittleEndian)),
    "DICOM explicit 8-bit": (".dcm", _raw(uid.ExplicitVRLittleEndian, 8)),
    "DICOM implicit": (".dcm", _raw(uid.ImplicitVRLittleEndian)),
    "DICOM big-endian": (".dcm", _raw(uid.ExplicitVRBigEndian)),
    "DICOM deflated": (".dcm", _raw(uid.DeflatedExplicitVRLittleEndian)),
    "DICOM bare": (".dcm", _without_preamble),
    "DICOM RGB": (".dcm", _color),
    "DICOM RLE": (".dcm", _compressed(uid.RLELossless, 12)),
    "DICOM JPEG baseline": (".dcm", _by_pillow(uid.JPEGBaseline8Bit, 8, "JPEG", quality=90)),
    "DICOM JPEG extended": (".dcm", _by_gdcm("JPEGExtendedProcess2_4", 12)),
    "DICOM JPEG lossless": (".dcm", _by_gdcm("JPEGLosslessProcess14_1", 12)),
    "DICOM JPEG-LS": (".dcm", _compressed(uid.JPEGLSLossless, 12)),
    "DICOM JPEG 2000": (".dcm", _by_pillow(uid.JPEG2000Lossless, 12, "JPEG2000", no_jp2=True, irreversible=False)),
    "DICOM MPEG-2": (".dcm", _video_in_dicom(uid.MPEG2MPML, "mpeg2video", "mpegts")),
    "DICOM H.264": (".dcm", _video_in_dicom(uid.MPEG4HP41, "libx264", "mpegts")),
    "DICOM HEVC": (".dcm", _video_in_dicom(uid.HEVCMP51, "libx265", "mpegts")),
    "AVI MJPEG": (".avi", _video("mjpeg", "avi", "yuvj420p")),
    "AVI raw": (".avi", _video("rawvideo", "avi", "gray")),
    "AVI H.264": (".avi", _video("libx264", "avi")),
    "MP4 H.264": (".mp4", _video("libx264", "mp4")),
    "MP4 HEVC": (".mp4", _video("libx265", "mp4", movflags="faststart")),
    "MOV": (".mov", _video("libx264", "mov", movflags="faststart")),
    "MKV H.264": (".mkv", _video("libx264", "matroska")),
    "MKV FFV1": (".mkv", _video("ffv1", "matroska", "gray")),
    "WebM VP9": (".webm", _video("libvpx-vp9", "webm")),
    "MPEG-PS": (".mpg", _video("mpeg2video", "mpeg")),
    "VOB": (".vob", _video("mpeg2video", "vob")),
    "MPEG-TS": (".ts", _video("libx264", "mpegts")),
    "WMV": (".wmv", _video("wmv2", "asf")),
    "PNG 8-bit": (".png", _still()),
    "PNG 16-bit": (".png", _still(65535)),
    "PNG palette": (".png", _still(mode="P")),
    "JPEG": (".jpg", _still(quality=90)),
    "JPEG color": (".jpg", _still(mode="RGB", progressive=True)),
    "TIFF 8-bit": (".tif", _pages(255)),
    "TIFF 16-bit": (".tif", _pages(65535)),
    "TIFF LZW": (".tif", _pages(255, compression="tiff_lzw")),
    "TIFF deflated": (".tif", _pages(65535, compression="tiff_adobe_deflate")),
    "NIfTI": (".nii", _nifti(np.uint8, _XYT)),
    "NIfTI float": (".nii", _nifti(np.float32, _XY1T)),
    "NIfTI scaled": (".nii", _nifti(np.int16, _XY1T, 0.5)),
    "NIfTI gz": (".nii.gz", _nifti(np.uint8, _XY1T)),
}


PIXEL_DATA_TAGS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")  # little and big endian
DICOM_META_START = 132
GZIP_START = b"\x1f\x8b"
HEADER_BYTES = 1024  # of a file that is not DICOM; MP4 and Matroska keep more of it at the end
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2_000_000_000)


def damage(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Damage a file once or a few times; the other content, and the names of what was done.

    Half of the deflated files are damaged inside: bytes of the stream itself seldom get past its checksum.
    """
    if rng.random() < 0.5:
        if content.startswith(GZIP_START):
            inner, done = _damage_plain(gzip.decompress(content), rng)
            return gzip.compress(inner, mtime=0), f"inside gzip: {done}"
        start = _deflated_start(content)
        if start:
            inner, done = _damage_plain(zlib.decompress(content[start:], wbits=-15), rng)
            packer = zlib.compressobj(wbits=-15)
            return content[:start] + packer.compress(inner) + packer.flush(), f"inside deflate: {done}"
    return _damage_plain(content, rng)


def _damage_plain(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    names = []
    damaged = bytearray(content)
    for _ in range(1 + int(rng.random() < 0.3)):
        name, change = DAMAGES[rng.integers(len(DAMAGES))]
        names.append(name)
        change(damaged, rng)
    return bytes(damaged), ", ".join(names)


def _deflated_start(content: bytes) -> int:
    """Where the deflated data set of a DICOM file begins, behind its meta header; 0 if it is not deflated."""
    if content[128:DICOM_META_START] != b"DICM" or b"1.2.840.10008.1.2.1.99" not in content[:400]:
        return 0
    group_length = int.from_bytes(content[140:144], "little")  # value of (0002,0000), the first element
    return DICOM_META_START + 12 + group_length


def _header_end(content: bytearray) -> int:
    pixels = max(content.find(tag) for tag in PIXEL_DATA_TAGS)
    return pixels + 12 if pixels > 0 else min(HEADER_BYTES, len(content))


def _position(content: bytearray, rng: np.random.Generator) -> int:
    """A place in the header, one time in four counted from the end."""
    end = max(1, _header_end(content))
    place = int(rng.integers(end))
    return len(content) - 1 - min(place, len(content) - 1) if rng.random() < 0.25 else place


def _change_header(content: bytearray, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 20)):
        if content:
            content[_position(content, rng)] = rng.integers(256)


def _change_pixels(content: bytearray, rng: np.random.Generator) -> None:
    start = min(_header_end(content), len(content) - 1)
    for _ in range(rng.integers(1, 40)):
        if content:
            content[rng.integers(start, len(content))] = rng.integers(256)


def _cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[rng.integers(len(content) + 1) :]


def _insert(content: bytearray, rng: np.random.Generator) -> None:
    place = _position(content, rng) if rng.random() < 0.5 and content else int(rng.integers(len(content) + 1))
    content[place:place] = rng.bytes(int(rng.integers(1, 64)))


def _remove(content: bytearray, rng: np.random.Generator) -> None:
    place = int(rng.integers(len(content) + 1))
    del content[place : place + int(rng.integers(1, 64))]


def _swap(content: bytearray, rng: np.random.Generator) -> None:
    width = int(rng.choice([2, 4, 8, 16]))
    first, second = sorted(2 * (int(place) // 2) for place in rng.integers(_header_end(content) + 1, size=2))
    if second >= first + width and second + width <= len(content):
        one, other = content[first : first + width], content[second : second + width]
        content[first : first + width], content[second : second + width] = other, one


def _write_extreme(content: bytearray, rng: np.random.Generator) -> None:
    width = int(rng.choice([1, 2, 4, 8]))
    value = int(rng.choice(EXTREMES)) % 256**width
    place = _position(content, rng) if content else 0
    number = value.to_bytes(width, "little" if rng.random() < 0.5 else "big")
    content[place : place + width] = number


def _repeat(content: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(content) + 1))
    block = content[start : start + int(rng.integers(1, 512))]
    content[start:start] = block


DAMAGES: tuple[tuple[str, Callable[[bytearray, np.random.Generator], None]], ...] = (
    ("header bytes", _change_header),
    ("pixel bytes", _change_pixels),
    ("cut", _cut),
    ("inserted", _insert),
    ("removed", _remove),
    ("swapped fields", _swap),
    ("extreme number", _write_extreme),
    ("repeated", _repeat),
)
