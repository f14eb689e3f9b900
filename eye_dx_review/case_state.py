"""How a case stands for the one who looks at it."""

from dataclasses import dataclass

from eye_dx_core.errors import NotFound
from eye_dx_core.records.accounts import Role
from eye_dx_core.records.desk import DeskNote, NoteKind
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.reviewing.signing import ReviewForm
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.review import Addendum, DoctorReview
from eye_dx_review.desk import Desk
from eye_dx_review.sessions import Session


@dataclass(frozen=True)
class CaseState:
    """A read case, what is half written on it, and what this user may see and do."""

    record: CaseRecord
    diagnosis: AiDiagnosis
    holder: str | None
    is_mine: bool
    """Whether this user holds it and it waits for a review: only then is there a form."""
    is_ai_hidden: bool
    draft: DeskNote | None
    blind: DeskNote | None
    first: DeskNote | None
    first_review: DoctorReview | None
    """What a first doctor signed, where another must sign too."""
    addenda: tuple[Addendum, ...]

    @property
    def form(self) -> ReviewForm | None:
        """What this user wrote so far."""
        return ReviewForm.model_validate_json(self.draft.content) if self.draft else None

    @property
    def version(self) -> int:
        """Of the draft; 0 where there is none."""
        return self.draft.version if self.draft else 0


def case_state(desk: Desk, session: Session, case_id: str) -> CaseState:
    """Look at a case.

    Raises:
        NotFound: there is no such case, or it was not read yet.
    """
    record, user, records = desk.records.get_case_record(case_id), session.user, desk.records
    if record.diagnosis is None:
        raise NotFound(f"{case_id} was not read yet")
    waits, holder = record.review is None, records.find_holder(case_id)
    blind = records.find_note(case_id, NoteKind.BLIND_READING, written_by=user.user_name)
    first = records.find_note(case_id, NoteKind.FIRST_SIGNATURE)
    return CaseState(
        record=record,
        diagnosis=record.diagnosis,
        holder=holder,
        is_mine=waits and holder == user.user_name,
        is_ai_hidden=desk.is_blind_first and waits and blind is None and user.role is not Role.AUDITOR,
        draft=records.find_note(case_id, NoteKind.DRAFT, written_by=user.user_name),
        blind=blind,
        first=first,
        first_review=DoctorReview.model_validate_json(first.content) if first else None,
        addenda=records.addenda(case_id),
    )
