"""Everything that clinics and attackers leave where photographs should be, with what must come of each file."""

import io
import os
import socket
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.schema.case import Laterality

FUNDUS = render_phantom("D2", eye=Laterality.RIGHT, seed=1, size=200).rgb
OTHER_PAGE = np.zeros_like(FUNDUS)
_OP_8_BIT, _CT = "1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.2"
# How a stored picture is turned so that its EXIF tag brings it upright again.
_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """One file: how it is made, and what must come of it: a reason, or the picture with notes and eyes."""

    name: str
    make: Callable[[Path], object]
    reason: str | None = None
    notes: tuple[str, ...] = ()
    eyes: tuple[Laterality, ...] = ()
    off: float = 0.0
    """Mean grey levels by which its square may differ from that of the original."""
    is_grey: bool = False
    """Whether it shows the original in grey."""


@cache
def hostile_files() -> tuple[Hostile, ...]:
    """Every kind; devices are made by root alone."""
    devices = _devices() if os.geteuid() == 0 else ()
    return (*_no_photographs(), *_damaged(), *_bombs(), *_colours(), *_several(), *_odd_but_right(), *_dicoms(), *_no_files(), *devices)


def grey_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As Pillow makes grey."""
    return np.asarray(picture(pixels).convert("L"))


def picture(pixels: NDArray[Any] = FUNDUS) -> Image.Image:
    """Pixels as Pillow has them."""
    return Image.fromarray(pixels)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    """A JPEG of high quality."""
    return saved(image or picture(), "JPEG", **{"quality": 95, "subsampling": 0} | options)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk with its check sum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels: NDArray[Any], *, colour: int, depth: int = 16, size: tuple[int, int] | None = None) -> bytes:
    """A PNG by hand, which may claim another size (height, width) than it has."""
    height, width = size or pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in pixels)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def tiff(
    pixels: NDArray[Any],
    *,
    photometric: int = 2,
    in_planes: bool = False,
    is_zipped: bool = False,
    order: str = "<",
    claims: dict[int, int] | None = None,
    following: int = 0,
) -> bytes:
    """A TIFF by hand, of one strip or one per plane; `claims` are tags that say otherwise, `following` where the next page lies."""
    bands, bits = (pixels.shape[2] if pixels.ndim == 3 else 1), pixels.dtype.itemsize * 8
    planes = [pixels[..., band] for band in range(bands)] if in_planes else [pixels]
    strips = [np.ascontiguousarray(plane).astype(order + pixels.dtype.str[1:]).tobytes() for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if is_zipped else strips
    tags = {
        256: [pixels.shape[1]], 257: [pixels.shape[0]], 258: [bits] * bands, 259: [8 if is_zipped else 1], 262: [photometric],
        273: [0] * len(strips), 277: [bands], 278: [pixels.shape[0]], 279: [len(strip) for strip in strips],
        284: [2 if in_planes else 1], 339: [3 if pixels.dtype.kind == "f" else 1] * bands,
    }  # fmt: skip
    after = 8 + 2 + 12 * len(tags) + 4
    places: dict[int, int] = {}
    for tag, values in tags.items():
        if len(values) > 1:  # all values are written with four bytes, and one fits into the entry itself
            places[tag], after = after, after + 4 * len(values)
    tags[273] = [after + sum(map(len, strips[:number])) for number in range(len(strips))]
    tags |= {tag: [value] for tag, value in (claims or {}).items()}
    entries = b"".join(struct.pack(order + "HHII", tag, 4, len(tags[tag]), places.get(tag, tags[tag][0])) for tag in sorted(tags))
    tail = b"".join(struct.pack(f"{order}{len(tags[tag])}I", *tags[tag]) for tag in places)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + entries + struct.pack(order + "I", following) + tail + b"".join(strips)


def dicom(
    pixels: NDArray[np.uint8] | None = FUNDUS, *, syntax: UID = ExplicitVRLittleEndian, encoded: bytes | None = None, **tags: Any
) -> bytes:
    """An ophthalmic photograph as a camera sends it, with other tags where the caller wants them."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = UID(_OP_8_BIT), UID("1.2.3"), syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality, dataset.PatientName = _OP_8_BIT, "1.2.3", "OP", "Zhang^San"
    if pixels is not None:
        is_colour = pixels.shape[-1] == 3
        dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if is_colour else pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3, "RGB") if is_colour else (1, "MONOCHROME2")
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        if is_colour:
            dataset.PlanarConfiguration = 0
        dataset.add_new("PixelData", "OB", pixels.tobytes() if encoded is None else encapsulate([encoded]))
    for name, value in tags.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _holding(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _patched(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new, 1)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _turned(orientation: int) -> Image.Image:
    return picture().transpose(_BACK[orientation]) if orientation in _BACK else picture()


def _ycck() -> bytes:
    """CMYK whose first three channels are stored as luminance and colour differences, as Photoshop writes it."""
    # Adobe stores ink turned over, and so does Pillow when it writes; its marker tells the transform, and 2 is YCCK.
    y, cb, cr = picture(255 - FUNDUS).convert("YCbCr").split()
    stored = Image.merge("CMYK", [Image.fromarray(255 - np.asarray(one)) for one in (y, cb, cr)] + [Image.new("L", y.size, 0)])
    content = bytearray(jpeg(stored))
    content[content.index(b"Adobe") + 11] = 2
    return bytes(content)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(jpeg())
        file.truncate(10 * 2**30)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # an address may have no more than a hundred letters
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def _no_photographs() -> tuple[Hostile, ...]:
    more: dict[str, Any] = {"save_all": True, "append_images": [picture(OTHER_PAGE)]}
    unknown = {
        "text.jpg": b"no picture at all, but some words",
        "noise.jpg": np.random.default_rng(1).bytes(5000),
        "garbage_first.jpg": b"\0\0garbage" + jpeg(),
    }
    foreign = {
        "page.jpg": b"\n<!DOCTYPE html><html><body>404</body></html>",
        "drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "letter.jpg": b"%PDF-1.7\n%...",
        "sheet.jpg": b"PK\x03\x04" + bytes(100),
        "packed.jpg": b"\x1f\x8b\x08" + bytes(100),
        "moving.gif": saved(picture(), "GIF", **more),
        "moving.webp": saved(picture(), "WEBP", **more),
        "screen.bmp": saved(picture(), "BMP"),
        "phone.heic": b"\0\0\0\x18ftypheic" + bytes(100),
        "film.jpg": b"\0\0\0\x18ftypisom" + bytes(100),
        "camera.cr2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(100),
        "wave.jp2": saved(picture(), "JPEG2000"),
    }
    return (
        *(Hostile(name, _holding(content), "not_an_image") for name, content in unknown.items()),
        *(Hostile(name, _holding(content), "unsupported_format") for name, content in foreign.items()),
    )


def _damaged() -> tuple[Hostile, ...]:
    whole_jpeg, whole_png, whole_tiff, lzw = jpeg(), saved(picture(), "PNG"), tiff(FUNDUS), saved(picture(), "TIFF", compression="tiff_lzw")
    bad_sum = bytearray(whole_png)
    bad_sum[29] ^= 255  # in the check sum of the first chunk
    contents = {
        "cut_at_3_bytes.jpg": whole_jpeg[:3],
        "cut_in_head.jpg": whole_jpeg[:100],
        "cut_in_half.jpg": whole_jpeg[: len(whole_jpeg) // 2],
        "cut_near_end.jpg": whole_jpeg[:-1500],
        "cut_in_head.png": whole_png[:20],
        "cut_in_half.png": whole_png[: len(whole_png) // 2],
        "bad_check_sum.png": bytes(bad_sum),
        "cut_in_directory.tif": whole_tiff[:60],
        "cut_in_half.tif": whole_tiff[: len(whole_tiff) // 2],
        "cut_in_half_lzw.tif": lzw[: len(lzw) // 2],
        "strip_beyond_end.tif": tiff(FUNDUS, claims={273: 2**31}),
        "wider_than_it_is.tif": tiff(FUNDUS, claims={256: 1900}),
        "twelve_bits.jpg": _patched(whole_jpeg, b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
    }
    return (
        Hostile("empty.jpg", _holding(b""), "empty"),
        *(Hostile(name, _holding(content), "truncated") for name, content in contents.items()),
    )


def _bombs() -> tuple[Hostile, ...]:
    row, small = np.zeros((1, 100, 3), np.uint8), saved(picture(), "PNG")
    comment = png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(80 * 2**20)))
    return (
        Hostile("pixel.png", _holding(saved(Image.new("RGB", (1, 1)), "PNG")), "too_small"),
        Hostile("strip.png", _holding(png(row, colour=2, depth=8, size=(10, 3_000))), "too_small"),
        Hostile("line.png", _holding(png(row, colour=2, depth=8, size=(10, 30_000))), "too_long"),
        Hostile("bomb.png", _holding(png(row, colour=2, depth=8, size=(12_000, 12_000))), "too_many_pixels"),
        Hostile("bigger_bomb.png", _holding(png(row, colour=2, depth=8, size=(19_000, 19_000))), "too_many_pixels"),
        Hostile("bomb.tif", _holding(tiff(FUNDUS, claims={256: 19_000, 257: 19_000})), "too_many_pixels"),
        Hostile(
            "bomb.jpg", _holding(_patched(jpeg(), struct.pack(">HH", 200, 200), struct.pack(">HH", 15_000, 15_000))), "too_many_pixels"
        ),
        Hostile("bomb.dcm", _holding(dicom(Rows=15_000, Columns=15_000)), "too_many_pixels"),
        Hostile("comment_bomb.png", _holding(small[:33] + comment + small[33:]), "truncated"),
    )


def _colours() -> tuple[Hostile, ...]:
    deep, grey = FUNDUS.astype(np.uint16), grey_of(FUNDUS)
    deep_grey, note, cmyk = grey.astype(np.uint16), ("scaled_from_16_bit",), ("converted_from_cmyk",)
    clear = Image.fromarray(np.dstack([FUNDUS, np.full(FUNDUS.shape[:2], 90, np.uint8)]))
    return (
        Hostile("cmyk.jpg", _holding(jpeg(picture().convert("CMYK"))), notes=cmyk, off=1.5),
        Hostile("ycck.jpg", _holding(_ycck()), notes=cmyk, off=1.5),
        Hostile("cmyk.tif", _holding(saved(picture().convert("CMYK"), "TIFF")), notes=cmyk),
        Hostile("palette.png", _holding(saved(picture().quantize(256), "PNG", transparency=0)), notes=("palette",), off=6.0),
        Hostile("clear.png", _holding(saved(clear, "PNG")), notes=("transparency_dropped",)),
        Hostile("grey.jpg", _holding(jpeg(picture(grey))), notes=("greyscale",), is_grey=True, off=1.0),
        Hostile("grey_16.png", _holding(png(deep_grey * 257, colour=0)), notes=(*note, "greyscale"), is_grey=True),
        Hostile("grey_12.tif", _holding(tiff(deep_grey << 4, photometric=1)), notes=(*note, "greyscale"), is_grey=True),
        Hostile("rgb_16.png", _holding(png(deep * 257, colour=2)), notes=note),
        Hostile("rgb_12.png", _holding(png(deep << 4, colour=2)), notes=note),
        Hostile("rgb_16.tif", _holding(tiff(deep << 8)), notes=note),
        Hostile("rgb_12.tif", _holding(tiff(deep << 4)), notes=note),
        Hostile("rgb_14_other_order.tif", _holding(tiff(deep << 6, order=">")), notes=note),
        Hostile("rgb_12_zipped.tif", _holding(tiff(deep << 4, is_zipped=True)), notes=note),
        Hostile("rgb_16_in_planes.tif", _holding(tiff(deep << 8, in_planes=True)), "unsupported_mode"),
        Hostile("bilevel.png", _holding(saved(picture().convert("1"), "PNG")), "unsupported_mode"),
        Hostile("lab.tif", _holding(tiff(FUNDUS, photometric=8)), "unsupported_mode"),
        Hostile("float.tif", _holding(tiff(grey.astype(np.float32), photometric=1)), "unsupported_mode"),
        Hostile("grey_32.tif", _holding(tiff(grey.astype(np.uint32), photometric=1)), "unsupported_mode"),
    )


def _several() -> tuple[Hostile, ...]:
    more: dict[str, Any] = {"save_all": True, "append_images": [picture(OTHER_PAGE)]}
    note = ("first_of_several_pages",)
    return (
        Hostile("pages.tif", _holding(saved(picture(), "TIFF", **more)), notes=note),
        Hostile("moving.png", _holding(saved(picture(), "PNG", **more)), notes=note),
        Hostile("stereo.mpo", _holding(saved(picture(), "MPO", **more, quality=95)), notes=note, off=1.5),
        Hostile("pages_in_a_circle.tif", _holding(tiff(FUNDUS, following=8))),
    )


def _odd_but_right() -> tuple[Hostile, ...]:
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Comment", "x" * 900_000)
    whole = jpeg()
    turned = ("rotated_by_exif",)
    exact = {
        "lzw.tif": saved(picture(), "TIFF", compression="tiff_lzw"),
        "deflate.tif": saved(picture(), "TIFF", compression="tiff_adobe_deflate"),
        "packbits.tif": saved(picture(), "TIFF", compression="packbits"),
        "big.tif": saved(picture(), "TIFF", big_tiff=True),
        "planes.tif": tiff(FUNDUS, in_planes=True),
        "other_order.tif": tiff(FUNDUS, order=">"),
        "talkative.png": saved(picture(), "PNG", pnginfo=comment),
        "wrong_suffix.tif": saved(picture(), "PNG"),
        "wrong_suffix.jpg": tiff(FUNDUS),
    }
    lossy = {
        "no_suffix": whole,
        "progressive.jpg": jpeg(progressive=True),
        "garbage_after.jpg": whole + b"garbage" * 1000,
        "colour_profile.jpg": jpeg(icc_profile=bytes(4_000_000)),
        "metadata.jpg": jpeg(exif=b"Exif\0\0" + b"MM" * 32_000),
        "comments.jpg": whole[:2] + b"\xff\xfe\xff\xff".ljust(65_537, b"x") * 100 + whole[2:],
        os.fsdecode(b"\xff\xfe\xe9.jpg"): whole,
        "'; rm -rf $HOME \n\u202e张三.jpg": whole,
    }
    return (
        *(Hostile(f"turned_{tag}.jpg", _holding(jpeg(_turned(tag), exif=_exif(tag))), notes=turned, off=1.0) for tag in range(2, 9)),
        Hostile("not_turned.jpg", _holding(jpeg(exif=_exif(1))), off=1.0),
        Hostile("turned.tif", _holding(saved(_turned(6), "TIFF", exif=_exif(6))), notes=turned),
        Hostile("turned.png", _holding(saved(_turned(8), "PNG", exif=_exif(8))), notes=turned),
        Hostile("jpeg_inside.tif", _holding(saved(picture(), "TIFF", compression="jpeg", quality=95)), off=2.0),
        *(Hostile(name, _holding(content)) for name, content in exact.items()),
        *(Hostile(name, _holding(content), off=1.0) for name, content in lossy.items()),
    )


def _dicoms() -> tuple[Hostile, ...]:
    right, left = (Laterality.RIGHT,), (Laterality.LEFT,)
    grey, rgb_jpeg, good = grey_of(FUNDUS), jpeg(), dicom(ImageLaterality="R")
    wave = saved(picture(), "JPEG2000", no_jp2=True, mct=0)
    as_jpeg: dict[str, Any] = {"syntax": JPEGBaseline8Bit, "PhotometricInterpretation": "YBR_FULL_422"}
    planes = {"PixelData": FUNDUS.transpose(2, 0, 1).tobytes(), "PlanarConfiguration": 1}
    frames = dicom(np.stack([FUNDUS, OTHER_PAGE]), NumberOfFrames=2)
    return (
        Hostile("good.dcm", _holding(good), eyes=right),
        Hostile("good_dicom.jpg", _holding(dicom(Laterality="L")), eyes=left),
        Hostile("both_sides.dcm", _holding(dicom(ImageLaterality="R", Laterality="L")), eyes=right + left),
        Hostile("unknown_side.dcm", _holding(dicom(ImageLaterality="U"))),
        Hostile("frames.dcm", _holding(frames), notes=("first_of_several_pages",)),
        Hostile("grey.dcm", _holding(dicom(grey)), notes=("greyscale",), is_grey=True),
        Hostile("negative.dcm", _holding(dicom(255 - grey, PhotometricInterpretation="MONOCHROME1")), notes=("greyscale",), is_grey=True),
        Hostile("planes.dcm", _holding(dicom(**planes))),
        Hostile("name_in_picture.dcm", _holding(dicom(BurnedInAnnotation="YES")), notes=("burned_in_annotation",)),
        Hostile("jpeg.dcm", _holding(dicom(encoded=rgb_jpeg, **as_jpeg)), off=1.0),
        Hostile("wave.dcm", _holding(dicom(syntax=JPEG2000Lossless, encoded=wave))),
        Hostile("damaged_jpeg.dcm", _holding(dicom(encoded=rgb_jpeg[:400], **as_jpeg)), "truncated"),
        Hostile("damaged_rle.dcm", _holding(dicom(syntax=RLELossless, encoded=b"xx")), "truncated"),
        Hostile("other_compression.dcm", _holding(dicom(syntax=JPEGLSLossless, encoded=b"xx")), "unsupported_format"),
        Hostile("private_compression.dcm", _holding(dicom(syntax=UID("1.2.3.4"), encoded=b"xx")), "unsupported_format"),
        Hostile("deflated.dcm", _holding(dicom(syntax=DeflatedExplicitVRLittleEndian)), "unsupported_format"),
        Hostile("no_picture.dcm", _holding(dicom(None)), "no_pixels"),
        Hostile("cut.dcm", _holding(good[: len(good) // 2]), "truncated"),
        Hostile("cut_in_head.dcm", _holding(good[:160]), "truncated"),
        Hostile("head_only.dcm", _holding(bytes(128) + b"DICM"), "truncated"),
        Hostile("ct.dcm", _holding(dicom(SOPClassUID=_CT, Modality="CT")), "wrong_modality"),
        Hostile("deep.dcm", _holding(dicom(BitsAllocated=16, BitsStored=12, HighBit=11)), "unsupported_mode"),
    )


def _no_files() -> tuple[Hostile, ...]:
    return (
        Hostile("folder.jpg", lambda path: path.mkdir(), "not_a_file"),
        Hostile("pipe.jpg", os.mkfifo, "not_a_file"),
        Hostile("socket.jpg", _socket, "not_a_file"),
        Hostile("sparse.jpg", _sparse, "too_large"),
        Hostile("deleted.jpg", lambda _: None, "missing"),
        Hostile("long_name" * 40 + ".jpg", lambda _: None, "unreadable"),
    )


def _devices() -> tuple[Hostile, ...]:
    def device(number: int) -> Callable[[Path], object]:
        return lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, number))

    return (Hostile("null.jpg", device(3), "not_a_file"), Hostile("zero.jpg", device(5), "not_a_file"))
