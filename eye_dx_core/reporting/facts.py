"""What may leave the house: the facts of a case without anything that says whose they are."""

from math import floor

from eye_dx_core.reporting.guard.claims import Polarity, find_claims
from eye_dx_core.reporting.identifiers import identifiers_of, scrub
from eye_dx_core.schema.case import Case, Laterality
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, Outcome
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.quality import QualityIssue
from eye_dx_core.schema.review import DoctorReview, EyeReview
from eye_dx_core.schema.routing import ACUITY_IMPLAUSIBLE, IOP_IMPLAUSIBLE, Urgency

EYES = (Laterality.RIGHT, Laterality.LEFT)
_OLDEST_AGE = 90
_DOUBTS = {
    "low_confidence": "把握不足", "laterality_conflict": "眼别信息不一致", "duplicate": "两眼收到同一张照片",
    "unlike_training_photos": "与训练照片差异过大",
} | {issue.value: issue.advice_zh.partition("：")[0] for issue in QualityIssue if issue.hides_findings}  # fmt: skip
_GENDERS = {"男": "男", "male": "男", "m": "男", "女": "女", "female": "女", "f": "女"}


class AiFacts(Frozen):
    """The AI's word on one eye. `confidence_percent` is rounded down: no model is ever 100 % sure."""

    has_photo: bool
    outcome: Outcome
    conclusion: str
    confidence_percent: int | None = None
    areas: tuple[str, ...] = ()
    doubt: str | None = None
    """Why there is no conclusion although the photograph was read."""
    photo_problems: tuple[str, ...] = ()


class EyeFacts(Frozen):
    """What is known of one eye; `features` and `diseases` are the doctor's. A measurement that cannot be right is not in it."""

    eye: Laterality
    acuity_decimal: float | None
    iop_mmhg: float | None
    measurement_doubts: tuple[str, ...] = ()
    """Sentences on what was measured and cannot be right."""
    ai: AiFacts
    features: tuple[str, ...] = ()
    diseases: tuple[str, ...] = ()
    """Labels that the doctor chose, in words, and what they wrote beside them."""
    ungradable: str | None = None
    """The doctor's words on an eye of which no photograph can be read."""

    @property
    def has_doctors_words(self) -> bool:
        """Whether the doctor wrote about this eye in particular."""
        return bool(self.features or self.diseases)

    @property
    def is_unread(self) -> bool:
        """Whether the doctor, or the AI where the doctor says nothing of this eye, could read no photograph of it."""
        return self.ungradable is not None or (self.ai.outcome is Outcome.NOT_ASSESSED and not self.has_doctors_words)


class LlmFacts(Frozen):
    """The facts that a report is written from. There is no field for a name, a phone, an id, a file or a birth date.

    Free-text notes stay at home altogether; the doctor's text has the case's own identifiers taken out. `urgency` is the
    doctor's. There is no field for the one that the AI proposes: when the patient comes back, the doctor says, and a text that
    knows two intervals mixes them.
    """

    age: str | None
    gender: str | None
    right: EyeFacts
    left: EyeFacts
    unsided: tuple[AiFacts, ...] = ()
    """The AI's word on photos of which nobody knows the eye."""
    doctor_conclusion: str
    doctor_recommendation: str
    urgency: Urgency | None = None
    """How soon the doctor wants the patient seen."""

    @property
    def conclusion_codes(self) -> tuple[str, ...]:
        """What the doctor's conclusion states or suspects, as codes of the lexicon, sorted; what no row knows has none."""
        claims = find_claims(self.doctor_conclusion)
        stated = (one for one in claims if one.polarity in (Polarity.STATED, Polarity.SUSPECTED))
        return tuple(sorted({one.concept for one in stated if ":" not in one.concept}))

    @property
    def eyes(self) -> tuple[EyeFacts, EyeFacts]:
        """Both eyes, the right one first, as ophthalmologists write."""
        return self.right, self.left


