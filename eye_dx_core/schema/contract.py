"""The contract with those who send to us and read from us: a JSON Schema of every message, made from the models that do the work."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from eye_dx_core.schema import examples
from eye_dx_core.schema.incoming import Envelope, FlatScreening, FourQueueCheck, NestedScreening, PartnerReview, Review
from eye_dx_core.schema.message import ENVELOPE_REVIEW, ENVELOPE_SCREENING
from eye_dx_core.schema.outgoing import AiResultMessage, ReportMessage, ResultCheck, ResultReport

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LENIENCE = (
    "What is valid here is read. Beyond it, numbers written as text and ids written as numbers are read too, and an empty id counts as"
    " absent; `true` and `false` are no values of any field that is read. Fields that are not listed are tolerated and counted."
)


@dataclass(frozen=True)
class MessageKind:
    """A message that comes or goes. `models` are its content; with `envelope` they come inside ours."""

    name: str
    title: str
    models: tuple[type[BaseModel], ...]
    example: dict[str, Any]
    is_incoming: bool = False
    envelope: str | None = None


NESTED = MessageKind("screening-nested", "Screening, nested", (NestedScreening,), examples.NESTED, is_incoming=True)
FLAT = MessageKind("screening-flat", "Screening, flat", (FlatScreening,), examples.FLAT, is_incoming=True)
FOUR_QUEUE_CHECK = MessageKind(
    "screening-four-queue", "Screening, four-queue protocol", (FourQueueCheck,), examples.FOUR_QUEUE_CHECK, is_incoming=True
)
ENVELOPED_SCREENING = MessageKind(
    "screening-envelope",
    "Screening in our envelope",
    (NestedScreening, FlatScreening, FourQueueCheck),
    examples.ENVELOPED_SCREENING,
    is_incoming=True,
    envelope=ENVELOPE_SCREENING,
)
REVIEW = MessageKind("review", "Doctor's review", (Review,), examples.REVIEW, is_incoming=True)
ENVELOPED_REVIEW = MessageKind(
    "review-envelope",
    "Doctor's review in our envelope",
    (Review, PartnerReview),
    examples.ENVELOPED_REVIEW,
    is_incoming=True,
    envelope=ENVELOPE_REVIEW,
)
PARTNER_REVIEW = MessageKind(
    "review-four-queue", "Doctor's review, four-queue protocol", (PartnerReview,), examples.PARTNER_REVIEW, is_incoming=True
)
AI_RESULT = MessageKind("ai-result", "AI result", (AiResultMessage,), examples.AI_RESULT)
REPORT = MessageKind("report", "Report", (ReportMessage,), examples.REPORT)
RESULT_CHECK = MessageKind("result-check", "AI result, four-queue protocol", (ResultCheck,), examples.RESULT_CHECK)
RESULT_REPORT = MessageKind("result-report", "Report, four-queue protocol", (ResultReport,), examples.RESULT_REPORT)

MESSAGES = (
    NESTED, FLAT, FOUR_QUEUE_CHECK, ENVELOPED_SCREENING, REVIEW, ENVELOPED_REVIEW, PARTNER_REVIEW,
    AI_RESULT, REPORT, RESULT_CHECK, RESULT_REPORT,
)  # fmt: skip


class _FieldsByName(GenerateJsonSchema):
    """A field's title would be its name again in other letters ("Amd")."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def build_schema(kind: MessageKind) -> dict[str, Any]:
    """The JSON Schema of one message, with its example."""
    schema = _enveloped(kind.envelope, kind.models) if kind.envelope else kind.models[0].model_json_schema(schema_generator=_FieldsByName)
    if not kind.is_incoming:
        _let_grow(schema)
    described = {
        "title": kind.title,
        "description": f"{schema['description']}\n\n{_LENIENCE}" if kind.is_incoming else schema["description"],
    }
    return {"$schema": _DIALECT} | schema | described | {"examples": [kind.example]}


def _enveloped(version: str, bodies: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    """The envelope as the parser reads it, closed over one version and over the bodies of that version."""
    refs, named = models_json_schema([(model, "validation") for model in (Envelope, *bodies)], schema_generator=_FieldsByName)
    envelope = named["$defs"].pop("Envelope")
    fields = envelope["properties"]
    fields["schema"] = {"const": version, "description": fields["schema"]["description"]}
    fields["body"] = {"anyOf": [refs[body, "validation"] for body in bodies], "description": fields["body"]["description"]}
    return envelope | named


def _let_grow(schema: dict[str, Any]) -> None:
    """Our models are closed against slips of ours; a receiver's copy is not, because a version may gain fields."""
    for one in (schema, *schema.get("$defs", {}).values()):
        one.pop("additionalProperties", None)
