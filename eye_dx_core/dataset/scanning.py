"""From class folders to a manifest: every file is a row or a refusal with its reason."""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

from eye_dx_core.dataset.corrections import CorrectedLabel
from eye_dx_core.dataset.field_of_view import find_field_of_view, has_burned_in_text
from eye_dx_core.dataset.manifest import LOOK_ALIKE, LookAlike, Manifest, ManifestRow, Provenance, RefusedPhoto
from eye_dx_core.dataset.near_duplicates import Rings, find_look_alikes, sample_rings
from eye_dx_core.dataset.photo import Rgb, find_camera, read_photo
from eye_dx_core.dataset.photo_file import read_photo_file
from eye_dx_core.dataset.side_table import SideTables, load_side_tables
from eye_dx_core.dataset.splitting import group_of_photos
from eye_dx_core.errors import BadDataset, BadPhoto
from eye_dx_core.progress import LoggedProgress
from eye_dx_core.schema.case import Laterality, find_eye, find_eye_in_name
from eye_dx_core.schema.condition import LABELS, Condition, DrGrade, LabelSet, find_code_of_folder

# Notes that lie beside photographs; everything else that cannot be read as a photograph is refused by name.
_SIDE_FILES = {".json", ".csv", ".txt", ".md", ".xlsx", ".ini", ".db"}
_VISIT_WORDS = re.compile(r"^(\d{8}|\d{6}|v\d+|visit\d+|copy|of|\d{1,2})$", re.IGNORECASE)


@dataclass(frozen=True)
class CorrectedPhoto:
    """A photograph that a doctor labelled in the clinic, and where it lies."""

    path: Path
    told: CorrectedLabel


def scan_photos(folder: Path, *, label_set: LabelSet, corrected: Sequence[CorrectedPhoto] = (), locked: Collection[str] = ()) -> Manifest:
    """Read every file below the class folders; nothing is skipped in silence.

    The nearest folder above a file whose name is a class decides its label; the other folders on the way are its source.
    A table beside the photographs (`side_table`) may tell patient, eye, source and grade of retinopathy. A photograph of
    grade 0 counts as normal, also in a folder of diabetic retinopathy.

    Args:
        folder: of the class folders.
        label_set: what the photographs are labelled with.
        corrected: photographs that doctors labelled in the clinic, wherever they lie.
        locked: pixel hashes of the locked test. A corrected photograph of one of its patients is refused.

    Raises:
        BadDataset: the folder is missing or holds no usable photograph; the text says what to do.
    """
    if not folder.is_dir():
        raise BadDataset(f"there is no folder {folder}: sort photographs into class folders there, or run `eye-dx phantoms {folder}`")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder)))
    files = [path for path in found if path.suffix.lower() not in _SIDE_FILES]
    tables = load_side_tables(folder)
    refused: list[RefusedPhoto] = []
    seen: dict[str, Rings] = {}
    scanned: list[ManifestRow] = []
    progress = LoggedProgress("files looked at", len(files) + len(corrected))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the interpreter lock
        in_folders = pool.map(partial(_scan_file, folder, label_set, tables), files)
        for one in chain(in_folders, pool.map(partial(_scan_corrected, folder, label_set), corrected)):
            if isinstance(one, RefusedPhoto):
                refused.append(one)
            else:
                scanned.append(one[0])
                seen[one[0].photo_id] = one[1]
            progress.advance()
    rows, conflicts = _resolve_duplicates(scanned)
    if not rows:
        raise BadDataset(f"no usable photograph in class folders such as {', '.join(label_set.codes)}: {len(refused)} files were refused")
    whole = _manifest(label_set, rows, (*refused, *conflicts), _look_alikes(rows, seen), side_files=len(found) - len(files))
    return _without_tested_patients(whole, locked)


def _manifest(
    label_set: LabelSet,
    rows: Sequence[ManifestRow],
    refused: Iterable[RefusedPhoto],
    look_alikes: tuple[LookAlike, ...],
    *,
    side_files: int,
) -> Manifest:
    return Manifest(
        label_set=label_set,
        rows=tuple(rows),
        refused=tuple(refused),
        look_alikes=look_alikes,
        counts={code: sum(row.label == code for row in rows) for code in label_set.codes},
        grade_zero_as_normal=sum(row.dr_grade == 0 and LABELS[row.label].is_normal for row in rows),
        side_files=side_files,
        fingerprint=_fingerprint(rows),
    )


