"""Whether a photograph is fit to be read, why not, and what whoever took it should do."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from eye_dx_core.schema.frozen import Frozen


class QualityLevel(StrEnum):
    """`REJECT` is never read; `USABLE` is read, and the doctor is told what is wrong with it."""

    GOOD = "good"
    USABLE = "usable"
    REJECT = "reject"


class QualityIssue(StrEnum):
    """What is wrong with a photograph."""

    NOT_A_FUNDUS = "not_a_fundus"
    NO_DETAIL = "no_detail"
    """Nothing is to be made out: an opaque lens, or no fundus at all."""
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    FIELD_CUT = "field_cut"
    BLURRED = "blurred"
    HAZY = "hazy"
    """Pale as well as soft, as through a cloudy lens: a finding rather than a fault."""
    OBSTRUCTED = "obstructed"
    UNEVEN_LIGHT = "uneven_light"
    LOW_RESOLUTION = "low_resolution"
    COLOUR_CAST = "colour_cast"
    DUPLICATE = "duplicate"

    @property
    def hides_findings(self) -> bool:
        """Whether signs of disease may stay unseen because of it, so that nothing found does not mean normal."""
        return self not in (QualityIssue.COLOUR_CAST, QualityIssue.DUPLICATE)

    @property
    def advice_zh(self) -> str:
        """What is wrong and what to do, as the screening site reads it."""
        return _ADVICE[self][0]

    @property
    def advice_en(self) -> str:
        """The same in English."""
        return _ADVICE[self][1]


_ADVICE = {
    QualityIssue.NOT_A_FUNDUS: (
        "不是彩色眼底照片：请核对所发送的文件。",
        "Not a colour photograph of a fundus: check which file was sent.",
    ),
    QualityIssue.NO_DETAIL: (
        "未见眼底结构：请核对文件并重拍一次；仍如此则可能为严重屈光间质混浊，请转诊。",
        "Nothing of the fundus is seen: check the file and retake once; if it stays so, the media may be opaque: refer.",
    ),
    QualityIssue.TOO_DARK: (
        "照片过暗：请待瞳孔散大或提高闪光强度后重拍；仍过暗则转诊。",
        "Too dark: let the pupil widen or raise the flash and retake; refer if it stays dark.",
    ),
    QualityIssue.TOO_BRIGHT: ("照片过曝：请降低闪光强度后重拍。", "Too bright: lower the flash and take it again."),
    QualityIssue.FIELD_CUT: (
        "视野不完整：请对准瞳孔、嘱患者睁大眼睛后重拍完整眼底。",
        "Part of the field is missing: align the camera, have the eye opened wide and retake.",
    ),
    QualityIssue.BLURRED: ("照片模糊：请重新对焦后重拍；仍模糊则转诊。", "Blurred: focus again and retake; refer if it stays blurred."),
    QualityIssue.HAZY: (
        "画面混浊：请清洁镜头、重新对焦后重拍；仍混浊则可能为白内障等屈光间质混浊，请转诊。",
        "Hazy: clean the lens, focus and retake; if it stays so, the media may be cloudy, as in cataract: refer.",
    ),
    QualityIssue.OBSTRUCTED: (
        "有遮挡（睫毛或眼睑）：请嘱患者睁大眼睛后重拍。",
        "Lashes or lid in the way: have the eye opened wide and retake.",
    ),
    QualityIssue.UNEVEN_LIGHT: ("光照不均：请对准瞳孔中心后重拍。", "Unevenly lit: centre the camera on the pupil and take it again."),
    QualityIssue.LOW_RESOLUTION: ("分辨率过低：请发送相机的原图。", "Resolution too low: send the camera's original file."),
    QualityIssue.COLOUR_CAST: (
        "偏色：请检查白平衡与光源，遮挡环境光后重拍。",
        "Colour cast: check white balance and lamp, keep stray light out and retake.",
    ),
    QualityIssue.DUPLICATE: ("与本次另一张照片相同：请检查是否漏拍另一眼。", "Same picture as another of this visit: is one eye missing?"),
}


class Quality(Frozen):
    """The verdict on one photograph, with what was measured, each from 0 to 1 or in the unit its name says."""

    level: QualityLevel
    issues: tuple[QualityIssue, ...] = ()
    """Worst first; empty for a good photograph."""
    measures: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    """A measure that is no number would be under no threshold and over none: it must not pass for a good one."""

    @property
    def hides_findings(self) -> QualityIssue | None:
        """The worst issue behind which signs of disease may hide, or None: only then can nothing found mean normal."""
        return next((issue for issue in self.issues if issue.hides_findings), None)
