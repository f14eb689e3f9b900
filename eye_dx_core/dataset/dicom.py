"""The one door to pydicom: ophthalmic photographs in DICOM files."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eye_dx_core.dataset.photo_file import check_sides
from eye_dx_core.errors import BadPhoto
from eye_dx_core.schema.case import Laterality

_DEFLATED = "1.2.840.10008.1.2.1.99"
_TAGS = [
    "Modality", "SOPClassUID", "ImageLaterality", "Laterality", "BurnedInAnnotation", "NumberOfFrames", "Rows", "Columns", "PixelData",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
]  # fmt: skip
_EYES = {"R": (Laterality.RIGHT,), "L": (Laterality.LEFT,)}

Decoded = tuple[NDArray[np.uint8], tuple[str, ...], tuple[Laterality, ...]]


def decode_dicom(content: bytes) -> Decoded:
    """The first frame as RGB (height, width, 3), notes on it, and the eyes that ImageLaterality and Laterality name.

    Read is what a fundus camera sends: modality OP (ophthalmic photography), 8 bits. No tag that could tell of a person is parsed.

    Raises:
        BadPhoto: `unsupported_format` without pydicom, or for a compression that it cannot undo; `wrong_modality`, `no_pixels`,
            `unsupported_mode`, or a reason of `check_sides`.
        Exception: whatever pydicom meets in a damaged file.
    """
    try:
        import pydicom
        from pydicom.pixels.processing import apply_color_lut
        from pydicom.pixels.utils import pixel_array
    except ImportError:
        raise BadPhoto("unsupported_format", "a DICOM file: to read it, install the extra, eye-dx[dicom]") from None
    _refuse_deflated(content)
    dataset = pydicom.dcmread(io.BytesIO(content), specific_tags=list(_TAGS))
    _check(dataset)
    _check_compression(dataset.file_meta.TransferSyntaxUID)
    photometric = str(dataset.PhotometricInterpretation)
    pixels = pixel_array(dataset, index=0)
    if photometric == "PALETTE COLOR":
        pixels = (apply_color_lut(pixels, dataset) >> 8).astype(np.uint8)
    if photometric == "MONOCHROME1":
        pixels = 255 - pixels
    rgb = np.ascontiguousarray(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))
    return rgb, _notes_of(dataset, photometric), _eyes_of(dataset)


def _refuse_deflated(content: bytes) -> None:
    """A deflated data set would be inflated whole before anything can be asked of it."""
    from pydicom.filereader import read_dataset

    file = io.BytesIO(content)
    file.seek(132)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
        raise BadPhoto("unsupported_format", "a deflated DICOM file: store it with an uncompressed or JPEG transfer syntax")


def _check_compression(syntax: Any) -> None:  # noqa: ANN401 - a UID of pydicom's
    from pydicom.pixels.decoders.base import get_decoder

    try:
        is_read = get_decoder(syntax).is_available
    except NotImplementedError:
        is_read = False
    if not is_read:
        name = syntax.name if syntax.name != str(syntax) else "an unknown compression"
        raise BadPhoto("unsupported_format", f"a DICOM file in {name}, which is not read here")


def _check(dataset: Any) -> None:  # noqa: ANN401 - pydicom's values come by name
    modality = str(dataset.Modality)  # required of every photograph, so one without it was cut off
    if modality != "OP":
        # A modality is a short code by the standard; anything else could be anything.
        known = modality if modality.isalpha() and len(modality) <= 4 else "unknown"
        raise BadPhoto("wrong_modality", f"a DICOM file of modality {known}, and no ophthalmic photograph (OP)")
    if "PixelData" not in dataset:
        raise BadPhoto("no_pixels", "a DICOM file without a picture")
    check_sides(int(dataset.Columns), int(dataset.Rows))
    photometric = str(dataset.PhotometricInterpretation)
    if int(dataset.BitsAllocated) != 8 or not photometric.startswith(("RGB", "YBR_", "MONOCHROME", "PALETTE COLOR")):
        raise BadPhoto("unsupported_mode", "a DICOM file whose values have not 8 bits, or whose colours are not supported")


def _notes_of(dataset: Any, photometric: str) -> tuple[str, ...]:  # noqa: ANN401 - see above
    found = {
        "first_of_several_pages": int(dataset.get("NumberOfFrames") or 1) > 1,
        "greyscale": photometric.startswith("MONOCHROME"),
        "palette": photometric == "PALETTE COLOR",
        "burned_in_annotation": str(dataset.get("BurnedInAnnotation", "")).upper() == "YES",
    }
    return tuple(note for note, is_there in found.items() if is_there)


def _eyes_of(dataset: Any) -> tuple[Laterality, ...]:  # noqa: ANN401 - see above
    """Both tags: a photograph that contradicts itself must reach a doctor."""
    said = [str(dataset.get(tag, "")).strip().upper() for tag in ("ImageLaterality", "Laterality")]
    return tuple(dict.fromkeys(eye for word in said for eye in _EYES.get(word, ())))
