"""What comes by queue: every accepted wire format parses to the same words.

What a message lacks stays absent. Unknown fields are tolerated; wrong ones are named by field and never by value.
"""

import hashlib
import json
import re
import unicodedata
from datetime import datetime
from typing import Annotated, Any, NoReturn, TypeVar, cast

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from eye_dx_core.errors import BadMessage
from eye_dx_core.schema.case import (
    Case,
    EyeMeasurement,
    FundusPhoto,
    Laterality,
    Patient,
    Screening,
    VisionData,
    WireFormat,
    find_eye_in_name,
)
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.review import EyeReview

MAX_BODY_BYTES = 1_000_000
MAX_PHOTOS = 100
ENVELOPE_SCREENING, ENVELOPE_REVIEW = "eye-dx/screening/1", "eye-dx/review/1"

# Controls other than tab and line ends, and the marks that turn the reading direction: they make a page say what is not written.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class _Wire(BaseModel):
    """What others send: unknown fields are theirs to have."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, coerce_numbers_to_str=True)

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
        if isinstance(value, str) and _UNSEEN.search(value):
            raise PydanticCustomError("control_characters", "unseen control characters")
        return value


_Model = TypeVar("_Model", bound=_Wire)


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


_Id = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_seen)]
_Moment = Annotated[AwareDatetime, AfterValidator(_within_reach)]


class _WireIds(_Wire):
    """The ids of a message that stand beside its content."""

    id: _Id | None = None
    message_id: _Id | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return None if value == "" else value


class _WirePhoto(_Wire):
    location: str = Field(min_length=1)
    eye: Laterality | None = None


class _WirePatient(_Wire):
    patient_id: Annotated[_Id, Field(max_length=128)]
    name: str | None = None
    age: int | None = Field(default=None, ge=0, le=130)
    gender: str | None = None
    phone: str | None = None
    birth_date: str | None = None
    photos: tuple[str | _WirePhoto, ...] = Field(default=(), max_length=MAX_PHOTOS)


class _WirePressure(_Wire):
    left: float | None = Field(default=None, ge=0, le=100)
    right: float | None = Field(default=None, ge=0, le=100)


class _WireVision(_Wire):
    left_eye: float | None = Field(default=None, ge=0, le=3)
    right_eye: float | None = Field(default=None, ge=0, le=3)
    intraocular_pressure: _WirePressure = _WirePressure()


class _WireNested(_Wire):
    Patient: _WirePatient
    vision_data: _WireVision | None = None
    screening_time: _Moment | None = None
    notes: str = ""


class _WireFourQueue(_Wire):
    id: _Id
    osFundusImg: str | None = None  # noqa: N815 - the partner's names
    odFundusImg: str | None = None  # noqa: N815


class _WireReview(_Wire):
    case_id: _Id | None = None
    id: _Id | None = None
    final_conclusion: str = Field(min_length=1, max_length=2000)
    doctor_name: str | None = None
    recommendation: str = ""
    reviewed_at: _Moment | None = None


class _WirePartnerReview(_Wire):
    id: _Id
    osFundusFeatures: str | None = None  # noqa: N815
    odFundusFeatures: str | None = None  # noqa: N815
    osFundusDisease: str | None = None  # noqa: N815
    odFundusDisease: str | None = None  # noqa: N815


class ReviewMessage(Frozen):
    """A doctor's review as it came, before it is tied to a case by `case_id` or by the sender's `external_id`."""

    review_id: str
    case_id: str | None
    external_id: str | None
    conclusion: str
    doctor_name: str | None = Field(default=None, repr=False)
    recommendation: str = ""
    eyes: tuple[EyeReview, ...] = ()
    reviewed_at: AwareDatetime


def parse_screening(body: bytes, *, source_queue: str, message_id: str | None, received_at: datetime) -> Case:
    """Read a screening in any accepted format: our envelope, nested, flat, or the four-queue protocol.

    The case id follows from queue and message id, so the same message always names the same case.

    Args:
        body: the message as it came.
        source_queue: where it came from; message ids are unique within a queue only.
        message_id: the broker's message id, if the sender set one.
        received_at: aware time of receipt.

    Raises:
        BadMessage: not JSON, or fields are missing or wrong; the text names them.
    """
    content, envelope_id = _unwrap(_parse_object(body), ENVELOPE_SCREENING)
    wire = _wire_format_of(content) if envelope_id is None else WireFormat.ENVELOPE
    ids = _validate(_WireIds, content)
    known_id = message_id or envelope_id or ids.message_id or ids.id or f"sha256:{body_sha256(body)}"
    case_id = _case_id(source_queue, known_id)
    return Case(
        case_id=case_id,
        message_id=known_id,
        source_queue=source_queue,
        producer=source_queue,
        wire=wire,
        external_id=ids.id,
        body_sha256=body_sha256(body),
        received_at=received_at,
        screening=_parse_content(content, case_id),
    )


def parse_review(body: bytes, *, message_id: str | None, received_at: datetime) -> ReviewMessage:
    """Read a doctor's review: ours (`final_conclusion`, `doctor_name`, `recommendation` with a case) or the partner's.

    Raises:
        BadMessage: not JSON, fields are missing or wrong, or there is no conclusion in it.
    """
    content, envelope_id = _unwrap(_parse_object(body), ENVELOPE_REVIEW)
    review_id = message_id or envelope_id or _validate(_WireIds, content).message_id or f"sha256:{body_sha256(body)}"
    if "osFundusDisease" in content or "odFundusDisease" in content:
        return _parse_partner_review(_validate(_WirePartnerReview, content), review_id, received_at)
    review = _validate(_WireReview, content)
    if review.case_id is None and review.id is None:
        raise BadMessage("bad fields: case_id or id must say which case was reviewed")
    return ReviewMessage(
        review_id=review_id,
        case_id=review.case_id,
        external_id=review.id,
        conclusion=review.final_conclusion,
        doctor_name=review.doctor_name,
        recommendation=review.recommendation,
        reviewed_at=review.reviewed_at or received_at,
    )


def body_sha256(body: bytes) -> str:
    """Hash of the canonical body: JSON with sorted keys and no spaces, so that formatting makes no difference."""
    try:
        canonical = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        canonical = body
    return hashlib.sha256(canonical).hexdigest()


def _case_id(source_queue: str, message_id: str) -> str:
    return "case-" + hashlib.sha256(f"{source_queue}\n{message_id}".encode()).hexdigest()[:16]


def _parse_object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise BadMessage(f"larger than {MAX_BODY_BYTES} bytes")
    try:
        # UTF-8 as RFC 8259 asks for; left to itself, the parser would also guess UTF-16 and UTF-32.
        content = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_refuse_ambiguity, parse_constant=_refuse_constant)
        if isinstance(content, dict) and re.search(rb"\\u(0000|[dD][89a-fA-F])", body) and not _is_storable(content):
            raise BadMessage("not storable text: half a surrogate pair or a NUL character")
    except (ValueError, RecursionError):
        raise BadMessage("not JSON in UTF-8, or nested too deeply") from None
    if not isinstance(content, dict):
        raise BadMessage("not a JSON object")
    return cast("dict[str, Any]", content)


def _refuse_ambiguity(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One field with two values has no meaning that all readers share; a plain repeat does no harm."""
    content: dict[str, Any] = {}
    for field, value in pairs:
        if field in content and content[field] != value:
            raise BadMessage(
                f"bad fields: {field if re.fullmatch('[A-Za-z_]{1,40}', field) else 'one'} (given twice with different values)"
            )
        content[field] = value
    return content


