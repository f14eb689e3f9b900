"""The messages that others send, field by field as they stand on the wire; `message.py` turns them into our words.

What a message lacks stays absent. Unknown fields are tolerated and counted; wrong ones are refused.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from eye_dx_core.schema.case import Laterality

MAX_PHOTOS = 100

# Controls other than tab and line ends, and the marks that turn the reading direction: they make a page say what is not written.
_UNSEEN = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069"


class Incoming(BaseModel):
    """What others send: unknown fields are theirs to have, and counted so that a change of theirs shows."""

    model_config = ConfigDict(
        extra="allow", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True, use_attribute_docstrings=True
    )

    not_read: ClassVar[dict[str, str]] = {}
    """Fields that the sender is known to send and that we have no use for, with what they hold."""

    @property
    def unknown_fields(self) -> int:
        """How many fields nobody here knows, in this object and in those of its objects that we know."""
        own = len((self.model_extra or {}).keys() - self.not_read.keys())
        return own + sum(one.unknown_fields for one in self._objects())

    def _objects(self) -> Iterable["Incoming"]:
        for field in type(self).model_fields:
            value = getattr(self, field)
            yield from (one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Incoming))

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_flag(cls, value: object) -> object:
        """`true` would be read as the number 1: a pressure nobody measured."""
        if isinstance(value, bool):
            raise PydanticCustomError("not_a_flag", "no field is true or false")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _refuse_unseen(cls, value: object) -> object:
        texts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(text, str) and re.search(f"[{_UNSEEN}]", text) for text in texts):
            raise PydanticCustomError("control_characters", "unseen control characters")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Publish what the validators above refuse, and the fields that are known but not read."""
        reference = handler(core_schema)
        fields: dict[str, Any] = handler.resolve_ref_schema(reference)["properties"]
        single = [field.get("items", field) for field in fields.values()]
        for one in (choice for field in single for choice in field.get("anyOf", [field])):
            if one.get("type") == "string" and "format" not in one:
                one.setdefault("pattern", f"^[^{_UNSEEN}]*$")
        fields |= {name: {"description": f"Known and not read: {holds}"} for name, holds in cls.not_read.items()}
        return reference


def _seen(identifier: str) -> str:
    """Ids are compared by machines and read by people: both must see the same, so nothing in them is unseen."""
    if any(unicodedata.category(character).startswith("C") for character in identifier):
        raise PydanticCustomError("control_characters", "unseen characters")
    return identifier


def _within_reach(moment: datetime) -> datetime:
    """Nearer to the year 1 or 9999 than a time zone is wide, a moment has no UTC."""
    if not 1900 <= moment.year <= 2200:
        raise PydanticCustomError("year_out_of_range", "the year is not between 1900 and 2200")
    return moment


def _with_any(*fields: str) -> dict[str, Any]:
    """JSON Schema for: at least one of these fields."""
    return {"anyOf": [{"required": [field]} for field in fields]}


def _without(*fields: str) -> dict[str, Any]:
    """JSON Schema for: none of these fields, because they would make it another message."""
    return {"not": _with_any(*fields)}


def _with_text(**patterns: str) -> dict[str, Any]:
    """JSON Schema for: at least one of these fields holds a text of its pattern."""
    return {
        "anyOf": [
            {"required": [field], "properties": {field: {"type": "string", "pattern": pattern}}} for field, pattern in patterns.items()
        ]
    }


Id = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_seen)]
Moment = Annotated[AwareDatetime, AfterValidator(_within_reach), Field(json_schema_extra={"pattern": r"^(19\d\d|20\d\d|21\d\d|2200)-"})]


