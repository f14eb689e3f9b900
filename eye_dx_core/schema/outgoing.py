"""The messages that we send, field by field as they stand on the wire. None of them carries a name or a phone."""

from enum import StrEnum
from typing import Generic, Literal, TypeVar

from pydantic import AwareDatetime, Field, SerializerFunctionWrapHandler, model_serializer

from eye_dx_core.schema.outgoing_reading import DiagnosisSummary, Outgoing
from eye_dx_core.schema.report import DiagnosisReport

AI_RESULT: Literal["eye-dx/ai-result/1"] = "eye-dx/ai-result/1"
REPORT: Literal["eye-dx/report/1"] = "eye-dx/report/1"

Sign = Literal[0, 1]
_Kind = TypeVar("_Kind", bound=str)
_Body = TypeVar("_Body")


class NotAssessed(StrEnum):
    """How a partner is told that something was not assessed. A 0 is no choice: it would be read as "healthy"."""

    NULL = "null"
    OMIT = "omit"


class AiResult(DiagnosisSummary):
    """What the AI read in a case's photographs, before a doctor has seen it."""

    patient_id: str | None
    """The patient's id as it came; null when the request named none."""


class AddendumSaid(Outgoing):
    """What a doctor added to a signed case."""

    text: str
    """In Chinese, word by word."""
    doctor_name: str = Field(repr=False)
    """Who added it."""
    added_at: AwareDatetime
    """ISO 8601, UTC."""


class ReportDelivery(Outgoing):
    """The report of a reviewed case, with what the AI had said."""

    patient_id: str | None
    """The patient's id as it came; null when the request named none."""
    report: DiagnosisReport
    """The report."""
    ai_diagnosis: DiagnosisSummary
    """What the AI had read in the photographs."""
    addenda: tuple[AddendumSaid, ...] = ()
    """What doctors added since, the oldest first; a message with more of them takes the place of those before."""


class OutgoingEnvelope(Outgoing, Generic[_Kind, _Body]):
    """Our envelope: says which version it speaks, which message it is, and which case it belongs to."""

    kind: _Kind = Field(alias="schema")
    """Name and version of the format."""
    message_id: str
    """One id per case and kind, and per addendum: a message that comes twice is dropped by it. Also the AMQP message id."""
    occurred_at: AwareDatetime
    """When the message was written: ISO 8601, UTC."""
    producer: Literal["eye-dx"]
    """Who sent it."""
    case_id: str
    """Our id of the case, by which a review names it. Also the AMQP correlation id."""
    source_message_id: str
    """Message id of the request that is answered."""
    body: _Body
    """The message itself."""


class AiResultMessage(OutgoingEnvelope[Literal["eye-dx/ai-result/1"], AiResult]):
    """An AI result in our envelope."""


class ReportMessage(OutgoingEnvelope[Literal["eye-dx/report/1"], ReportDelivery]):
    """A report in our envelope."""


class PartnerEyeResult(Outgoing):
    """One eye in the partner's fields: 1 = found, 0 = ruled out, null or absent = not assessed.

    A model that names one disease has not ruled the others out: zeros stand only for an eye that was read as normal, and
    only for conditions that the model can tell.
    """

    AMD: Sign | None = None
    """Age-related macular degeneration."""
    CSC: Sign | None = None
    """Central serous chorioretinopathy."""
    RP: Sign | None = None
    """Retinitis pigmentosa."""
    ON: Sign | None = None
    """Optic neuropathy; no model here tells it, so it is never assessed."""
    GLA: Sign | None = None
    """Glaucoma, suspected."""
    RVO: Sign | None = None
    """Retinal vein occlusion."""
    DR: int | None = Field(default=None, ge=0, le=4)
    """Diabetic retinopathy, grade on the ICDR scale: 0 none, 1 mild, 2 moderate, 3 severe, 4 proliferative."""
    note: str | None = None
    """A finding that has no field here, in Chinese; absent otherwise."""

    @model_serializer(mode="wrap")
    def _only_what_is_said(self, serialize: SerializerFunctionWrapHandler) -> dict[str, int | str | None]:
        return {field: value for field, value in serialize(self).items() if field in self.model_fields_set}


class ResultCheck(Outgoing):
    """The four-queue protocol's answer on `result_check_queue`: the AI's findings per eye."""

    osFundusResult: PartnerEyeResult  # noqa: N815 - the partner's names
    """Left eye."""
    odFundusResult: PartnerEyeResult  # noqa: N815
    """Right eye."""
    id: str
    """The id of the case's message on `check_queue`."""


class ResultReport(Outgoing):
    """The four-queue protocol's report on `result_report_queue`, in Chinese."""

    fundusReport: str  # noqa: N815 - the partner's names
    """Examination findings: one line per eye with retina, macula, optic disc and vessels."""
    fundusInterpret: str  # noqa: N815
    """The doctor's conclusion, the opinion, and the doctor's recommendation."""
    anteriorReport: str  # noqa: N815
    """The front of the eye; says that it was not assessed."""
    anteriorInterpret: str  # noqa: N815
    """The front of the eye; says that it was not assessed."""
    id: str
    """The id of the case's message on `check_queue`."""
