"""What may leave the house: everything a report needs, and nothing that says who the patient is."""

import re
import unicodedata
from collections.abc import Callable

from pydantic import Field

from eye_dx_core.schema.case import Case, Laterality
from eye_dx_core.schema.condition import NOT_ASSESSED_ZH
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, Outcome
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.review import DoctorReview

_OLDEST_NAMED_AGE = 89
"""Above it an age alone can single a person out (the HIPAA safe-harbour rule); it becomes a band."""

# Mainland mobile number, identity card number, e-mail; full-width digits are folded before they are looked for.
_IDENTIFIERS = re.compile(
    r"(?:\+?86[-\s]?)?1[3-9]\d(?:[-\s]?\d{4}){2}|[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])\d{2}\d{3}[\dXx]|[\w.+-]+@[\w-]+\.[\w.]+"
)
_REMOVED = "［已隐去］"


class EyeFacts(Frozen):
    """What is known of one eye."""

    eye: Laterality
    outcome: Outcome
    ai_conclusion: str
    ai_finding_code: str | None = None
    confidence: float | None = Field(default=None, ge=0, le=1)
    abnormal_areas: tuple[str, ...] = ()
    acuity_decimal: float | None = None
    iop_mmhg: float | None = None
    doctor_features: tuple[str, ...] = ()
    doctor_diseases: tuple[str, ...] = ()


class LlmFacts(Frozen):
    """The facts of a case without identity: no name, number, id, path, birth date, and no doctor's name."""

    age: str | None
    gender: str | None
    eyes: tuple[EyeFacts, ...]
    doctor_conclusion: str
    doctor_recommendation: str


def facts_of(case: Case, diagnosis: AiDiagnosis, review: DoctorReview) -> LlmFacts:
    """Gather the facts of a case; free text by the doctor is cleared of identifiers first."""
    patient = case.screening.patient

    def clear(text: str) -> str:
        return _clear(text, case)

    return LlmFacts(
        age=None if patient is None or patient.age_years is None else _age_band(patient.age_years),
        gender=clear(patient.gender) if patient is not None and patient.gender else None,
        eyes=tuple(_eye_facts(eye, case, diagnosis.find_eye(eye), review, clear) for eye in Laterality),
        doctor_conclusion=clear(review.conclusion),
        doctor_recommendation=clear(review.recommendation),
    )


def _eye_facts(eye: Laterality, case: Case, found: EyeDiagnosis | None, review: DoctorReview, clear: Callable[[str], str]) -> EyeFacts:
    measured = case.screening.vision.of(eye)
    reviewed = next((one for one in review.eyes if one.eye is eye), None)
    return EyeFacts(
        eye=eye,
        outcome=found.outcome if found else Outcome.NOT_ASSESSED,
        ai_conclusion=found.conclusion_zh if found else NOT_ASSESSED_ZH,
        ai_finding_code=found.conclusion if found else None,
        confidence=round(found.confidence, 2) if found and found.conclusion and found.confidence is not None else None,
        abnormal_areas=tuple(area.zone.name_zh for area in found.abnormal_areas) if found else (),
        acuity_decimal=measured.acuity_decimal,
        iop_mmhg=measured.iop_mmhg,
        doctor_features=tuple(map(clear, reviewed.features)) if reviewed else (),
        doctor_diseases=tuple(map(clear, reviewed.diseases)) if reviewed else (),
    )


def _age_band(age: int) -> str:
    return str(age) if age <= _OLDEST_NAMED_AGE else "90+"


def _clear(text: str, case: Case) -> str:
    """Remove this case's own identifiers and whatever looks like one."""
    folded = unicodedata.normalize("NFKC", text)
    patient = case.screening.patient
    own = (patient.name, patient.phone, patient.birth_date, patient.patient_id) if patient else ()
    for identifier in sorted((one for one in (*own, case.external_id) if one and len(one) > 1), key=len, reverse=True):
        folded = folded.replace(unicodedata.normalize("NFKC", identifier), _REMOVED)
    return _IDENTIFIERS.sub(_REMOVED, folded)
