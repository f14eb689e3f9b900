"""How exactly field of view, disc and fovea are found, and how often the picture tells the eye: on phantoms, and on photographs."""

import argparse
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from eye_dx_core.dataset.field_of_view import FieldOfView, crop_to_field, find_field_of_view, read_square
from eye_dx_core.dataset.phantom import PHANTOM_CODES, Defect, Phantom, render_phantom
from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.landmarks import find_landmarks
from eye_dx_core.inference.laterality import STRONG, claim_of_picture
from eye_dx_core.schema.case import Laterality, find_eye
from eye_dx_core.schema.diagnosis import EyeClaim

Rgb = NDArray[np.uint8]
Placed = tuple[Rgb, FieldOfView]
"""A picture and where its field of view truly lies."""

FIRST_SEED = 700_000
SIZE = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=40, help="phantoms per code")
    parser.add_argument("--photos", type=Path, help="a folder of photographs")
    parser.add_argument("--manifest", type=Path, help="its list, a CSV with the columns file, source and eye")
    wanted = parser.parse_args()
    if wanted.photos and wanted.manifest:
        report_photographs(wanted.photos, wanted.manifest)
        return
    report_fields([render_phantom(code, eye=eye_of(place), seed=FIRST_SEED + place, size=SIZE) for place, code in enumerate(PHANTOM_CODES)])
    report_landmarks(wanted.each)


def eye_of(number: int) -> Laterality:
    """Right and left by turns."""
    return tuple(Laterality)[number % 2]


def report_fields(phantoms: Sequence[Phantom]) -> None:
    print(f"Field of view: {len(phantoms)} phantoms each; error of the radius and of the centre, both in % of the radius")
    print(f"{'':34}{'refused':>8}{'median':>8}{'95 %':>8}{'worst':>8}   {'centre median':>13}{'worst':>8}")
    for name, change in CHANGES.items():
        print_field(name, [change(one.rgb, truth_of(one)) for one in phantoms])
    for defect in Defect:
        spoiled = [render_phantom(one.code, eye=one.eye, seed=FIRST_SEED, size=SIZE, defect=defect) for one in phantoms]
        print_field(f"defect: {defect}", [(one.rgb, truth_of(one)) for one in spoiled])


def print_field(name: str, pictures: Iterable[Placed]) -> None:
    off: list[tuple[float, float]] = []
    refused = 0
    for rgb, truth in pictures:
        try:
            found = find_field_of_view(rgb)
        except BadPhoto:
            refused += 1
            continue
        aside = np.hypot(found.center_x - truth.center_x, found.center_y - truth.center_y)
        off.append((100 * abs(found.radius / truth.radius - 1), 100 * float(aside) / truth.radius))
    radius, centre = np.array(off).reshape(-1, 2).T if off else np.full((2, 1), np.nan)
    print(
        f"{name:34}{refused:8}{np.median(radius):8.2f}{np.percentile(radius, 95):8.2f}{radius.max():8.2f}   "
        f"{np.median(centre):13.2f}{centre.max():8.2f}"
    )


def truth_of(phantom: Phantom) -> FieldOfView:
    return FieldOfView(center_x=phantom.field_xy[0], center_y=phantom.field_xy[1], radius=phantom.field_radius)


def report_landmarks(each: int) -> None:
    """Disc and fovea as they are found by the crop that is found, and what the picture says of the eye."""
    heads = ("disc within its radius", "median", "95 %", "fovea", "95 %", "strong", "right", "wrong")
    print(f"\nLandmarks: {each} phantoms per code; errors in % of the field's radius; strong is {STRONG} and more")
    print(f"{'code':6}{heads[0]:>24}" + "".join(f"{head:>8}" for head in heads[1:]))
    rows: list[tuple[str, float, float, EyeClaim | None, Laterality, float]] = []
    for (place, code), number in product(enumerate(PHANTOM_CODES), range(each)):
        rows.append(_landmarks_of(code, FIRST_SEED + 1000 + place * 1000 + number, eye_of(number)))
    for code in (*PHANTOM_CODES, "all"):
        chosen = [row for row in rows if code in (row[0], "all")]
        disc, fovea, least = (
            np.array([row[1] for row in chosen]),
            np.array([row[2] for row in chosen]),
            np.array([row[5] for row in chosen]),
        )
        strong = [(row[3].eye, row[4]) for row in chosen if row[3] is not None and row[3].strength >= STRONG]
        right = sum(said is eye for said, eye in strong)
        print(
            f"{code:6}{np.mean(disc < least):24.3f}{np.median(disc):8.1f}{np.percentile(disc, 95):8.1f}{np.median(fovea):8.1f}"
            f"{np.percentile(fovea, 95):8.1f}{len(strong) / len(chosen):8.3f}{right / len(chosen):8.3f}{len(strong) - right:8}"
        )