def _without_tested_patients(manifest: Manifest, locked: Collection[str]) -> Manifest:
    """Without corrected photographs of patients, or of eyes that look like those, of the locked test."""
    groups = group_of_photos(manifest)
    tested = {groups[row.photo_id] for row in manifest.rows if row.pixel_sha256 in locked}
    dropped = [row for row in manifest.rows if row.provenance is Provenance.DOCTOR and groups[row.photo_id] in tested]
    if not dropped:
        return manifest
    gone = {row.photo_id for row in dropped}
    text = "a doctor's label of a patient in the locked test, or of an eye that looks like one there"
    return _manifest(
        manifest.label_set,
        [row for row in manifest.rows if row.photo_id not in gone],
        (*manifest.refused, *(RefusedPhoto(path=row.path, reason="locked_test", text=text) for row in dropped)),
        tuple(one for one in manifest.look_alikes if not {one.photo_id, one.other_id} & gone),
        side_files=manifest.side_files,
    )


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _scan_file(folder: Path, label_set: LabelSet, tables: SideTables, path: Path) -> tuple[ManifestRow, Rings] | RefusedPhoto:
    relative = path.relative_to(folder).as_posix()
    code, source = _code_and_source(PurePosixPath(relative))
    if code is None:
        return RefusedPhoto(path=relative, reason="no_class_folder", text="lies under no class folder")
    told = tables.find(PurePosixPath(relative))
    graded = _graded_code(code, told.dr_grade)
    if graded is None:
        return RefusedPhoto(path=relative, reason="label_conflict", text=f"lies under {code}, and a table says grade {told.dr_grade}")
    label = label_set.folder_to_label.get(graded, graded)
    if label not in label_set.codes:
        return RefusedPhoto(path=relative, reason="label_not_in_set", text=f"label {graded} is not in the label set {label_set.name}")
    patient = told.patient_id or _patient_in_name(path.stem)
    said = _Said(
        folder_code=code,
        label=label,
        dr_grade=told.dr_grade if graded == "N" else LABELS[graded].dr_grade,
        source=told.source or source,
        patient_key=key_of_patient(patient) if patient else None,
        eye=told.eye,
        provenance=Provenance.FOLDER,
    )
    return _read_row(path, relative, said)


def _scan_corrected(folder: Path, label_set: LabelSet, photo: CorrectedPhoto) -> tuple[ManifestRow, Rings] | RefusedPhoto:
    relative, told = Path(os.path.relpath(photo.path, folder)).as_posix(), photo.told
    label = label_set.folder_to_label.get(told.label, told.label)
    if label not in label_set.codes:
        return RefusedPhoto(path=relative, reason="label_not_in_set", text=f"label {told.label} is not in the label set {label_set.name}")
    said = _Said(
        folder_code=told.label,
        label=label,
        dr_grade=told.dr_grade,
        source=told.source,
        patient_key=told.patient_key,
        eye=told.eye,
        provenance=Provenance.DOCTOR,
    )
    found = _read_row(photo.path, relative, said)
    if isinstance(found, tuple) and found[0].pixel_sha256 != told.pixel_sha256:
        return RefusedPhoto(path=relative, reason="changed", text="is not the photograph that the doctor labelled")
    return found


@dataclass(frozen=True)
class _Said:
    """What is said of a photograph before it is opened."""

    folder_code: str
    label: str
    dr_grade: DrGrade | None
    source: str
    patient_key: str | None
    eye: Laterality | None
    provenance: Provenance


def _read_row(path: Path, relative: str, said: _Said) -> tuple[ManifestRow, Rings] | RefusedPhoto:
    try:
        content = read_photo_file(path)
        photo = read_photo(content)
        rgb, field = photo.rgb, find_field_of_view(photo.rgb)
    except BadPhoto as error:
        return RefusedPhoto(path=relative, reason=error.reason, text=str(error))
    file_hash = hashlib.sha256(content).hexdigest()
    row = ManifestRow(
        photo_id=hashlib.sha256(f"{file_hash}\n{relative}".encode()).hexdigest()[:16],
        path=relative,
        folder_code=said.folder_code,
        label=said.label,
        dr_grade=said.dr_grade,
        source=said.source,
        camera=find_camera(content) or f"{rgb.shape[1]}x{rgb.shape[0]}",
        patient_key=said.patient_key or key_of_patient(file_hash),
        is_patient_known=said.patient_key is not None,
        eye=said.eye or (photo.eyes[0] if len(photo.eyes) == 1 else find_eye_in_name(path.name)),
        width=rgb.shape[1],
        height=rgb.shape[0],
        format=photo.format,
        field=field,
        has_burned_in_text=has_burned_in_text(rgb, field),
        file_sha256=file_hash,
        pixel_sha256=hash_pixels(rgb),
        provenance=said.provenance,
    )
    return row, sample_rings(rgb, field)