def _refuse_constant(constant: str) -> NoReturn:
    raise BadMessage(f"not JSON: {constant} is no JSON number")


def _is_storable(content: object) -> bool:
    """Whether databases and UTF-8 can hold every text in it; JSON escapes can smuggle in what they cannot."""
    text = json.dumps(content, ensure_ascii=False)
    return "\\u0000" not in text and not re.search("[\ud800-\udfff]", text)


def _unwrap(content: dict[str, Any], schema: str) -> tuple[dict[str, Any], str | None]:
    """Open our envelope; another version of it is refused by name, because guessing at it could misread a patient."""
    if "schema" not in content:
        return content, None
    if content["schema"] != schema:
        raise BadMessage(f"bad fields: schema (expected {schema})")
    body, message_id = content.get("body"), _validate(_WireIds, content).message_id
    if not isinstance(body, dict) or message_id is None:
        raise BadMessage("bad fields: the envelope needs body and message_id")
    return cast("dict[str, Any]", body), message_id


def _wire_format_of(content: dict[str, Any]) -> WireFormat:
    if "Patient" in content:
        return WireFormat.NESTED
    if "osFundusImg" in content or "odFundusImg" in content:
        return WireFormat.FOUR_QUEUE
    if "patient_id" in content:
        return WireFormat.FLAT
    raise BadMessage("bad fields: neither Patient, patient_id nor osFundusImg/odFundusImg is there")


