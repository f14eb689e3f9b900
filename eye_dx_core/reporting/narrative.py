"""The part of a report that somebody has to phrase, and what a language model must say again beside it."""

from typing import Any, Literal

from pydantic import Field, ValidationError

from eye_dx_core.errors import BadReport
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.report import EyeFindings
from eye_dx_core.schema.routing import Urgency


class ReportNarrative(Frozen):
    """The phrased part of a report. Conclusion, doctor's name and recommendation are not in it: code places them."""

    findings: tuple[EyeFindings, ...]
    opinion: str
    advice: str


class EchoedClaim(Frozen):
    """One statement that the model says its text makes."""

    eye: Laterality
    concept_code: str = Field(max_length=40)
    polarity: Literal["stated", "suspected", "denied"]
    source: Literal["ai", "doctor"]


class Echo(Frozen):
    """The locked facts as the model understood them; a model that read them wrongly shows it here."""

    conclusion_codes: tuple[str, ...]
    urgency_code: Urgency | None
    claims: tuple[EchoedClaim, ...] = Field(max_length=60)


class _AnsweredEye(Frozen):
    retina: str = Field(description="视网膜")
    macula: str = Field(description="黄斑")
    optic_disc: str = Field(description="视盘")
    vessels: str = Field(description="血管")


class _Answer(Echo):
    """What a chat model is asked for."""

    right_eye: _AnsweredEye
    left_eye: _AnsweredEye
    opinion: str = Field(description="诊断意见")
    advice: str = Field(description="建议")


ANSWER_SCHEMA: dict[str, object] = _Answer.model_json_schema()


def parse_answer(answer: dict[str, object]) -> tuple[ReportNarrative, Echo]:
    """Read a chat model's answer; whatever the endpoint promised, its shape is checked here.

    Raises:
        BadReport: fields are missing, of the wrong kind or too many.
    """
    try:
        read = _Answer.model_validate(answer)
    except ValidationError:
        raise BadReport("wrong_fields") from None
    narrative = ReportNarrative(
        findings=(
            EyeFindings(eye=Laterality.RIGHT, **_texts(read.right_eye)),
            EyeFindings(eye=Laterality.LEFT, **_texts(read.left_eye)),
        ),
        opinion=read.opinion.strip(),
        advice=read.advice.strip(),
    )
    return narrative, Echo(conclusion_codes=read.conclusion_codes, urgency_code=read.urgency_code, claims=read.claims)


def _texts(eye: _AnsweredEye) -> dict[str, Any]:
    return {name: text.strip() for name, text in eye.model_dump().items()}
