"""The part of a report that may be written by a language model: findings, opinion, advice. The rest is placed by code."""

from pydantic import Field

from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.report import EyeFindings


class ReportNarrative(Frozen):
    """Findings of both eyes, the opinion and the advice, in Chinese."""

    findings: tuple[EyeFindings, ...] = Field(min_length=2, max_length=2)
    opinion: str = Field(min_length=1, max_length=600)
    advice: str = Field(min_length=1, max_length=600)
