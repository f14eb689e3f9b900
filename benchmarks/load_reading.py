"""Many screenings through the reading path with the shipped trunk: memory and rate must not change over time.

Not one of `make bench`: 20 000 screenings of two photographs take half an hour.
"""

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_reading_model import a_checkpoint

from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.inference.diagnosing import diagnose_cases
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.predictor import Predictor
from eye_dx_core.inference.sources.folders import FolderPhotos
from eye_dx_core.model.pretrained import SHIPPED_TRUNK, load_trunk
from eye_dx_core.model.vit import TRUNKS
from eye_dx_core.schema.case import Laterality
from tests.builders import a_case

_TOGETHER, _WARM = 8, 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screenings", type=int, default=20_000)
    parser.add_argument("--photos", type=int, default=50, help="distinct files on disk")
    args = parser.parse_args()
    checkpoint = a_checkpoint(TRUNKS["small"], always="A")  # so evidence is looked for in every photograph
    load_trunk(checkpoint.model, SHIPPED_TRUNK)
    predictor = Predictor(checkpoint, model_name="m", model_version="1")
    with tempfile.TemporaryDirectory() as name:
        for number in range(args.photos):
            eye = (Laterality.RIGHT, Laterality.LEFT)[number % 2]
            write_phantom_photo(Path(name) / f"{number:03}_{eye}.jpg", "D2", eye=eye, seed=number, size=400)
        files = sorted(path.name for path in Path(name).iterdir())
        run(predictor, PhotoIntake(FolderPhotos((), base=Path(name))), files, args.screenings)


def run(predictor: Predictor, photos: PhotoIntake, files: list[str], screenings: int) -> None:
    tenth, steps = max(_TOGETHER, screenings // 10), max(_TOGETHER, min(1000, screenings // 10))
    print(f"{screenings} screenings of two photographs, batches of {predictor.batch_size}, {predictor.engine_name}")
    memory: list[tuple[int, float]] = []
    done, unread, said, started, rates = 0, 0, 0, time.perf_counter(), list[float]()
    while done < screenings:
        names = [(files[number * 2 % len(files)], files[(number * 2 + 1) % len(files)]) for number in range(done, done + _TOGETHER)]
        cases = [a_case(f"case-{done + place}", photos=pair) for place, pair in enumerate(names)]
        found = diagnose_cases(cases, predictor, photos=photos, now=datetime.now(UTC))
        unread += sum(one.conclusion is None for one in found)
        done += len(found)
        if done // tenth > len(rates):
            now = time.perf_counter()
            rates.append(2 * tenth / (now - started))
            started = now
        if done // steps > said:
            said = done // steps
            memory.append((done, psutil.Process().memory_info().rss / 1e6))
            print(f"{done:7} screenings   {memory[-1][1]:8.1f} MB", flush=True)
    print("photographs a second by tenth   " + " ".join(f"{rate:6.1f}" for rate in rates))
    first = min(_WARM, screenings // 5)
    warm = [used for at, used in memory if at >= first]
    growth, change = max(warm) / warm[0] - 1, rates[-1] / rates[0]
    print(f"memory after the first {first}: grows by {growth:.1%}, asked 5 % at most; rate, last tenth / first: {change:.2f}")
    print(f"{unread} of {done} without a conclusion")


if __name__ == "__main__":
    main()