def _parse_content(content: dict[str, Any], case_id: str) -> Screening:
    wire = _wire_format_of(content)
    if wire is WireFormat.FOUR_QUEUE:
        check = _validate(_WireFourQueue, content)
        pairs = [(check.odFundusImg, Laterality.RIGHT), (check.osFundusImg, Laterality.LEFT)]
        return Screening(photos=_photos(case_id, [_WirePhoto(location=img, eye=eye) for img, eye in pairs if img]))
    if wire is WireFormat.FLAT:
        return _screening_of(_validate(_WirePatient, content), None, case_id)
    nested = _validate(_WireNested, content)
    screening = _screening_of(nested.Patient, nested.vision_data, case_id)
    return screening.model_copy(update={"screened_at": nested.screening_time, "notes": nested.notes})


def _screening_of(patient: _WirePatient, vision: _WireVision | None, case_id: str) -> Screening:
    vision = vision or _WireVision()
    pressure = vision.intraocular_pressure
    return Screening(
        patient=Patient(
            patient_id=patient.patient_id,
            name=patient.name,
            age_years=patient.age,
            gender=patient.gender,
            phone=patient.phone,
            birth_date=patient.birth_date,
        ),
        vision=VisionData(
            right=EyeMeasurement(acuity_decimal=vision.right_eye, iop_mmhg=pressure.right),
            left=EyeMeasurement(acuity_decimal=vision.left_eye, iop_mmhg=pressure.left),
        ),
        photos=_photos(case_id, patient.photos),
    )


def _photos(case_id: str, photos: list[_WirePhoto] | tuple[str | _WirePhoto, ...]) -> tuple[FundusPhoto, ...]:
    named = [photo if isinstance(photo, _WirePhoto) else _WirePhoto(location=photo) for photo in photos if photo]
    return tuple(
        FundusPhoto(photo_id=f"{case_id}-{number}", location=photo.location, eye=photo.eye or find_eye_in_name(photo.location))
        for number, photo in enumerate(named, start=1)
    )


def _parse_partner_review(review: _WirePartnerReview, review_id: str, received_at: datetime) -> ReviewMessage:
    eyes = tuple(
        EyeReview(eye=eye, features=_split_terms(features), diseases=_split_terms(diseases))
        for eye, features, diseases in (
            (Laterality.RIGHT, review.odFundusFeatures, review.odFundusDisease),
            (Laterality.LEFT, review.osFundusFeatures, review.osFundusDisease),
        )
    )
    conclusion = "；".join(f"{one.eye.name_zh}：{'、'.join(one.diseases)}" for one in eyes if one.diseases)
    if not conclusion:
        # An empty field may mean "nothing found" or "not looked at": concluding either would be a guess.
        raise BadMessage("bad fields: osFundusDisease and odFundusDisease are both empty, so there is no conclusion")
    return ReviewMessage(
        review_id=review_id, case_id=None, external_id=review.id, conclusion=conclusion, eyes=eyes, reviewed_at=received_at
    )


def _split_terms(text: str | None) -> tuple[str, ...]:
    """Split a list written with Chinese or Latin commas."""
    return tuple(term for part in re.split(r"[,，、;；]", text or "") if (term := part.strip()))


def _validate(model: type[_Model], content: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        # Field names and kinds only: the values are a patient's.
        fields = sorted({f"{'.'.join(map(str, one['loc']))} ({one['type']})" for one in error.errors(include_input=False)})
        raise BadMessage(f"bad fields: {', '.join(fields)}") from None
