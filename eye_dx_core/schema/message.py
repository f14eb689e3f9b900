"""What comes by queue: every accepted wire format parses to the same words.

What a message lacks stays absent. Unknown fields are tolerated and counted; wrong ones are named by field and never by value.
"""

import hashlib
import json
import re
from datetime import datetime
from typing import Any, NoReturn, TypeVar, cast

from pydantic import AwareDatetime, Field, ValidationError

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
)
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.incoming import (
    Envelope,
    FlatScreening,
    FourQueueCheck,
    Incoming,
    IncomingPatient,
    IncomingPhoto,
    IncomingVision,
    NestedScreening,
    PartnerReview,
    Review,
)
from eye_dx_core.schema.review import EyeReview

MAX_BODY_BYTES = 1_000_000
ENVELOPE_SCREENING, ENVELOPE_REVIEW = "eye-dx/screening/1", "eye-dx/review/1"

_Model = TypeVar("_Model", bound=Incoming)
_ScreeningMessage = NestedScreening | FlatScreening | FourQueueCheck
_SCREENINGS: dict[WireFormat, type[_ScreeningMessage]] = {
    WireFormat.NESTED: NestedScreening,
    WireFormat.FLAT: FlatScreening,
    WireFormat.FOUR_QUEUE: FourQueueCheck,
}


class ReviewMessage(Frozen):
    """A doctor's review as it came, before it is tied to a case by `case_id` or by the sender's `external_id`."""

    review_id: str
    producer: str | None = None
    case_id: str | None
    external_id: str | None
    conclusion: str
    doctor_name: str | None = Field(default=None, repr=False)
    recommendation: str = ""
    eyes: tuple[EyeReview, ...] = ()
    reviewed_at: AwareDatetime
    unknown_fields: int = 0


def parse_screening(body: bytes, *, source_queue: str, message_id: str | None, received_at: datetime) -> Case:
    """Read a screening in any accepted format: our envelope, nested, flat, or the four-queue protocol.

    The case id follows from producer and message id, so the same message always names the same case.

    Args:
        body: the message as it came.
        source_queue: where it came from; stands in for the producer of a message that names none.
        message_id: the broker's message id, if the sender set one.
        received_at: aware time of receipt.

    Raises:
        BadMessage: not JSON, or fields are missing or wrong; the text names them.
    """
    content, envelope = _unwrap(_parse_object(body), ENVELOPE_SCREENING)
    wire = _wire_format_of(content)
    message = _validate(_SCREENINGS[wire], content)
    known_id = message_id or (envelope and envelope.message_id) or message.message_id or message.id or f"sha256:{body_sha256(body)}"
    producer = (envelope and envelope.producer) or source_queue
    case_id = _case_id(producer, known_id)
    return Case(
        case_id=case_id,
        message_id=known_id,
        source_queue=source_queue,
        producer=producer,
        wire=WireFormat.ENVELOPE if envelope else wire,
        external_id=message.id,
        body_sha256=body_sha256(body),
        received_at=received_at,
        screening=_to_screening(message, case_id),
        unknown_fields=_unknown_fields(message, envelope),
    )


def parse_review(body: bytes, *, message_id: str | None, received_at: datetime) -> ReviewMessage:
    """Read a doctor's review: ours (`final_conclusion`, `doctor_name`, `recommendation` with a case) or the partner's.

    Raises:
        BadMessage: not JSON, fields are missing or wrong, or there is no conclusion in it.
    """
    content, envelope = _unwrap(_parse_object(body), ENVELOPE_REVIEW)
    is_partners = "osFundusDisease" in content or "odFundusDisease" in content
    message = _validate(PartnerReview if is_partners else Review, content)
    head: dict[str, Any] = {
        "review_id": message_id or (envelope and envelope.message_id) or message.message_id or f"sha256:{body_sha256(body)}",
        "producer": envelope and envelope.producer,
        "external_id": message.id,
        "unknown_fields": _unknown_fields(message, envelope),
    }
    if isinstance(message, PartnerReview):
        return _to_partner_review(message, head, received_at)
    if message.case_id is None and message.id is None:
        raise BadMessage("bad fields: case_id or id must say which case was reviewed")
    return ReviewMessage(
        **head,
        case_id=message.case_id,
        conclusion=message.final_conclusion,
        doctor_name=message.doctor_name,
        recommendation=message.recommendation,
        reviewed_at=message.reviewed_at or received_at,
    )


