"""Phantoms as files: class folders as they look in the wild, and single photographs for trials."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from eye_dx_core.dataset.phantom import RENDERER, Defect, Phantom, render_phantom
from eye_dx_core.schema.case import Laterality

# Patients per class, as uneven as the reference counts in spirit (most are grade 0), yet enough of each to be split by patient.
DEFAULT_COUNTS: Mapping[str, int] = {
    "D0": 60, "D1": 14, "D2": 24, "D3": 12, "D4": 12, "A": 28, "BRVO": 13, "CRVO": 11, "G": 24, "C": 22, "N": 20, "CSC": 18, "RP": 14,
}  # fmt: skip

# Folder names as they are found in the field; a sub-folder is a source or camera.
_FOLDERS = {"A": "AMD-CFP", "CRVO": "RVO", "N": "N/camera_b", "G": "G/clinic_2"}
_TIFF_EVERY, _PNG_EVERY = 11, 7


@dataclass(frozen=True)
class _Planned:
    path: Path
    code: str
    eye: Laterality
    seed: int
    person: int
    severity: float


def write_phantom_dataset(
    folder: Path,
    *,
    seed: int = 0,
    size: int = 320,
    counts: Mapping[str, int] = DEFAULT_COUNTS,
    mildest: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write class folders of phantoms, with one unreadable file and one repeated photograph among them.

    The same call on a finished folder does nothing.

    Args:
        folder: where the class folders go; it must be empty or hold an earlier phantom dataset.
        seed: equal seeds give equal pictures; below 10 000 000, which is where the seeds of the shipped trunk begin.
        size: width and height in pixels.
        counts: patients per folder code.
        mildest: the patients' diseases have come between this far and 1, evenly spread (`render_phantom`); both eyes equally.
        progress: told how many of how many photographs are done.

    Raises:
        FileExistsError: the folder holds something else; phantoms are never mixed with photographs of patients.
    """
    card = folder / "phantoms.json"
    wanted = {"renderer": RENDERER, "seed": seed, "size": size, "counts": dict(counts), "mildest": mildest}
    if card.exists():
        if json.loads(card.read_text(encoding="utf-8")) == wanted:
            return folder
        shutil.rmtree(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError("the folder holds files that are no phantoms; choose an empty one")
    planned = list(_plan(folder, seed, counts, mildest))
    for done, one in enumerate(planned, start=1):
        phantom = render_phantom(one.code, eye=one.eye, seed=one.seed, size=size, person_seed=one.person, severity=one.severity)
        _save(one.path, phantom)
        if progress is not None:
            progress(done, len(planned))
    _add_flaws(planned, folder)
    card.write_text(json.dumps(wanted, indent=2), encoding="utf-8")
    return folder


def holds_phantoms(folder: Path) -> bool:
    """Whether the photographs of a dataset folder are drawn."""
    return (folder / "phantoms.json").exists()


def write_phantom_photo(path: Path, code: str, *, eye: Laterality, seed: int, size: int = 640, defect: Defect | None = None) -> Phantom:
    """Draw one photograph and save it in the format that the suffix names (.jpg, .png, .tiff)."""
    phantom = render_phantom(code, eye=eye, seed=seed, size=size, defect=defect)
    _save(path, phantom)
    return phantom


def _plan(folder: Path, seed: int, counts: Mapping[str, int], mildest: float) -> Iterator[_Planned]:
    """Two eyes for two patients of three, one eye for the third; an invented patient number, a visit day, an eye."""
    number = 0
    for code, patients in counts.items():
        for patient in range(patients):
            person = seed * 100_000 + len(code) * 20_000 + number
            severity = float(np.random.default_rng([person, 3]).uniform(mildest, 1))
            eyes = tuple(Laterality) if patient % 3 else ((Laterality.RIGHT, Laterality.LEFT)[patient // 3 % 2],)
            for eye in eyes:
                number += 1
                suffix = ".tiff" if number % _TIFF_EVERY == 0 else ".png" if number % _PNG_EVERY == 0 else ".jpg"
                name = f"P{100_000 + person % 100_000}_202503{1 + patient % 28:02}_{eye}{suffix}"
                yield _Planned(folder / _FOLDERS.get(code, code) / name, code, eye, seed * 1_000_000 + number, person, severity)


def _save(path: Path, phantom: Phantom) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.ascontiguousarray(phantom.rgb))
    if path.suffix == ".jpg":
        picture.save(path, quality=92)
    elif path.suffix == ".tiff":
        picture.save(path, compression="tiff_lzw")
    else:
        picture.save(path, compress_level=1)


def _add_flaws(planned: list[_Planned], folder: Path) -> None:
    """What every real collection has: a file that is no picture, and a photograph saved twice."""
    broken = folder / "N" / "P199999_20250312_OS.jpg"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("exported with errors", encoding="utf-8")
    original = next((one.path for one in planned if one.path.suffix == ".jpg"), None)
    if original is not None:
        shutil.copy(original, original.with_name(f"copy_of_{original.name}"))
