"""Pictures of the evidence for doctors: the photograph as it is, and beside it where the model saw what it concluded."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt

from eye_dx_core.dataset.photo import Rgb
from eye_dx_core.inference.landmarks import find_disc
from eye_dx_core.inference.zones import inside_field, weights_of, zones_of_square
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import EvidenceMap, PhotoPrediction, Zone

_SIDE, _STRIP, _MARGIN, _LEAST_ROOM = 448, 58, 8, 10
_PHOTO_SHARE = 0.55
"""How bright the grey photograph under the colours stays, so that the strongest place is the brightest of the picture."""
_INK, _LINE, _RIM = (235, 235, 235), (150, 150, 150), (90, 90, 90)
# No font with Chinese characters comes with the project, so the picture holds letters; `Zone.name_zh` says them beside it.
_LETTERS = {
    Zone.MACULA: "M", Zone.DISC: "D", Zone.SUPERIOR_TEMPORAL: "ST", Zone.INFERIOR_TEMPORAL: "IT", Zone.NASAL: "N", Zone.PERIPHERY: "P",
}  # fmt: skip


def save_overlay(square: Rgb, prediction: PhotoPrediction, path: Path) -> None:
    """Save `draw_overlay` as PNG, without any metadata.

    Raises:
        ValueError: the prediction has no evidence.
    """
    draw_overlay(square, prediction).save(path, format="PNG")


def draw_overlay(square: Rgb, prediction: PhotoPrediction) -> Image.Image:
    """The photograph, the same in grey with the evidence in viridis and the zones in thin lines, and a legend. No name, no number.

    Args:
        square: (size, size, rgb), cut to the field of view.
        prediction: what was read from that square.

    Raises:
        ValueError: the prediction has no evidence.
    """
    if prediction.evidence is None:
        raise ValueError("this prediction has no evidence to draw")
    photo = Image.fromarray(square).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    right = draw_on_grey(np.asarray(photo), evidence_layer(prediction.evidence, _SIDE))
    _draw_zones(right, square, prediction.eye)
    picture = Image.new("RGB", (2 * _SIDE, _SIDE + _STRIP))
    picture.paste(photo, (0, 0))
    picture.paste(right, (_SIDE, 0))
    _draw_legend(picture, prediction)
    return picture


def evidence_layer(evidence: EvidenceMap, side: int) -> Image.Image:
    """Colours to lay over the square (side, side, rgba), which cover the more, the stronger the evidence; nothing outside the field."""
    smooth = np.asarray(Image.fromarray(weights_of(evidence)).resize((side, side), Image.Resampling.BICUBIC))
    weights = np.where(inside_field(side), smooth.clip(0, 1), 0)
    colours = colormaps["viridis"](weights)[..., :3]
    cover = 0.8 * np.sqrt(weights)[..., None]
    return Image.fromarray((np.concatenate([colours, cover], axis=2) * 255).round().astype(np.uint8))


def draw_on_grey(photo: Rgb, layer: Image.Image) -> Image.Image:
    """The photograph (side, side, rgb) in dimmed grey under the layer of its evidence; outside the field everything stays black."""
    grey = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2) * _PHOTO_SHARE
    seen = Image.fromarray(np.where(inside_field(len(photo))[..., None], grey, 0).round().astype(np.uint8))
    seen.paste(layer, mask=layer)
    return seen


def _draw_zones(panel: Image.Image, square: Rgb, eye: Laterality | None) -> None:
    """The rim of the field, thin lines between zones, and a letter in each."""
    zones, pen = zones_of_square(_SIDE, find_disc(square), eye), ImageDraw.Draw(panel)
    changes = (zones[1:, 1:] != zones[:-1, 1:]) | (zones[1:, 1:] != zones[1:, :-1])
    pixels = np.array(panel)
    pixels[1:, 1:][changes & inside_field(_SIDE)[1:, 1:]] = _LINE
    panel.paste(Image.fromarray(pixels))
    pen.ellipse((0, 0, _SIDE - 1, _SIDE - 1), outline=_RIM)
    for zone, letters in _LETTERS.items():
        # A zone's letter stands where there is most room, which the middle of a ring or of a sickle is not.
        room = np.asarray(distance_transform_edt(np.pad(zones == zone, 1)))[1:-1, 1:-1]
        if room.max() > _LEAST_ROOM:
            y, x = np.unravel_index(int(room.argmax()), room.shape)
            pen.text(
                (float(x), float(y)),
                letters,
                fill=_INK,
                font=ImageFont.load_default(13),
                anchor="mm",
                stroke_width=1,
                stroke_fill=(0, 0, 0),
            )


def _draw_legend(picture: Image.Image, prediction: PhotoPrediction) -> None:
    """Two lines of words and the scale of the colours, which is each photograph's own."""
    pen, small = ImageDraw.Draw(picture), ImageFont.load_default(12)
    areas = ", ".join(area.zone.name_en for area in prediction.abnormal_areas) or "not localised"
    pen.text((_MARGIN, _SIDE + 8), f"AI, not reviewed: {prediction.conclusion_en}", fill=_INK, font=ImageFont.load_default(14))
    pen.text((_MARGIN, _SIDE + 32), f"Seen in: {areas}", fill=_INK, font=small)
    letters = " · ".join(f"{letters} {zone.name_en}" for zone, letters in _LETTERS.items())
    pen.text((_SIDE, _SIDE + 34), letters, fill=_INK, font=ImageFont.load_default(11))
    bar = colormaps["viridis"](np.linspace(0, 1, 120))[None, :, :3] * 255
    picture.paste(Image.fromarray(bar.round().astype(np.uint8)).resize((120, 10)), (_SIDE + 40, _SIDE + 12))
    pen.text((_SIDE, _SIDE + 9), "weak", fill=_INK, font=small)
    pen.text((_SIDE + 166, _SIDE + 9), "strong, within this photograph", fill=_INK, font=small)