def body_sha256(body: bytes) -> str:
    """Hash of the canonical body: JSON with sorted keys and no spaces, so that formatting makes no difference."""
    try:
        canonical = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        canonical = body
    return hashlib.sha256(canonical).hexdigest()


def _case_id(producer: str, message_id: str) -> str:
    return "case-" + hashlib.sha256(f"{producer}\n{message_id}".encode()).hexdigest()[:16]


def _unknown_fields(message: Incoming, envelope: Envelope | None) -> int:
    return message.unknown_fields + (envelope.unknown_fields if envelope else 0)


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


def _unwrap(content: dict[str, Any], schema: str) -> tuple[dict[str, Any], Envelope | None]:
    """Open our envelope; another version of it is refused by name, because guessing at it could misread a patient."""
    if "schema" not in content:
        return content, None
    if content["schema"] != schema:
        raise BadMessage(f"bad fields: schema (expected {schema})")
    if not isinstance(content.get("body"), dict) or content.get("message_id") in (None, ""):
        raise BadMessage("bad fields: the envelope needs body and message_id")
    envelope = _validate(Envelope, content)
    return envelope.body, envelope


def _wire_format_of(content: dict[str, Any]) -> WireFormat:
    if "Patient" in content:
        return WireFormat.NESTED
    if "osFundusImg" in content or "odFundusImg" in content:
        return WireFormat.FOUR_QUEUE
    if "patient_id" in content:
        return WireFormat.FLAT
    raise BadMessage("bad fields: neither Patient, patient_id nor osFundusImg/odFundusImg is there")


def _to_screening(message: _ScreeningMessage, case_id: str) -> Screening:
    if isinstance(message, FourQueueCheck):
        pairs = [(message.odFundusImg, Laterality.RIGHT), (message.osFundusImg, Laterality.LEFT)]
        return Screening(photos=_photos(case_id, [IncomingPhoto(location=img, eye=eye) for img, eye in pairs if img]))
    if isinstance(message, FlatScreening):
        return _screening_of(message, None, case_id)
    screening = _screening_of(message.Patient, message.vision_data, case_id)
    return screening.model_copy(update={"screened_at": message.screening_time, "notes": message.notes})


def _screening_of(patient: IncomingPatient, vision: IncomingVision | None, case_id: str) -> Screening:
    vision = vision or IncomingVision()
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
            right=_measurement(vision.right_eye, pressure.right),
            left=_measurement(vision.left_eye, pressure.left),
        ),
        photos=_photos(case_id, patient.photos),
    )


def _measurement(acuity: float | None, iop_mmhg: float | None) -> EyeMeasurement:
    """Five-point acuity L is 5 + log10 of the decimal one (GB/T 11533-2011); no decimal acuity reaches 4."""
    if acuity is None or acuity < 4:
        return EyeMeasurement(acuity_decimal=acuity, iop_mmhg=iop_mmhg)
    return EyeMeasurement(acuity_decimal=round(10 ** (acuity - 5), 2), acuity_five_point=acuity, iop_mmhg=iop_mmhg)


def _photos(case_id: str, photos: list[IncomingPhoto] | tuple[str | IncomingPhoto, ...]) -> tuple[FundusPhoto, ...]:
    named = [photo if isinstance(photo, IncomingPhoto) else IncomingPhoto(location=photo) for photo in photos if photo]
    return tuple(
        FundusPhoto(photo_id=f"{case_id}-{number}", location=photo.location, eye=photo.eye) for number, photo in enumerate(named, start=1)
    )


def _to_partner_review(review: PartnerReview, head: dict[str, Any], received_at: datetime) -> ReviewMessage:
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
    return ReviewMessage(**head, case_id=None, conclusion=conclusion, eyes=eyes, reviewed_at=received_at)


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
