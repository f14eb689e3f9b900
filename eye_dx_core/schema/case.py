"""One patient's visit: who, which eyes, what was measured, which photographs."""

import re
from enum import StrEnum
from pathlib import PurePosixPath

from pydantic import AwareDatetime, Field

from eye_dx_core.schema.frozen import Frozen

DELETED = "deleted"
"""Location of a photograph that is no longer kept."""


class Laterality(StrEnum):
    """Which eye, by the ophthalmic abbreviations."""

    RIGHT = "OD"
    LEFT = "OS"

    @property
    def name_zh(self) -> str:
        """The eye as a patient reads it."""
        return "右眼" if self is Laterality.RIGHT else "左眼"

    @property
    def name_en(self) -> str:
        """The eye in English."""
        return "right eye" if self is Laterality.RIGHT else "left eye"


# OI: ojo izquierdo, as Spanish-speaking clinics write it.
_EYE_WORDS: dict[str, Laterality] = {
    **dict.fromkeys(("OD", "R", "RE", "RIGHT", "右", "右眼"), Laterality.RIGHT),
    **dict.fromkeys(("OS", "OI", "L", "LE", "LEFT", "左", "左眼"), Laterality.LEFT),
}


def find_eye(word: str) -> Laterality | None:
    """The eye that one word stands for (`OD`, `left`, `右眼`), or None."""
    return _EYE_WORDS.get(word.strip().upper())


def find_eye_in_name(location: str) -> Laterality | None:
    """Read the eye from a camera-style file name (`10_left.jpeg`, `P1_20250731_OD.tiff`, `…/OS.png`).

    Returns None when the name says nothing or names both eyes: a guess here would put a finding into the wrong eye.
    """
    stem = PurePosixPath(location.replace("\\", "/")).stem.upper()
    words = re.split(r"[^0-9A-Z\u4e00-\u9fff]+|(?<=[0-9])(?=[A-Z\u4e00-\u9fff])|(?<=[A-Z\u4e00-\u9fff])(?=[0-9])", stem)
    eyes = {_EYE_WORDS[word] for word in words if word in _EYE_WORDS}
    return eyes.pop() if len(eyes) == 1 else None


class Patient(Frozen):
    """Who was screened. Name, phone and birth date stay out of reprs, so out of logs."""

    patient_id: str = Field(min_length=1, max_length=128)
    name: str | None = Field(default=None, repr=False)
    age_years: int | None = Field(default=None, ge=0, le=130)
    gender: str | None = None
    phone: str | None = Field(default=None, repr=False)
    birth_date: str | None = Field(default=None, repr=False)


class Identity(Frozen):
    """Who a patient is: what is kept in the vault, apart from everything else. All fields stay out of reprs."""

    name: str | None = Field(default=None, repr=False)
    phone: str | None = Field(default=None, repr=False)
    birth_date: str | None = Field(default=None, repr=False)


class EyeMeasurement(Frozen):
    """What was measured in the chair for one eye; None means that it was not measured."""

    acuity_decimal: float | None = Field(default=None, ge=0, lt=4)
    """Decimal, 1.0 is normal; what is more than anybody sees is kept as it came, and not used."""
    acuity_five_point: float | None = Field(default=None, ge=4, le=5.3)
    """As it was written, where it came on the five-point scale."""
    iop_mmhg: float | None = Field(default=None, ge=0, le=100)


class VisionData(Frozen):
    """Visual acuity and intraocular pressure of both eyes."""

    right: EyeMeasurement = EyeMeasurement()
    left: EyeMeasurement = EyeMeasurement()

    def of(self, eye: Laterality) -> EyeMeasurement:
        """The measurements of one eye."""
        return self.right if eye is Laterality.RIGHT else self.left


class FundusPhoto(Frozen):
    """One photograph as the message names it. `location` may hold a name or date, so it is hidden from reprs."""

    photo_id: str
    location: str = Field(repr=False, min_length=1)
    eye: Laterality | None = None
    """What the message says; file name and picture are asked when the photograph is read."""


class Screening(Frozen):
    """One visit of one patient. The four-queue protocol sends no patient: `patient` is then None."""

    patient: Patient | None = None
    vision: VisionData = VisionData()
    photos: tuple[FundusPhoto, ...] = ()
    screened_at: AwareDatetime | None = None
    notes: str = Field(default="", repr=False)


class WireFormat(StrEnum):
    """The shape in which a case reached us; it decides where and how the case is answered."""

    NESTED = "nested"
    FLAT = "flat"
    FOUR_QUEUE = "four_queue"
    ENVELOPE = "envelope"


class Case(Frozen):
    """One screening as a unit of work.

    `message_id` with `producer` identifies the message; `body_sha256` (of the canonical body) tells a repeat from
    a conflict. `external_id` is the opaque id by which the sender will speak of the case again.
    """

    case_id: str
    message_id: str
    source_queue: str
    producer: str
    """Who sent the message, as its envelope says; without that, the queue it came by."""
    wire: WireFormat
    external_id: str | None = None
    body_sha256: str
    received_at: AwareDatetime
    screening: Screening
    unknown_fields: int = Field(default=0, ge=0)
    """How many fields of the message nobody here knows."""

    @property
    def identity(self) -> Identity | None:
        """Who the patient is, as far as this message tells; None where it names no patient."""
        patient = self.screening.patient
        return Identity(name=patient.name, phone=patient.phone, birth_date=patient.birth_date) if patient else None

    def with_identity(self, identity: Identity) -> "Case":
        """The same case of a patient who is this person; a case without a patient stays as it is."""
        patient = self.screening.patient
        if patient is None:
            return self
        whole = patient.model_copy(update=dict(identity))
        return self.model_copy(update={"screening": self.screening.model_copy(update={"patient": whole})})

    def without_traces(self) -> "Case":
        """The same case without notes and without locations of photographs, where a name can stand."""
        photos = tuple(photo.model_copy(update={"location": DELETED}) for photo in self.screening.photos)
        return self.model_copy(update={"screening": self.screening.model_copy(update={"photos": photos, "notes": ""})})
