"""How the AI's reading stands on the wire: photographs, eyes, and the patient with the urgency that is proposed."""

from enum import StrEnum

from pydantic import ConfigDict, Field

from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import EyeClaimSource, Outcome, Zone
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.quality import QualityIssue, QualityLevel
from eye_dx_core.schema.routing import Routing, Urgency


class Outgoing(Frozen):
    """What we send. Within a version fields may be added, so receivers should pass over those they do not know."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    def to_body(self) -> bytes:
        """The message as it travels: JSON in UTF-8."""
        return self.model_dump_json(by_alias=True).encode()


class Reading(Outgoing):
    """The AI's word on a patient or on one eye."""

    outcome: Outcome
    """Whether there is a conclusion; `not_assessed` and `uncertain` never mean healthy."""
    conclusion: str
    """The conclusion in Chinese; says openly when there is none."""
    conclusion_code: str | None
    """Label code (A, C, CSC, D, D0–D4, G, N, RP, RVO, BRVO, CRVO, DISEASE); null unless the outcome is `assessed`."""
    confidence: float | None = Field(ge=0, le=1)
    """Calibrated probability of the conclusion, 0 to 1; null where nothing was assessed."""
    abnormal_areas: tuple[str, ...]
    """Zones of the fundus that carried the conclusion, in Chinese, by the model's own evidence."""


class EvidenceArea(Outgoing):
    """A zone of the fundus that carried the conclusion."""

    zone: Zone
    """Where, relative to disc and fovea."""
    name_zh: str
    """The zone in Chinese."""
    strength: float = Field(ge=0, le=1)
    """Its share of the evidence, 0 to 1."""


class QualityRemark(Outgoing):
    """Something that is wrong with a photograph."""

    code: QualityIssue
    """What is wrong."""
    advice_zh: str
    """What is wrong and what to do, in Chinese, for whoever takes the photograph."""
    advice_en: str
    """The same in English."""


class PhotoQuality(Outgoing):
    """Whether a photograph is fit to be read."""

    level: QualityLevel
    """A `reject` is not read; a `usable` one is, and the doctor is told what is wrong with it."""
    issues: tuple[QualityRemark, ...]
    """What is wrong, the worst first; empty for a good photograph."""


class EyeSaid(Outgoing):
    """Who says which eye a photograph shows."""

    source: EyeClaimSource
    """The message, the file's name, a DICOM tag, or the picture itself."""
    eye: Laterality
    """Which eye it says."""
    strength: float = Field(ge=0, le=1)
    """How sure it is, 0 to 1; 1 for what somebody wrote down."""


class PhotoReading(Outgoing):
    """What became of one photograph, in the order of the request."""

    outcome: Outcome
    """Whether it led to a conclusion."""
    reason: str | None
    """Code that says why it was not assessed or is uncertain."""
    quality: PhotoQuality | None
    """Null where the file could not be opened."""
    eye_claims: tuple[EyeSaid, ...]
    """Everyone who says which eye it is, also where they disagree."""
    is_eye_disputed: bool
    """Whether they disagree so that no conclusion is drawn and a doctor must say which eye it is."""


class EyeReading(Reading):
    """The AI's word on one eye: the worst finding of its photographs."""

    eye: Laterality | None
    """OD = right eye, OS = left eye, null when nothing says which eye was photographed."""
    reason: str | None
    """Code that says why the eye was not assessed or is uncertain."""
    dr_grade: int | None = Field(ge=0, le=4)
    """Grade on the ICDR scale, 0 none to 4 proliferative; null where the model does not grade or the conclusion is something else."""
    areas: tuple[EvidenceArea, ...]
    """The zones of `abnormal_areas` with their codes and strengths, the strongest first."""
    answer_set: tuple[str, ...]
    """Label codes that cannot be ruled out; more than one says that the model hesitates."""
    urgency: Urgency | None
    """How soon this eye should be seen, as the AI proposes; `routing` has the reasons. Null for what was read before there were rules."""
    within_days: int | None
    """The same in days; 0 is the same day."""
    photos: tuple[PhotoReading, ...]
    """What became of each of its photographs."""


class ModelReference(Outgoing):
    """Which model spoke."""

    name: str
    """Registered name."""
    version: str
    """Registered version."""
    sha256: str
    """Hash of the checkpoint's weights, hexadecimal."""


class RoutingStatus(StrEnum):
    """Whether a doctor has spoken; until then, and against the doctor's word ever, the AI's urgency is a proposal."""

    PROPOSED = "proposed"
    REVIEWED = "reviewed"


class DiagnosisSummary(Reading):
    """The AI's word on a patient: the worst finding of the eyes, then each eye."""

    model: ModelReference
    """The model that read the photographs."""
    eyes: tuple[EyeReading, ...]
    """Both eyes, also one that has no photograph; then the photographs of which nobody knows the eye. Empty without photographs."""
    routing: Routing | None
    """How soon the AI proposes that the patient is seen, as the most urgent eye or measurement wants. Null for what was read before."""
    routing_status: RoutingStatus
    """`proposed`: no doctor has confirmed it. `reviewed`: a doctor has concluded, and what the doctor recommends counts."""
    routing_note_zh: str
    """What must stand beside the urgency wherever it is shown, in Chinese."""
