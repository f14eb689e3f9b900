"""All that a report tells of, before anything is put into words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.picture import PictureGap
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import Addendum, DoctorReview


class ReportStatus(StrEnum):
    """Whether a doctor stands behind it; the codes are FHIR's."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"


class Language(StrEnum):
    """In which a report is read."""

    ZH = "zh"
    EN = "en"

    def say(self, zh: str, en: str) -> str:
        """The one of two wordings that is in this language."""
        return zh if self is Language.ZH else en


@dataclass(frozen=True)
class ReportPicture:
    """One photograph as a report shows it, in JPEG: in its colours, and in grey under its evidence where there is any."""

    photo: bytes
    evidence: bytes | None


@dataclass(frozen=True)
class ReportMaterial:
    """What is known of a case when its report is rendered.

    Without a review, and before it is signed, the report is preliminary; an addendum makes a signed one amended.
    """

    case: Case
    diagnosis: AiDiagnosis
    review: DoctorReview | None = None
    report: DiagnosisReport | None = None
    addenda: tuple[Addendum, ...] = ()
    pictures: Mapping[str, ReportPicture | PictureGap] = field(default_factory=dict[str, ReportPicture | PictureGap])
    """By photo id; a photograph without an entry counts as unavailable."""
    is_signed: bool = True

    @property
    def status(self) -> ReportStatus:
        """How far the report has come."""
        if self.review is None or self.report is None or not self.is_signed:
            return ReportStatus.PRELIMINARY
        return ReportStatus.AMENDED if self.addenda else ReportStatus.FINAL