def hash_pixels(rgb: Rgb) -> str:
    """By which a photograph is known however its file was written."""
    return hashlib.sha256(rgb.tobytes() + str(rgb.shape).encode()).hexdigest()


def key_of_patient(told: str) -> str:
    """What stands for a patient in a manifest, by what a table or a file's name tells."""
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def key_of_patient_in_name(location: str) -> str | None:
    """The same by a photograph's location; None where its name tells no patient."""
    patient = _patient_in_name(PurePosixPath(location.replace("\\", "/")).stem)
    return key_of_patient(patient) if patient else None


def _graded_code(code: str, grade: DrGrade | None) -> str | None:
    """The folder's code made precise by a grade of retinopathy; None where the two contradict each other.

    A grade 0 under diabetic retinopathy is so common in public sets that it is no refusal: it becomes `D0`, which counts as
    normal, and `checks.no_grade_zero_under_dr` names it.
    """
    if grade is None or LABELS[code].condition not in (Condition.DR, Condition.NORMAL):
        return code
    if code == Condition.DR.value:
        return f"D{grade}"
    folder_grade = DrGrade.NONE if LABELS[code].dr_grade is None else LABELS[code].dr_grade
    return code if folder_grade is grade else None


def _code_and_source(relative: PurePosixPath) -> tuple[str | None, str]:
    """The nearest class folder above a file, and the other folders as its source."""
    folders = relative.parts[:-1]
    for depth in range(len(folders) - 1, -1, -1):
        code = find_code_of_folder(folders[depth])
        if code is not None:
            return code, "/".join(folders[:depth] + folders[depth + 1 :]) or "unknown"
    return None, "unknown"


def _patient_in_name(stem: str) -> str | None:
    """What is left of a camera-style name without eye, day and shot number; None when that is all or nothing of it.

    Only its hash is kept, because names in the wild hold patients' names.
    """
    words = [word for word in re.split(r"[_\-\s.]+", stem) if word]
    named = [word for position, word in enumerate(words) if find_eye(word) is None and (position == 0 or not _VISIT_WORDS.match(word))]
    named = [word for word in named if word.lower() not in ("copy", "of")]
    return "_".join(named) if named and len(words) > len(named) else None


def _resolve_duplicates(rows: list[ManifestRow]) -> tuple[list[ManifestRow], list[RefusedPhoto]]:
    """Mark repeats of a photograph; refuse all copies of one that lies under two labels, because one of them is wrong."""
    by_pixels: dict[str, list[ManifestRow]] = {}
    for row in rows:
        by_pixels.setdefault(row.pixel_sha256, []).append(row)
    kept: list[ManifestRow] = []
    conflicts: list[RefusedPhoto] = []
    for same in by_pixels.values():
        if len({row.label for row in same}) > 1:
            labels = " and ".join(sorted({row.label for row in same}))
            conflicts += [
                RefusedPhoto(path=row.path, reason="label_conflict", text=f"the same photograph lies under {labels}") for row in same
            ]
        else:
            kept += [same[0], *(row.model_copy(update={"duplicate_of": same[0].photo_id}) for row in same[1:])]
    return sorted(kept, key=lambda row: row.path), conflicts


def _look_alikes(rows: list[ManifestRow], rings: dict[str, Rings]) -> tuple[LookAlike, ...]:
    """Pairs among the photographs that are not exact duplicates; those are known already."""
    once = [row for row in rows if row.duplicate_of is None]
    pairs = find_look_alikes([rings[row.photo_id] for row in once], at_least=LOOK_ALIKE)
    return tuple(_look_alike(once[one], once[other], similarity) for one, other, similarity in pairs)


def _look_alike(one: ManifestRow, other: ManifestRow, similarity: float) -> LookAlike:
    are_fellows = one.patient_key == other.patient_key and {one.eye, other.eye} == set(Laterality)
    return LookAlike(photo_id=one.photo_id, other_id=other.photo_id, similarity=round(similarity, 3), are_fellow_eyes=are_fellows)


def _fingerprint(rows: Iterable[ManifestRow]) -> str:
    lines: Iterator[str] = (f"{row.pixel_sha256} {row.label}" for row in rows)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
