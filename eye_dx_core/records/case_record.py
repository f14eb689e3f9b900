"""Everything known of a case, as one value."""

from eye_dx_core.records.outgoing import OutboxMessage
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.report import DiagnosisReport
from eye_dx_core.schema.review import DoctorReview


class CaseRecord(Frozen):
    """Everything known of a case, as one value."""

    case: Case
    diagnosis: AiDiagnosis | None = None
    review: DoctorReview | None = None
    report: DiagnosisReport | None = None
    outbox: tuple[OutboxMessage, ...] = ()
    attempts: int = 0
