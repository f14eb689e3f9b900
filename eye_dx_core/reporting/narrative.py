"""The part of a report that somebody has to phrase: findings per eye, opinion, advice."""

from typing import Any

from pydantic import Field, ValidationError

from eye_dx_core.errors import BadReport
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.report import EyeFindings


class ReportNarrative(Frozen):
    """The phrased part of a report. Conclusion, doctor's name and recommendation are not in it: code places them."""

    findings: tuple[EyeFindings, ...]
    opinion: str
    advice: str


class _AnsweredEye(Frozen):
    retina: str = Field(description="视网膜")
    macula: str = Field(description="黄斑")
    optic_disc: str = Field(description="视盘")
    vessels: str = Field(description="血管")


class _Answer(Frozen):
    """What a chat model is asked for."""

    right_eye: _AnsweredEye
    left_eye: _AnsweredEye
    opinion: str = Field(description="诊断意见")
    advice: str = Field(description="建议")


ANSWER_SCHEMA: dict[str, object] = _Answer.model_json_schema()


def parse_narrative(answer: dict[str, object]) -> ReportNarrative:
    """Read a chat model's answer; whatever the endpoint promised, its shape is checked here.

    Raises:
        BadReport: fields are missing, of the wrong kind or too many.
    """
    try:
        read = _Answer.model_validate(answer)
    except ValidationError:
        raise BadReport("wrong_fields") from None
    return ReportNarrative(
        findings=(
            EyeFindings(eye=Laterality.RIGHT, **_texts(read.right_eye)),
            EyeFindings(eye=Laterality.LEFT, **_texts(read.left_eye)),
        ),
        opinion=read.opinion.strip(),
        advice=read.advice.strip(),
    )


def _texts(eye: _AnsweredEye) -> dict[str, Any]:
    return {name: text.strip() for name, text in eye.model_dump().items()}
