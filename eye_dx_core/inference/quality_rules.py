"""The thresholds of the quality gate: shipped beside the code, changed by a file, and other ones for a camera where it needs them."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from eye_dx_core.errors import BadSettings
from eye_dx_core.rule_file import read_rule_file
from eye_dx_core.schema.frozen import Frozen

_SETTING = "EYE_DX_QUALITY_FILE"
_SHIPPED = Path(__file__).with_name("quality.yaml")


class Floor(Frozen, extra="forbid"):
    """What lies below is flagged, and far below rejected."""

    flag_below: float = Field(ge=0)
    reject_below: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _is_in_order(self) -> "Floor":
        if self.reject_below > self.flag_below:
            raise ValueError("reject_below is above flag_below")
        return self


class Ceiling(Frozen, extra="forbid"):
    """What lies above is flagged, and far above rejected; without `reject_above` never rejected."""

    flag_above: float = Field(ge=0)
    reject_above: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _is_in_order(self) -> "Ceiling":
        if self.reject_above is not None and self.reject_above < self.flag_above:
            raise ValueError("reject_above is below flag_above")
        return self


class FundusRules(Frozen, extra="forbid"):
    """What every colour photograph of a fundus has."""

    colour_at_least: float = Field(ge=0)
    fundus_hue_at_least: float = Field(ge=0)
    bluish_at_most: float = Field(ge=0)
    texture_at_most: float = Field(ge=0)
    rim_at_least: float = Field(ge=0)
    without_rim: "WithoutRim"


class WithoutRim(Frozen, extra="forbid"):
    """What a photograph must have besides if no edge of a field is seen, as in one that was cropped."""

    fundus_hue_at_least: float = Field(ge=0)
    warmth_at_least: float = Field(ge=0)
    texture_at_most: float = Field(ge=0)
    vessels_at_least: float = Field(ge=0)


class QualityRules(Frozen, extra="forbid"):
    """Thresholds on `Measures` for one kind of camera; what each means and where it comes from stands in quality.yaml."""

    brightness: Floor
    glare: Ceiling
    clipped: Ceiling
    evenness: Floor
    sharpness: Floor
    vessels: Floor
    haze_contrast: float = Field(ge=0)
    lit: Floor
    framed: Floor
    obstruction: Ceiling
    pixels_across: Floor
    fundus_hue: Floor
    fundus: FundusRules


class RuleBook(Frozen):
    """Rules by camera, and those for every other one."""

    default: QualityRules
    cameras: dict[str, QualityRules] = {}

    def get_rules(self, camera: str | None) -> QualityRules:
        """The rules for a camera by the make and model that it writes into its files; the default for one that is not listed."""
        return self.cameras.get(_camera_key(camera), self.default) if camera else self.default


class _RuleFile(BaseModel, extra="forbid"):
    """A file of rules: each section says only what differs from what it stands on."""

    default: dict[str, Any] = {}
    cameras: dict[str, dict[str, Any] | None] = {}


@lru_cache(maxsize=4)
def load_rules(path: Path | None = None) -> RuleBook:
    """The shipped rules, with what a file changes of them. A section for a camera stands on the file's default section.

    Raises:
        BadSettings: the file cannot be opened, is no YAML, or holds a key or value that makes no sense; the text names the key.
    """
    shipped = _read(_SHIPPED)
    changes = _read(path) if path else _RuleFile()
    default = _merge(shipped.default, changes.default)
    cameras = {_camera_key(name): section or {} for name, section in (shipped.cameras | changes.cameras).items()}
    return RuleBook(
        default=_check(default, "default"),
        cameras={name: _check(_merge(default, section), f"cameras.{name}") for name, section in cameras.items()},
    )


def _camera_key(camera: str) -> str:
    return " ".join(camera.casefold().split())


def _read(path: Path) -> _RuleFile:
    content = read_rule_file(path, setting=_SETTING)
    try:
        return _RuleFile.model_validate(content or {})
    except ValidationError as error:
        raise _named(error) from None


def _check(section: dict[str, Any], where: str) -> QualityRules:
    try:
        return QualityRules.model_validate(section)
    except ValidationError as error:
        raise _named(error, where) from None


def _named(error: ValidationError, *where: str) -> BadSettings:
    wrong = "; ".join(f"{'.'.join(map(str, (*where, *one['loc']))) or 'the file'}: {one['msg']}" for one in error.errors())
    return BadSettings(f"{_SETTING}: {wrong}")


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, section by section, down to the single values."""
    merged = dict(base)
    for key, value in changes.items():
        below = base.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
