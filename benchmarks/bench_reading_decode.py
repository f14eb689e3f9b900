"""From a camera's file to the square that the model sees, against plain Pillow: full decode and bicubic resize; one core, one run."""

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eye_dx_core.dataset.field_of_view import FieldOfView, crop_to_field, find_field_of_view, read_square
from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.dataset.photo import decode_photo
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.inference.workers import PhotoWorkers
from eye_dx_core.schema.case import Laterality

WIDTH, HEIGHT, SIZE, REPEATS = 3000, 2000, 224, 15
Rgb = NDArray[np.uint8]


def a_large_photograph() -> Image.Image:
    """Pixels with the noise of a sensor, black beside the field."""
    rng = np.random.default_rng(1)
    rgb = render_phantom("D2", eye=Laterality.RIGHT, seed=1, size=HEIGHT).rgb
    noisy = np.clip(rgb + rng.normal(0, 4, rgb.shape) * (rgb.max(axis=2, keepdims=True) > 0), 0, 255)
    return Image.fromarray(np.pad(noisy.astype(np.uint8), ((0, 0), ((WIDTH - HEIGHT) // 2,) * 2, (0, 0))))


def plain(content: bytes) -> Rgb:
    """Full decode, bicubic resize, the middle of it: what one writes first."""
    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.width * SIZE // picture.height, SIZE
        left = (width - SIZE) // 2
        return np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).crop((left, 0, left + SIZE, SIZE)))


def ours(content: bytes, field: FieldOfView) -> Rgb:
    """Our way from file to square where the field is known, in pixels of the full picture."""
    rgb = decode_photo(content, enough_for=SIZE)
    factor = rgb.shape[1] / WIDTH
    known = FieldOfView(center_x=field.center_x * factor, center_y=field.center_y * factor, radius=field.radius * factor)
    return crop_to_field(rgb, size=SIZE, field=known)


def exact(content: bytes, field: FieldOfView) -> Rgb:
    """Full decode, padded and resized bicubic from the field's very edges, black outside: what our pixels are held against."""
    with Image.open(io.BytesIO(content)) as picture:
        box = tuple(center + way * field.radius for way in (-1, 1) for center in (field.center_x, field.center_y))
        pad = int(max(0, -min(box))) + 1
        padded = Image.new("RGB", (picture.width + 2 * pad, picture.height + 2 * pad))
        padded.paste(picture.convert("RGB"), (pad, pad))
        square = np.array(padded.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=tuple(edge + pad for edge in box)))
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    square[axis[None, :] ** 2 + axis[:, None] ** 2 > 1] = 0
    return square


def milliseconds(clock: Callable[[], float], *acts: Callable[[], object]) -> list[float]:
    """Medians of acts that take turns, so that what else the machine does meets all of them."""
    times: list[list[float]] = [[] for _ in acts]
    for _ in range(REPEATS + 1):
        for act, spent in zip(acts, times, strict=True):
            start = clock()
            act()
            spent.append((clock() - start) * 1000)
    return [statistics.median(spent[1:]) for spent in times]


def compare_decoding(photograph: Image.Image) -> None:
    kinds = {"JPEG": {"quality": 92}, "TIFF, raw": {}, "TIFF, LZW": {"compression": "tiff_lzw"}}
    print(f"{WIDTH} x {HEIGHT} to {SIZE} x {SIZE}, medians of {REPEATS}, time of one core")
    for kind, options in kinds.items():
        buffer = io.BytesIO()
        photograph.save(buffer, kind.split(",")[0], **options)
        content = buffer.getvalue()
        field = find_field_of_view(decode_photo(content))
        acts = (partial(plain, content), partial(ours, content, field), partial(read_square, content, size=SIZE))
        slow, fast, whole = milliseconds(time.thread_time, *acts)
        print(f"{kind:9}  plain {slow:6.1f} ms   ours {fast:6.1f} ms   ratio {slow / fast:3.1f}", end="   ")
        print(f"with the search for the field {whole:6.1f} ms   ratio {slow / whole:3.1f}", end="   ")
        reference = exact(content, field).astype(int)
        known, found = (np.abs(one - reference) for one in (ours(content, field), read_square(content, size=SIZE)))
        print(f"grey levels off: max {known.max()}, mean {known.mean():.2f}; field found anew: max {found.max()}, mean {found.mean():.2f}")


def compare_workers(photograph: Image.Image) -> None:
    """What it costs to prepare photographs in other processes, warm."""
    with tempfile.TemporaryDirectory() as name, PhotoWorkers() as workers:
        path = Path(name) / "photo.jpg"
        photograph.save(path, quality=92)
        intakes = (PhotoIntake(FolderPhotos([], base=Path(name))), PhotoIntake(FolderPhotos([], base=Path(name)), workers))
        for count in (1, 2, 32):
            acts = [lambda intake=intake, count=count: list(intake.prepare_files([(path, None)] * count, size=SIZE)) for intake in intakes]
            here, there = milliseconds(time.perf_counter, *acts)
            print(f"{count:3} prepared here {here:7.1f} ms   by {workers.count} workers {there:7.1f} ms   ratio {here / there:3.1f}")


def main() -> None:
    photograph = a_large_photograph()
    compare_decoding(photograph)
    compare_workers(photograph)


if __name__ == "__main__":
    main()