class Identified(Incoming):
    """The ids that may stand beside a message's content."""

    id: Id | None = None
    """The sender's own id of the case, opaque to us; answers and reviews may name the case by it. Unseen characters are refused."""
    message_id: Id | None = None
    """Id of this message, the same whenever it is sent again; the broker's message id, where there is one, comes first."""

    @field_validator("id", "message_id", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return None if value == "" else value


class IncomingPhoto(Incoming):
    """A photograph whose eye the sender states."""

    location: str = Field(min_length=1)
    """Path of the file below a folder that this installation allows."""
    eye: Laterality | None = None
    """OD = right eye, OS = left eye; without it the file name is asked, and may leave the eye open."""


class IncomingPatient(Incoming):
    """Who was screened and which photographs were taken."""

    not_read: ClassVar[dict[str, str]] = {"screening_records": "earlier screenings of this patient, as the sender stored them."}

    patient_id: Annotated[Id, Field(max_length=128)]
    """The patient's id at the sender. Unseen characters are refused."""
    name: str | None = None
    """Printed on the patient's own report and nowhere else."""
    age: int | None = Field(default=None, ge=0, le=130)
    """Age in completed years."""
    gender: str | None = None
    """As the sender writes it: 男, 女, …"""
    phone: str | None = None
    """Kept with the patient's identity; no answer repeats it."""
    birth_date: str | None = None
    """As the sender writes it; kept with the patient's identity."""
    photos: tuple[str | IncomingPhoto, ...] = Field(default=(), max_length=MAX_PHOTOS)
    """Colour fundus photographs: paths, or objects that also say which eye. An empty path is passed over."""


class IncomingPressure(Incoming):
    """Intraocular pressure of both eyes; what was not measured is absent or null."""

    left: float | None = Field(default=None, ge=0, le=100)
    """Left eye (OS), mmHg."""
    right: float | None = Field(default=None, ge=0, le=100)
    """Right eye (OD), mmHg."""


class IncomingVision(Incoming):
    """What was measured in the chair; what was not measured is absent or null."""

    left_eye: float | None = Field(default=None, ge=0, le=5.3)
    """Visual acuity of the left eye (OS), decimal (1.0 is normal); from 4.0 on it is read as five-point (5.0 is normal)."""
    right_eye: float | None = Field(default=None, ge=0, le=5.3)
    """Visual acuity of the right eye (OD), likewise. What lies between 2.0 and 4.0 is kept, called implausible and not used."""
    intraocular_pressure: IncomingPressure = IncomingPressure()
    """Intraocular pressure, mmHg."""


class NestedScreening(Identified):
    """A screening: the patient under `Patient`, the measurements under `vision_data`."""

    model_config = ConfigDict(json_schema_extra=_without("schema"))

    Patient: IncomingPatient
    """Who was screened, with the photographs."""
    vision_data: IncomingVision | None = None
    """Visual acuity and intraocular pressure."""
    screening_time: Moment | None = None
    """When the patient was screened: ISO 8601 with a time zone, years 1900 to 2200."""
    notes: str = ""
    """What the screener noted, in free text."""


class FlatScreening(Identified, IncomingPatient):
    """A screening that is the patient object alone: no `Patient` around it, no measurements."""

    model_config = ConfigDict(json_schema_extra=_without("schema", "Patient", "osFundusImg", "odFundusImg"))


class FourQueueCheck(Identified):
    """The four-queue protocol's request on `check_queue`: photographs of both eyes under an opaque id, and no patient."""

    model_config = ConfigDict(json_schema_extra=_without("schema", "Patient") | _with_any("osFundusImg", "odFundusImg"))
    not_read: ClassVar[dict[str, str]] = {
        "osAnteriorImg": "photograph of the front of the left eye.",
        "odAnteriorImg": "photograph of the front of the right eye.",
    }

    id: Id  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]
    """Ties the four messages of a case together. Unseen characters are refused."""
    osFundusImg: str | None = None  # noqa: N815 - the partner's names
    """Server-relative path of the left eye's fundus photograph."""
    odFundusImg: str | None = None  # noqa: N815
    """Server-relative path of the right eye's fundus photograph."""


class Review(Identified):
    """A doctor's review of a case, which `case_id` or `id` names."""

    model_config = ConfigDict(json_schema_extra=_without("schema", "osFundusDisease", "odFundusDisease") | _with_text(case_id=".", id="."))

    case_id: Id | None = None
    """Our id of the case, as our answers carry it; comes before `id`."""
    final_conclusion: str = Field(min_length=1, max_length=2000)
    """The doctor's conclusion; stands in the report word by word."""
    doctor_name: str | None = None
    """Who reviewed; stands in the report."""
    recommendation: str = ""
    """What the doctor advises; stands in the report word by word."""
    reviewed_at: Moment | None = None
    """When: ISO 8601 with a time zone, years 1900 to 2200; without it, when the message arrived."""


class PartnerReview(Identified):
    """The four-queue protocol's review on `report_queue`: what a doctor confirmed, as lists in one text each.

    Terms are separated by Chinese or Latin commas, 、 or semicolons. At least one eye must name a disease: an empty
    field may mean "nothing found" or "not looked at", and concluding either would be a guess.
    """

    model_config = ConfigDict(
        json_schema_extra=_without("schema") | _with_text(osFundusDisease=r"[^\s,，、;；]", odFundusDisease=r"[^\s,，、;；]")
    )
    not_read: ClassVar[dict[str, str]] = {
        "osAnteriorFeatures": "features of the front of the left eye.",
        "odAnteriorFeatures": "features of the front of the right eye.",
        "osAnteriorDisease": "diseases of the front of the left eye.",
        "odAnteriorDisease": "diseases of the front of the right eye.",
    }

    id: Id  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]
    """The id of the case's message on `check_queue`."""
    osFundusFeatures: str | None = None  # noqa: N815 - the partner's names
    """Features confirmed in the left fundus."""
    odFundusFeatures: str | None = None  # noqa: N815
    """Features confirmed in the right fundus."""
    osFundusDisease: str | None = None  # noqa: N815
    """Diseases confirmed in the left fundus."""
    odFundusDisease: str | None = None  # noqa: N815
    """Diseases confirmed in the right fundus."""


class Envelope(Incoming):
    """Our envelope around a message: says which version it speaks, which message it is, and who sent it."""

    not_read: ClassVar[dict[str, str]] = {"occurred_at": "when the sender wrote the message, ISO 8601."}

    kind: str = Field(alias="schema")
    """Name and version of the format; another version is refused by name."""
    message_id: Id
    """Id of this message, unique at its producer and the same whenever it is sent again; the broker's message id comes first."""
    producer: Id | None = None
    """Who sent it; message ids are unique at one producer. Without it, the queue it came by takes its place."""
    body: dict[str, Any]
    """The message itself."""

    @field_validator("producer", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return None if value == "" else value
