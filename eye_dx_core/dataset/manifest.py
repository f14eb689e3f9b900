"""One row per training photograph, and every file that was refused with its reason."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from eye_dx_core.dataset.field_of_view import FieldOfView
from eye_dx_core.dataset.photo_file import PhotoFormat
from eye_dx_core.errors import BadDataset
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import DrGrade, LabelSet
from eye_dx_core.schema.frozen import Frozen

COPY, FELLOW_COPY, LOOK_ALIKE = 0.8, 0.9, 0.6
"""Similarity from which two pictures are copies of one photograph (under the names of two eyes of one patient: the second
number, because fellow eyes mirror each other); from which they show the same eye, or its mirror image.

On 1,202 real photographs of five sources, six of 721,801 pairs are above 0.6, all of one eye or its fellow (up to 0.79); of
flips, rotations, resized and brightened copies 95 % are above 0.59 and 80 % above 0.82. The others show next to nothing.
"""


class Provenance(StrEnum):
    """Who labelled a photograph: whoever sorted it into a class folder, or a doctor who reviewed it in the clinic."""

    FOLDER = "folder"
    DOCTOR = "doctor"


class ManifestRow(Frozen):
    """One photograph. `path` is relative to the dataset folder and may hold a name, so it stays out of reprs."""

    photo_id: str
    path: str = Field(repr=False)
    folder_code: str
    label: str
    dr_grade: DrGrade | None
    """By a table beside the photographs, else by the folder."""
    source: str
    camera: str
    """Model by the file's own tags, else the size of its pictures: cameras are told apart by it."""
    patient_key: str
    is_patient_known: bool
    """Whether a table or the file's name tells the patient; otherwise the key is the photograph's own."""
    eye: Laterality | None
    width: int
    height: int
    format: PhotoFormat
    field: FieldOfView
    has_burned_in_text: bool
    file_sha256: str
    pixel_sha256: str
    duplicate_of: str | None = None
    provenance: Provenance = Provenance.FOLDER


class LookAlike(Frozen):
    """Two photographs of one eye, or copies of one photograph, by what they show (`near_duplicates`)."""

    photo_id: str
    other_id: str
    similarity: float
    are_fellow_eyes: bool
    """Whether their names say that they are the two eyes of one patient."""

    @property
    def is_copy(self) -> bool:
        """Whether it is one photograph, changed, rather than two of one eye or one of each."""
        return self.similarity >= (FELLOW_COPY if self.are_fellow_eyes else COPY)


class RefusedPhoto(Frozen):
    """A file that is not trained on, and why."""

    path: str = Field(repr=False)
    reason: str
    text: str


class Manifest(Frozen):
    """The training photographs under one label set. `counts` has every label of the set, also those without a photograph."""

    label_set: LabelSet
    rows: tuple[ManifestRow, ...]
    refused: tuple[RefusedPhoto, ...]
    look_alikes: tuple[LookAlike, ...]
    counts: dict[str, int]
    grade_zero_as_normal: int
    """Photographs of grade 0 that were counted as normal: no retinopathy is not diabetic retinopathy."""
    side_files: int
    fingerprint: str
    """Hash over pixels and labels of all rows: equal photographs under equal labels, wherever they lie."""


def save_manifest(manifest: Manifest, path: Path) -> Path:
    """Write the manifest as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return path


def load_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        BadDataset: it was not written yet.
    """
    if not path.exists():
        raise BadDataset("there is no manifest yet: materialise dataset_manifest first")
    return Manifest.model_validate_json(path.read_bytes())