def _landmarks_of(code: str, seed: int, eye: Laterality) -> tuple[str, float, float, EyeClaim | None, Laterality, float]:
    phantom = render_phantom(code, eye=eye, seed=seed, size=SIZE)
    field = find_field_of_view(phantom.rgb)
    found = find_landmarks(crop_to_field(phantom.rgb, size=224, field=field))
    errors: list[float] = []
    for place, truth in ((found.disc, phantom.disc_xy), (found.fovea, phantom.fovea_xy)):
        x, y = (truth[0] - field.center_x) / field.radius, (truth[1] - field.center_y) / field.radius
        errors.append(100 * float(np.hypot(place.x - x, place.y - y)) if place else 200.0)
    return code, errors[0], errors[1], claim_of_picture(found), eye, 100 * phantom.disc_radius / field.radius


def report_photographs(folder: Path, manifest: Path) -> None:
    """The picture's word against the eye that the list gives."""
    said = list(_claims_on_photographs(folder, manifest))
    groups = sorted({group for group, _, _ in said})
    print("Photographs whose eye is known: claims and contradictions by least strength of the claim")
    print(f"{'least':>6}{'claims':>9}{'contradict':>11}   " + "  ".join(f"{group:>22}" for group in groups))
    for least in (0.5, 0.7, 0.8, STRONG, 0.9, 0.95):
        counts = [_count(said, group, least) for group in groups]
        photos, claims, wrong = (sum(column) for column in zip(*counts, strict=True))
        words = "  ".join(f"{f'{no} of {yes} of {all_}':>22}" for all_, yes, no in counts)
        print(f"{least:6}{claims / photos:9.3f}{wrong / max(1, claims):11.4f}   {words}")
    print("How often a claim of a strength is right:")
    for low, high in ((0.5, 0.7), (0.7, 0.85), (0.85, 0.9), (0.9, 0.95), (0.95, 0.98), (0.98, 1.01)):
        here = [(claim, eye) for _, claim, eye in said if claim and low <= claim.strength < high]
        said_right, right = (np.mean(values) for values in zip(*((claim.strength, claim.eye is eye) for claim, eye in here), strict=True))
        print(f"  {low:.2f} to {min(high, 1):.2f}: {len(here):4} claims, said {said_right:.3f}, right {right:.3f}")


