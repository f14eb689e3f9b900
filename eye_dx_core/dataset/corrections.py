"""Photographs that doctors labelled in the clinic: a versioned list beside the training photographs."""

import hashlib
from enum import StrEnum
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from eye_dx_core.errors import BadDataset
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import DrGrade
from eye_dx_core.schema.frozen import Frozen

_LATEST = "corrected_labels.json"


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


def save_corrections(corrections: CorrectedLabels, folder: Path) -> Path:
    """Write a version under its own name, which never changes, and as the latest; return the former."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = corrections.model_dump_json(indent=1)
    path = folder / f"{corrections.version[:16]}.json"
    for one in (path, folder / _LATEST):
        draft = one.with_suffix(".draft")
        draft.write_text(content, encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(one)
    return path


def load_corrections(folder: Path) -> CorrectedLabels:
    """The latest version.

    Raises:
        BadDataset: none was written yet, or it cannot be read.
    """
    try:
        return CorrectedLabels.model_validate_json((folder / _LATEST).read_bytes())
    except (FileNotFoundError, ValidationError):
        raise BadDataset("there are no corrected labels: materialise corrected_labels, or unset EYE_DX_INCLUDE_CORRECTIONS") from None
