"""Photographs that doctors labelled in the clinic: a versioned list beside the training photographs."""

import hashlib
from enum import StrEnum

from pydantic import AwareDatetime, ValidationError

from eye_dx_core.errors import BadDataset, NotFound
from eye_dx_core.files.port import FileStore
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import DrGrade
from eye_dx_core.schema.frozen import Frozen

_FOLDER = "prepared/corrections"
_LATEST = f"{_FOLDER}/corrected_labels.json"


class Against(StrEnum):
    """What the AI had said of the eye when the doctor labelled it."""

    CONFIRMS = "confirms"
    OVERRIDES = "overrides"
    AI_HAD_NONE = "ai_had_none"


class CorrectedLabel(Frozen):
    """One photograph, the only one of its eye, with the label that a doctor signed for that eye."""

    case_id: str
    photo_id: str
    """Where the photograph lies, only the records know: with an erased patient that is gone, and the row leads nowhere."""
    pixel_sha256: str
    label: str
    """Code of `LABELS`: `D3` where retinopathy was graded."""
    dr_grade: DrGrade | None
    eye: Laterality
    patient_key: str
    """The training photographs' own key where the patient is among them, else a hash that only this installation's key can repeat."""
    source: str = "doctor"
    against: Against
    model_version: str
    review_id: str
    reviewed_at: AwareDatetime


class CorrectedLabels(Frozen):
    """All of them, and how many eyes were left out, by reason."""

    rows: tuple[CorrectedLabel, ...]
    left_out: dict[str, int]

    @property
    def version(self) -> str:
        """Hash of the content, so that equal rows are one version, whenever they were gathered."""
        lines = sorted(f"{row.pixel_sha256} {row.label} {row.eye} {row.patient_key} {row.review_id}" for row in self.rows)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def save_corrections(corrections: CorrectedLabels, files: FileStore) -> str:
    """Write a version under its own name, which never changes, and as the latest; return the former."""
    content = corrections.model_dump_json(indent=1).encode()
    name = f"{_FOLDER}/{corrections.version[:16]}.json"
    for one in (name, _LATEST):
        files.write(one, content)
    return name


def load_corrections(files: FileStore) -> CorrectedLabels:
    """The latest version.

    Raises:
        BadDataset: none was written yet, or it cannot be read.
    """
    try:
        return CorrectedLabels.model_validate_json(files.read(_LATEST))
    except (NotFound, ValidationError):
        raise BadDataset("there are no corrected labels: materialise corrected_labels, or unset EYE_DX_INCLUDE_CORRECTIONS") from None