def _claims_on_photographs(folder: Path, manifest: Path) -> Iterator[tuple[str, EyeClaim | None, Laterality]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            eye = find_eye(row["eye"])
            if eye is None:
                continue
            group = f"{row['source']} {Path(row['file']).parts[0]}"
            try:
                yield group, claim_of_picture(find_landmarks(read_square(folder / row["file"], size=224))), eye
            except BadPhoto:
                yield group, None, eye


def _count(said: Iterable[tuple[str, EyeClaim | None, Laterality]], group: str, least: float) -> tuple[int, int, int]:
    """Photographs, claims, contradictions."""
    here = [(claim, eye) for one, claim, eye in said if one == group]
    claims = [(claim, eye) for claim, eye in here if claim is not None and claim.strength >= least]
    return len(here), len(claims), sum(claim.eye is not eye for claim, eye in claims)


def cut(left: float, top: float, right: float, bottom: float) -> Callable[[Rgb, FieldOfView], Placed]:
    """Let the frame cut off shares of the radius at the four sides; below 0 adds black."""

    def change(rgb: Rgb, field: FieldOfView) -> Placed:
        edges = field.center_x - field.radius, field.center_y - field.radius, field.center_x + field.radius, field.center_y + field.radius
        box = [round(edge + way * share * field.radius) for edge, way, share in zip(edges, (1, 1, -1, -1), (left, top, right, bottom))]  # noqa: B905
        moved = FieldOfView(center_x=field.center_x - box[0], center_y=field.center_y - box[1], radius=field.radius)
        return np.asarray(Image.fromarray(rgb).crop(tuple(box))), moved

    return change


def bordered(level: int) -> Callable[[Rgb, FieldOfView], Placed]:
    """A border of that grey instead of black."""

    def change(rgb: Rgb, field: FieldOfView) -> Placed:
        return np.where((_distance(rgb, field) > 1)[..., None], np.uint8(level), rgb), field

    return change


def dimmed(at_rim: float) -> Callable[[Rgb, FieldOfView], Placed]:
    """Light that falls to that share towards the rim."""

    def change(rgb: Rgb, field: FieldOfView) -> Placed:
        light = 1 - (1 - at_rim) * np.clip(2 * _distance(rgb, field) - 1, 0, 1) ** 1.5
        return (rgb * light[..., None]).astype(np.uint8), field

    return change


def dark_side(darkest: float) -> Callable[[Rgb, FieldOfView], Placed]:
    """Light that falls to that share from the right to the left."""

    def change(rgb: Rgb, field: FieldOfView) -> Placed:
        across = np.clip((np.arange(rgb.shape[1]) - field.center_x) / field.radius / 2 + 0.5, 0, 1)
        return (rgb * (darkest + (1 - darkest) * across)[None, :, None]).astype(np.uint8), field

    return change


def as_jpeg(quality: int) -> Callable[[Rgb, FieldOfView], Placed]:
    """Saved and opened again."""

    def change(rgb: Rgb, field: FieldOfView) -> Placed:
        saved = io.BytesIO()
        Image.fromarray(rgb).save(saved, "JPEG", quality=quality)
        return np.asarray(Image.open(saved)), field

    return change


def notched(*, outwards: bool) -> Callable[[Rgb, FieldOfView], Placed]:
    """The mark at the rim by which cameras say which side is up."""

    def change(rgb: Rgb, field: FieldOfView) -> Placed:
        picture, step = Image.fromarray(rgb), 0.05 * field.radius
        x, y = field.center_x + 0.707 * field.radius, field.center_y - 0.707 * field.radius
        tip = 1.6 if outwards else -1.6
        colour = (150, 80, 40) if outwards else (0, 0, 0)
        ImageDraw.Draw(picture).polygon([(x - step, y - step), (x + step, y + step), (x + tip * step, y - tip * step)], fill=colour)
        return np.asarray(picture), field

    return change


def with_text(rgb: Rgb, field: FieldOfView) -> Placed:
    """Number, date and camera burned in beside the disc."""
    rgb, field = cut(-0.4, -0.06, -0.4, -0.06)(rgb, field)
    picture = Image.fromarray(rgb)
    for line, words in enumerate(("A100234", "2025-03-12 10:44", "45 deg", "No. 8842")):
        ImageDraw.Draw(picture).text((4, 6 + 22 * line), words, fill=(255, 255, 255), font_size=20)
    return np.asarray(picture), field


def _distance(rgb: Rgb, field: FieldOfView) -> NDArray[np.floating]:
    y, x = np.ogrid[: rgb.shape[0], : rgb.shape[1]]
    return np.hypot(x + 0.5 - field.center_x, y + 0.5 - field.center_y) / field.radius


CHANGES: dict[str, Callable[[Rgb, FieldOfView], Placed]] = {
    "as drawn": lambda rgb, field: (rgb, field),
    "cut at top and bottom": cut(-0.06, 0.2, -0.06, 0.2),
    "cut at left and right": cut(0.2, -0.06, 0.2, -0.06),
    "cut at top": cut(-0.06, 0.25, -0.06, -0.06),
    "cut at left": cut(0.25, -0.06, -0.06, -0.06),
    "cut at left and top": cut(0.2, 0.2, -0.06, -0.06),
    "cut at four sides": cut(0.12, 0.12, 0.12, 0.12),
    "off centre": cut(-1.0, -0.06, -0.1, -0.5),
    "off centre and cut": cut(-1.0, -0.06, 0.15, -0.06),
    "burned-in text": with_text,
    "notch outwards": notched(outwards=True),
    "notch inwards": notched(outwards=False),
    "grey border 40": bordered(40),
    "grey border 128": bordered(128),
    "white border": bordered(255),
    "dim rim 0.3": dimmed(0.3),
    "dim rim 0.15": dimmed(0.15),
    "dim rim 0.08": dimmed(0.08),
    "one side dark 0.1": dark_side(0.1),
    "one side dark 0.02": dark_side(0.02),
    "JPEG 60": as_jpeg(60),
    "JPEG 30": as_jpeg(30),
    "text, JPEG 50": lambda rgb, field: as_jpeg(50)(*with_text(rgb, field)),
    "grey border 128, JPEG 70": lambda rgb, field: as_jpeg(70)(*bordered(128)(rgb, field)),
}


if __name__ == "__main__":
    main()
