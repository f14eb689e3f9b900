"""The model's word: on a photo, on an eye, on a case."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, model_validator

from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABELS, NOT_ASSESSED_EN, NOT_ASSESSED_ZH, UNCERTAIN_EN, UNCERTAIN_ZH, Label
from eye_dx_core.schema.engine import EngineName
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.quality import Quality
from eye_dx_core.schema.routing import Routing


class Outcome(StrEnum):
    """Whether a reading gave a conclusion. `NOT_ASSESSED` and `UNCERTAIN` never mean normal."""

    ASSESSED = "assessed"
    UNCERTAIN = "uncertain"
    NOT_ASSESSED = "not_assessed"


class Zone(StrEnum):
    """Where on the fundus, relative to disc and fovea."""

    MACULA = "macula"
    DISC = "disc"
    SUPERIOR_TEMPORAL = "superior_temporal"
    INFERIOR_TEMPORAL = "inferior_temporal"
    NASAL = "nasal"
    PERIPHERY = "periphery"

    @property
    def name_zh(self) -> str:
        """The zone as it stands in a Chinese report."""
        return _ZONES_ZH[self]

    @property
    def name_en(self) -> str:
        """The zone in English. Of the periphery, a photograph shows what lies at the edge of its field."""
        return self.value.replace("_", " ")


_ZONES_ZH = {
    Zone.MACULA: "黄斑区", Zone.DISC: "视盘区", Zone.SUPERIOR_TEMPORAL: "颞上象限",
    Zone.INFERIOR_TEMPORAL: "颞下象限", Zone.NASAL: "鼻侧", Zone.PERIPHERY: "视网膜周边",
}  # fmt: skip


class AbnormalArea(Frozen):
    """A zone that carried the conclusion; `strength` is its share of the evidence, 0 to 1."""

    zone: Zone
    strength: float = Field(ge=0, le=1)


class _Reading(Frozen):
    """What photo, eye and case readings have in common."""

    outcome: Outcome
    conclusion: str | None = None
    """A label code of the checkpoint's label set; None unless the outcome is `assessed`."""
    confidence: float | None = Field(default=None, ge=0, le=1)
    abnormal_areas: tuple[AbnormalArea, ...] = ()

    @property
    def label(self) -> Label | None:
        """The label behind the conclusion."""
        return LABELS[self.conclusion] if self.conclusion is not None else None

    @property
    def conclusion_zh(self) -> str:
        """The conclusion in words; says openly when there is none."""
        return self.label.name_zh if self.label else {Outcome.UNCERTAIN: UNCERTAIN_ZH}.get(self.outcome, NOT_ASSESSED_ZH)

    @property
    def conclusion_en(self) -> str:
        """The conclusion in English."""
        return self.label.name_en if self.label else {Outcome.UNCERTAIN: UNCERTAIN_EN}.get(self.outcome, NOT_ASSESSED_EN)


class EyeClaimSource(StrEnum):
    """Who says which eye a photograph shows."""

    MESSAGE = "message"
    FILE_NAME = "file_name"
    DICOM = "dicom"
    PICTURE = "picture"


class EyeClaim(Frozen):
    """One source's word on which eye a photograph shows; `strength` from 0 to 1, 1 for what somebody wrote down."""

    source: EyeClaimSource
    eye: Laterality
    strength: float = Field(default=1.0, ge=0, le=1)


class EvidenceMap(Frozen):
    """Where in the field of view a conclusion was seen: weights 0 to 255, row by row over the square around the field."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    weights: tuple[Annotated[int, Field(ge=0, le=255)], ...]
    """0 also stands for all that lies outside the field; 255 is the strongest place of this photograph, not of all."""
    deletion_score: float
    """By how much more the conclusion's logit fell when the strongest fifth of the field was hidden than when chance chose."""

    @model_validator(mode="after")
    def _fills_its_grid(self) -> Self:
        if len(self.weights) != self.rows * self.columns:
            raise ValueError("an evidence map has one weight per place")
        return self


class PhotoPrediction(_Reading):
    """The model's word on one photo. `reason` is a code that says why a photo was not assessed or is uncertain."""

    photo_id: str
    eye: Laterality | None = None
    eye_claims: tuple[EyeClaim, ...] = ()
    """All that was said of which eye it is, also where it disagrees."""
    probabilities: dict[str, float] = {}
    answer_set: tuple[str, ...] = ()
    """Label codes that cannot be ruled out, by the card's thresholds; likeliest first."""
    quality: Quality | None = None
    camera: str | None = None
    """Make and model, as the camera wrote them into the file."""
    evidence: EvidenceMap | None = None
    distance: float | None = Field(default=None, ge=0)
    """How unlike the training photographs it is: 1 is where the farthest hundredth of photographs that were held out begins.
    None where it was not read, or the checkpoint does not know."""
    notes: tuple[str, ...] = ()
    """Codes of what was done to the file before it could be read."""
    reason: str | None = None


class EyeDiagnosis(_Reading):
    """The model's word on one eye: the worst finding of its photos. `eye` is None when nothing says which eye it is.

    An eye that nobody photographed, or of which that is not known, has no photos and is not assessed.
    """

    eye: Laterality | None
    photos: tuple[PhotoPrediction, ...]
    reason: str | None = None
    routing: Routing | None = None
    """None for what was read before there were rules."""


class AiDiagnosis(_Reading):
    """The model's word on a case: the worst finding of its eyes, with the model version that said it."""

    case_id: str
    model_name: str
    model_version: str
    checkpoint_sha256: str
    engine: EngineName | None = None
    """What computed it; None in diagnoses from before this was kept."""
    diagnosed_at: AwareDatetime
    eyes: tuple[EyeDiagnosis, ...]
    routing: Routing | None = None
    """None for what was read before there were rules."""

    def find_eye(self, eye: Laterality) -> EyeDiagnosis | None:
        """The diagnosis of one eye, or None where nothing is said of it."""
        return next((one for one in self.eyes if one.eye is eye), None)
