"""The text for the patient."""

from enum import StrEnum

from pydantic import AwareDatetime, ConfigDict, Field

from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.routing import Urgency


class GuardOutcome(StrEnum):
    """What became of a language model's text before the rules of what a report may say."""

    PASSED = "passed"
    PASSED_ON_RETRY = "passed_on_retry"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


class TokenUsage(Frozen):
    """What a language model counted, over all tries."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    prompt: int = Field(ge=0)
    """Tokens that were sent."""
    completion: int = Field(ge=0)
    """Tokens that came back."""


class EyeFindings(Frozen):
    """Examination findings of one eye, one sentence or two each; 未评估 where nothing was assessed."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    eye: Laterality
    """OD = right eye, OS = left eye."""
    retina: str
    """What the photograph shows of the retina."""
    macula: str
    """Of the macula."""
    optic_disc: str
    """Of the optic disc."""
    vessels: str
    """Of the retinal vessels."""


class DiagnosisReport(Frozen):
    """The professional report on a case. Identity is not in here: name and phone are placed when it is rendered.

    `conclusion`, `doctor_name` and `recommendation` are the doctor's, verbatim, placed by code and never by a model.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    report_id: str
    """One per case."""
    case_id: str
    """Our id of the case."""
    written_at: AwareDatetime
    """ISO 8601, UTC."""
    writer: str
    """`template/<version>` or `openai/<model>`."""
    fallback_reason: str | None = None
    """Why the template wrote although a language model is configured."""
    prompt_version: str | None = None
    """Which instructions the language model was given; null where none was asked."""
    guard: GuardOutcome | None = None
    """What became of the language model's text; null where none was asked."""
    guard_rules: tuple[str, ...] = ()
    """Codes of the rules that a refused text broke."""
    tokens: TokenUsage | None = None
    """What the language model counted; null where none was asked, or it does not say."""
    findings: tuple[EyeFindings, ...]
    """Examination findings, eye by eye."""
    opinion: str
    """Diagnostic opinion: what was found and how the doctor's word and the AI's go together."""
    advice: str
    """Advice to the patient."""
    conclusion: str = Field(min_length=1)
    """The doctor's conclusion, word by word."""
    doctor_name: str | None = Field(default=None, repr=False)
    """Who reviewed; null when the review did not say."""
    recommendation: str
    """The doctor's recommendation, word by word."""
    urgency: Urgency | None = None
    """How soon the doctor wants the patient seen; null where the review does not say."""
    ai_conclusion: str
    """The AI's conclusion in words."""
    ai_model_version: str
    """Version of the model that read the photographs."""
    disclaimer: str
    """What the reader must know about how the report came to be."""