def facts_of(case: Case, diagnosis: AiDiagnosis, review: DoctorReview) -> LlmFacts:
    """Gather what is known of a case and leave behind who it is."""
    identifiers = identifiers_of(case, review)
    patient = case.screening.patient
    right, left = (_eye_facts(eye, case, diagnosis, review) for eye in EYES)
    return LlmFacts(
        age=_age(patient.age_years) if patient else None,
        gender=_GENDERS.get((patient.gender or "").strip().lower()) if patient else None,
        right=right,
        left=left,
        unsided=tuple(_ai_facts(one) for one in diagnosis.eyes if one.eye is None),
        doctor_conclusion=scrub(review.conclusion, identifiers),
        doctor_recommendation=scrub(review.recommendation, identifiers),
        urgency=review.urgency,
    )


def confidence_percent(confidence: float | None) -> int | None:
    """A confidence as a patient reads it, rounded down and at most 99."""
    return None if confidence is None else min(floor(confidence * 100 + 1e-9), 99)


def _eye_facts(eye: Laterality, case: Case, diagnosis: AiDiagnosis, review: DoctorReview) -> EyeFacts:
    identifiers = identifiers_of(case, review)
    measured = case.screening.vision.of(eye)
    doubts = measurement_doubts(diagnosis, eye)
    reviewed = [one for one in review.eyes if one.eye is eye]
    return EyeFacts(
        eye=eye,
        acuity_decimal=None if ACUITY_IMPLAUSIBLE in doubts else measured.acuity_decimal,
        iop_mmhg=None if IOP_IMPLAUSIBLE in doubts else measured.iop_mmhg,
        measurement_doubts=tuple(doubts.values()),
        ai=_ai_facts(diagnosis.find_eye(eye)),
        features=tuple(scrub(term, identifiers) for one in reviewed for term in one.features),
        diseases=tuple(scrub(term, identifiers) for one in reviewed for term in one.terms_zh if not _is_unread(one, term)),
        ungradable=next((one.ungradable.name_zh for one in reviewed if one.ungradable), None),
    )


def _is_unread(review: EyeReview, term: str) -> bool:
    return review.ungradable is not None and term == review.ungradable.name_zh


def measurement_doubts(diagnosis: AiDiagnosis, eye: Laterality) -> dict[str, str]:
    """What was measured on an eye and cannot be right: sentences by rule."""
    reasons = diagnosis.routing.reasons if diagnosis.routing else ()
    return {one.rule: one.zh for one in reasons if one.eye is eye and one.rule in (ACUITY_IMPLAUSIBLE, IOP_IMPLAUSIBLE)}


def _ai_facts(diagnosis: EyeDiagnosis | None) -> AiFacts:
    if diagnosis is None or not diagnosis.photos:
        return AiFacts(has_photo=False, outcome=Outcome.NOT_ASSESSED, conclusion="未能评估")
    return AiFacts(
        has_photo=True,
        outcome=diagnosis.outcome,
        conclusion=diagnosis.conclusion_zh,
        confidence_percent=confidence_percent(diagnosis.confidence),
        areas=tuple(area.zone.name_zh for area in diagnosis.abnormal_areas),
        doubt=_DOUBTS.get(diagnosis.reason or "") if diagnosis.outcome is Outcome.UNCERTAIN else None,
        photo_problems=tuple(dict.fromkeys(_problem(issue) for one in diagnosis.photos if one.quality for issue in one.quality.issues)),
    )


def _problem(issue: QualityIssue) -> str:
    """What is wrong with a photograph; what to do about it is for whoever took it."""
    return issue.advice_zh.partition("：")[0]


def _age(age_years: int | None) -> str | None:
    """Few people are older than 90, so an exact age would point at one."""
    if age_years is None:
        return None
    return f"{age_years}岁" if age_years < _OLDEST_AGE else f"{_OLDEST_AGE}岁及以上"
