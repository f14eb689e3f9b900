"""From what a doctor filled in to a review that counts, and the rules that stand between."""

import re
from datetime import datetime
from enum import StrEnum
from uuid import uuid4

from pydantic import Field

from eye_dx_core.errors import EyeDxError
from eye_dx_core.reporting.agreement import decide_agreement
from eye_dx_core.schema.case import Case, Laterality
from eye_dx_core.schema.condition import LABEL_SETS, LABELS, DrGrade
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.review import DoctorReview, EyeReview, Ungradable, compose_conclusion
from eye_dx_core.schema.routing import Urgency


class EyeForm(Frozen):
    """What was filled in for one eye."""

    labels: tuple[str, ...] = ()
    dr_grade: DrGrade | None = None
    other: str = Field(default="", max_length=200)
    """Free terms, separated by commas of either kind: 高度近视、豹纹状眼底."""
    ungradable: Ungradable | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said of the eye."""
        return not (self.labels or self.terms or self.ungradable)

    @property
    def terms(self) -> tuple[str, ...]:
        """The free terms one by one."""
        return tuple(term for one in re.split(r"[,，、;；\n]", self.other) if (term := one.strip()))


class ReviewForm(Frozen):
    """The desk's form, as drafts keep it."""

    right: EyeForm = EyeForm()
    left: EyeForm = EyeForm()
    urgency: Urgency | None = None
    urgency_reason: str = Field(default="", max_length=300)
    recommendation: str = Field(default="", max_length=1000)

    def of(self, eye: Laterality) -> EyeForm:
        """What was filled in for an eye."""
        return self.right if eye is Laterality.RIGHT else self.left

    @property
    def eyes(self) -> tuple[EyeReview, ...]:
        """What the doctor says, eye by eye, of those of which something is said."""
        return tuple(_eye_review(eye, self.of(eye)) for eye in Laterality if not self.of(eye).is_empty)

    @property
    def conclusion(self) -> str:
        """As it will stand in the report."""
        return compose_conclusion(self.eyes)


class Problem(StrEnum):
    """Why a form cannot be signed."""

    RIGHT_EMPTY = "right_empty"
    LEFT_EMPTY = "left_empty"
    NORMAL_AND_NOT = "normal_and_not"
    UNGRADABLE_AND_NOT = "ungradable_and_not"
    GRADE_WITHOUT_DR = "grade_without_dr"
    UNKNOWN_LABEL = "unknown_label"
    NO_URGENCY = "no_urgency"
    LOWER_WITHOUT_REASON = "lower_without_reason"
    NO_RECOMMENDATION = "no_recommendation"


class CannotSign(EyeDxError):
    """The form says too little or contradicts itself; `problems` says in what."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """Keep the codes for whoever shows them."""
        super().__init__(f"the form cannot be signed: {', '.join(problems)}")
        self.problems = problems


def labels_of(diagnosis: AiDiagnosis) -> tuple[str, ...]:
    """The labels a doctor chooses from: those of the model that read the case, else the eight."""
    told = dict.fromkeys(code for eye in diagnosis.eyes for photo in eye.photos for code in photo.probabilities)
    return tuple(told) or LABEL_SETS["eight"].codes


def problems_of(form: ReviewForm, case: Case, diagnosis: AiDiagnosis) -> tuple[Problem, ...]:
    """All that keeps the form from being signed."""
    photographed = {eye.eye for eye in diagnosis.eyes if eye.photos}
    found = [Problem.RIGHT_EMPTY] if _is_missing(form.right, Laterality.RIGHT, photographed) else []
    found += [Problem.LEFT_EMPTY] if _is_missing(form.left, Laterality.LEFT, photographed) else []
    if not form.eyes and not found:
        found += [Problem.RIGHT_EMPTY, Problem.LEFT_EMPTY]
    for one in (form.right, form.left):
        found += _contradictions(one, labels_of(diagnosis))
    proposed = diagnosis.routing.urgency if diagnosis.routing else None
    if form.urgency is None:
        found.append(Problem.NO_URGENCY)
    elif proposed is not None and form.urgency.rank < proposed.rank and not form.urgency_reason.strip():
        found.append(Problem.LOWER_WITHOUT_REASON)
    if not form.recommendation.strip():
        found.append(Problem.NO_RECOMMENDATION)
    return tuple(dict.fromkeys(found))


def _is_missing(form: EyeForm, eye: Laterality, photographed: set[Laterality | None]) -> bool:
    """Of an eye that was photographed something must be said; a photograph of an unknown eye may be of either."""
    return form.is_empty and (eye in photographed or None in photographed)


def _contradictions(form: EyeForm, known: tuple[str, ...]) -> list[Problem]:
    found: list[Problem] = []
    if not set(form.labels) <= set(known):
        return [Problem.UNKNOWN_LABEL]
    normal = [code for code in form.labels if LABELS[code].is_normal]
    if normal and (len(form.labels) > len(normal) or form.dr_grade):
        found.append(Problem.NORMAL_AND_NOT)
    if form.ungradable and (form.labels or form.terms):
        found.append(Problem.UNGRADABLE_AND_NOT)
    if form.dr_grade is not None and "D" not in form.labels:
        found.append(Problem.GRADE_WITHOUT_DR)
    return found


def sign(
    form: ReviewForm,
    case: Case,
    diagnosis: AiDiagnosis,
    *,
    doctor_name: str,
    now: datetime,
    blind_eyes: tuple[EyeReview, ...] | None = None,
) -> DoctorReview:
    """The review that a signature makes of the form.

    Args:
        form: what was filled in.
        case: which case.
        diagnosis: the AI's word on it.
        doctor_name: who signs, as it stands in the report.
        now: when.
        blind_eyes: what the doctor said before the AI's word was shown.

    Raises:
        CannotSign: the form says too little or contradicts itself.
    """
    if problems := problems_of(form, case, diagnosis):
        raise CannotSign(problems)
    return DoctorReview(
        review_id=uuid4().hex,
        case_id=case.case_id,
        conclusion=form.conclusion,
        doctor_name=doctor_name,
        recommendation=form.recommendation.strip(),
        eyes=form.eyes,
        urgency=form.urgency,
        urgency_reason=form.urgency_reason.strip(),
        reviewed_at=now,
        source="desk",
        ai_conclusion=diagnosis.conclusion,
        ai_model_version=diagnosis.model_version,
        blind_eyes=blind_eyes,
    )


def needs_second(review: DoctorReview, diagnosis: AiDiagnosis) -> bool:
    """Whether another doctor must sign too, where the clinic wants that: the AI calls it urgent and the doctor sees it otherwise."""
    proposed = diagnosis.routing.urgency if diagnosis.routing else None
    if proposed is None or proposed.rank < Urgency.URGENT.rank:
        return False
    is_lower = review.urgency is None or review.urgency.rank < proposed.rank
    return is_lower or (diagnosis.label is not None and not decide_agreement(diagnosis.label, review.conclusion))


def _eye_review(eye: Laterality, form: EyeForm) -> EyeReview:
    return EyeReview(eye=eye, labels=form.labels, dr_grade=form.dr_grade, diseases=form.terms, ungradable=form.ungradable)
