"""The text for the patient."""

from pydantic import AwareDatetime, Field

from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.frozen import Frozen


class EyeFindings(Frozen):
    """Examination findings of one eye, one sentence or two each; 未评估 where nothing was assessed."""

    eye: Laterality
    retina: str
    macula: str
    optic_disc: str
    vessels: str


class DiagnosisReport(Frozen):
    """The professional report on a case. Identity is not in here: name and phone are placed when it is rendered.

    `conclusion`, `doctor_name` and `recommendation` are the doctor's, verbatim, placed by code and never by a model.
    """

    report_id: str
    case_id: str
    written_at: AwareDatetime
    writer: str
    """`template/<version>` or `openai/<model>`."""
    fallback_reason: str | None = None
    """Why the template wrote although a language model is configured."""
    findings: tuple[EyeFindings, ...]
    opinion: str
    advice: str
    conclusion: str = Field(min_length=1)
    doctor_name: str | None = Field(default=None, repr=False)
    recommendation: str
    ai_conclusion: str
    ai_model_version: str
    disclaimer: str
