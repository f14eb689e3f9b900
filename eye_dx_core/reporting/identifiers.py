"""Who a case is about, and how every trace of it is taken out of a text."""

import re
import unicodedata
from collections.abc import Iterable

from eye_dx_core.schema.case import Case, Patient
from eye_dx_core.schema.review import DoctorReview

HIDDEN = "［已隐去］"

_PERSONAL = re.compile(
    r"(?<!\d)(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d)"  # mainland mobile
    r"|(?<!\d)0\d{2,3}-\d{7,8}(?!\d)"  # landline
    r"|(?<!\d)[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\d)"  # identity card
    r"|[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
)

# Characters of folders' names such as 眼底照片, 白内障, 患者 or 门诊上传, which doctors write too; names of persons rarely have them.
_NO_NAME = re.compile("[眼底斑视障病变盘膜照片图像检查筛右左常医院室诊期号批组患者数据传件夹度]")


def identifiers_of(case: Case, review: DoctorReview) -> tuple[re.Pattern[str], ...]:
    """Patterns for everything that names this patient, this case or this doctor."""
    patient = case.screening.patient or Patient(patient_id=case.case_id)
    photos = case.screening.photos
    known = [patient.name, patient.phone, patient.patient_id, review.doctor_name, case.case_id, case.message_id, case.external_id]
    names = [*known, review.review_id, *(photo.location for photo in photos), *(_file_name(photo.location) for photo in photos)]
    names += [name for photo in photos for name in _names_in(photo.location)]
    wanted = sorted({normalise(name) for name in names if name and len(name) > 1}, key=len, reverse=True)
    birth = [_date_pattern(patient.birth_date)] if patient.birth_date else []
    return tuple(re.compile(_whole_word(name), re.IGNORECASE) for name in wanted) + tuple(birth)


def scrub(text: str, identifiers: Iterable[re.Pattern[str]]) -> str:
    """The text with identifiers, phone and identity numbers and e-mail addresses hidden; digits and letters come out half-width."""
    text = normalise(text)
    for pattern in (*identifiers, _PERSONAL):
        text = pattern.sub(HIDDEN, text)
    return text


def has_identifier(text: str, identifiers: Iterable[re.Pattern[str]] = ()) -> bool:
    """Whether `scrub` would hide something."""
    text = normalise(text)
    return any(pattern.search(text) for pattern in (*identifiers, _PERSONAL))


def normalise(text: str) -> str:
    """Half-width digits, letters and address signs, no invisible characters; Chinese punctuation stays as it is."""
    return _UNUSUAL.sub(_normal_character, unicodedata.normalize("NFC", text))


# Everything but Chinese characters, printable ASCII and the commonest Chinese punctuation.
_UNUSUAL = re.compile(r"[^\u4e00-\u9fff\x0a\x20-\x7e，。；：、（）]")


def _normal_character(match: re.Match[str]) -> str:
    character = match.group()
    if unicodedata.category(character) == "Cf":
        return ""
    normal = unicodedata.normalize("NFKC", character)
    return normal if normal.isalnum() or normal in "@._-+%" else character


def _file_name(location: str) -> str | None:
    """The bare file name; a short one such as `OD.jpg` names nobody, and hiding it would hide the eye."""
    name = re.split(r"[\\/]", location)[-1]
    return name if len(name) > len("left.jpeg") else None


def _names_in(location: str) -> list[str]:
    """Chinese words of a path that may be the patient's name: the four-queue protocol tells no other."""
    words = re.findall(r"(?<![\u4e00-\u9fff])[\u4e00-\u9fff]{2,4}(?![\u4e00-\u9fff])", location)
    return [word for word in words if not _NO_NAME.search(word)]


def _whole_word(name: str) -> str:
    """Latin names and numbers match as whole words only: patient 3 must not take the 3 out of "3 个月"."""
    if re.fullmatch(r"\d{1,3}", name):
        return r"(?!)"
    start = r"(?<![0-9A-Za-z])" if name[0].isascii() and name[0].isalnum() else ""
    end = r"(?![0-9A-Za-z])" if name[-1].isascii() and name[-1].isalnum() else ""
    return start + re.escape(name) + end


def _date_pattern(date: str) -> re.Pattern[str]:
    """A birth date however it is written: 1980-01-02, 1980年1月2日, 19800102."""
    compact = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", normalise(date).strip())
    parts = list(compact.groups()) if compact else re.findall(r"\d+", normalise(date))[:3]
    if len(parts) < 3:
        return re.compile(re.escape(normalise(date)))
    return re.compile(r"(?<!\d)" + r"[^\d，。；]{0,2}".join(f"0?{int(part)}" for part in parts) + r"日?(?!\d)")
