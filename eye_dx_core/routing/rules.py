"""The rules by which urgency is proposed: their shape, and how they are read from a file."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator, model_validator

from eye_dx_core.errors import BadSettings
from eye_dx_core.rule_file import read_rule_file
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.routing import RoutingReason, Subject, Urgency

_SETTING = "EYE_DX_ROUTING_FILE"
_SHIPPED = Path(__file__).with_name("rules.yaml")
_Text = Annotated[str, Field(min_length=1)]


class Rule(Frozen):
    """What follows from a finding: how soon, under which code, in which words, and on whose authority."""

    urgency: Urgency
    within_days: int
    icd10: str | None = Field(pattern=r"^[A-Z]\d\d(\.\d)?$")
    zh: _Text
    en: _Text
    source: _Text

    @model_validator(mode="after")
    def _interval_fits_the_urgency(self) -> "Rule":
        fewest, most = self.urgency.days
        if not fewest <= self.within_days <= most:
            raise ValueError(f"within_days must be from {fewest} to {most} where the urgency is {self.urgency}")
        return self

    def as_reason(self, rule_id: str, *, subject: Subject, eye: Laterality | None, zh: str, en: str) -> RoutingReason:
        """The rule as the reason that it gives where it applies; `zh` and `en` say what made it apply."""
        return RoutingReason(
            rule=rule_id,
            subject=subject,
            eye=eye,
            urgency=self.urgency,
            within_days=self.within_days,
            icd10=self.icd10,
            zh=zh + self.zh,
            en=f"{en} {self.en}",
            source=self.source,
        )


class FromPressure(Rule):
    """Applies to a pressure of so much and more."""

    from_mmhg: float = Field(ge=0)


class AbovePressure(Rule):
    """Applies to a pressure of more than so much."""

    above_mmhg: float = Field(ge=0)


class Asymmetry(Rule):
    """Applies where the pressures of the two eyes lie so far apart, or farther."""

    difference_from_mmhg: float = Field(ge=0)


class Implausible(Rule):
    """Applies to a value outside a range, in mmHg or as decimal acuity; such a value is not used."""

    plausible: tuple[float, float]

    @model_validator(mode="after")
    def _range_holds_something(self) -> "Implausible":
        if self.plausible[0] >= self.plausible[1]:
            raise ValueError("plausible must be the least and the greatest value")
        return self

    def is_plausible(self, value: float) -> bool:
        """Whether the value can be right; the ends of the range can."""
        return self.plausible[0] <= value <= self.plausible[1]


class ReadingRules(Frozen):
    """What follows from what could not be read."""

    not_assessed: Rule
    missing_eye: Rule
    uncertain: Rule


class MeasurementRules(Frozen):
    """What follows from what was measured in the chair."""

    iop_same_day: FromPressure
    iop_urgent: FromPressure
    iop_high: AbovePressure
    iop_asymmetry: Asymmetry
    iop_implausible: Implausible
    acuity_implausible: Implausible


class RoutingRules(Frozen):
    """All rules; `signed_by` is the clinical owner who answers for them, None while nobody does."""

    signed_by: _Text | None
    labels: dict[str, Rule]
    reading: ReadingRules
    measurements: MeasurementRules

    @field_validator("labels")
    @classmethod
    def _every_label_has_a_rule(cls, labels: dict[str, Rule]) -> dict[str, Rule]:
        missing, unknown = sorted(LABELS.keys() - labels.keys()), sorted(labels.keys() - LABELS.keys())
        if missing or unknown:
            raise ValueError("; ".join([f"no rule for {one}" for one in missing] + [f"{one} is no label" for one in unknown]))
        return labels


@lru_cache(maxsize=1)
def shipped_rules() -> RoutingRules:
    """The rules that come with the project, which nobody has signed."""
    return load_rules(_SHIPPED)


def load_rules(path: Path) -> RoutingRules:
    """Read rules from a YAML file.

    Raises:
        BadSettings: the file cannot be read, or a key in it is missing, unknown, written twice or wrong; the text names the key.
    """
    try:
        return RoutingRules.model_validate(read_rule_file(path, setting=_SETTING))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()
        )
        raise BadSettings(f"{_SETTING}: {wrong}") from None
