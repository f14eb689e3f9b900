"""Whether a photograph is fit to be read, why not, and what whoever took it should do."""

from enum import StrEnum

from eye_dx_core.schema.frozen import Frozen


class QualityLevel(StrEnum):
    """`REJECT` is never read; `USABLE` is read, and the doctor is told what is wrong with it."""

    GOOD = "good"
    USABLE = "usable"
    REJECT = "reject"


class QualityIssue(StrEnum):
    """What is wrong with a photograph."""

    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    UNEVEN_LIGHT = "uneven_light"
    BLURRED = "blurred"
    HAZY = "hazy"
    LOW_CONTRAST = "low_contrast"
    FIELD_CUT = "field_cut"
    OBSTRUCTED = "obstructed"
    LOW_RESOLUTION = "low_resolution"
    NOT_A_FUNDUS = "not_a_fundus"
    DUPLICATE = "duplicate"

    @property
    def advice_zh(self) -> str:
        """What is wrong and what to do, as the screening site reads it."""
        return _ADVICE[self][0]

    @property
    def advice_en(self) -> str:
        """The same in English."""
        return _ADVICE[self][1]


_ADVICE = {
    QualityIssue.TOO_DARK: ("照片过暗：请提高闪光强度，待瞳孔散大后重拍。", "Too dark: raise the flash, let the pupil widen, retake."),
    QualityIssue.TOO_BRIGHT: ("照片过曝：请降低闪光强度后重拍。", "Too bright: lower the flash and take it again."),
    QualityIssue.UNEVEN_LIGHT: ("光照不均：请对准瞳孔中心后重拍。", "Unevenly lit: centre the camera on the pupil and take it again."),
    QualityIssue.BLURRED: ("照片模糊：请重新对焦后重拍；仍模糊则转诊。", "Blurred: focus again and retake; refer if it stays blurred."),
    QualityIssue.HAZY: ("画面混浊：可能为屈光间质混浊，请医生检查。", "Hazy: the lens or vitreous may be cloudy; have a doctor look."),
    QualityIssue.LOW_CONTRAST: ("对比度低：请清洁镜头后重拍。", "Low contrast: clean the lens and take it again."),
    QualityIssue.FIELD_CUT: ("视野不完整：请对准后重拍完整眼底。", "Part of the field is missing: align the camera and take it again."),
    QualityIssue.OBSTRUCTED: ("有遮挡（睫毛或眼睑）：请睁大眼睛后重拍。", "Lashes or lid in the way: open the eye wide and retake."),
    QualityIssue.LOW_RESOLUTION: ("分辨率过低：请发送相机的原图。", "Resolution too low: send the camera's original file."),
    QualityIssue.NOT_A_FUNDUS: ("不是眼底照片：请检查发送的文件。", "Not a fundus photograph: check which file was sent."),
    QualityIssue.DUPLICATE: ("与本次另一张照片相同：请检查是否漏拍另一眼。", "Same picture as another of this visit: is one eye missing?"),
}  # fmt: skip


class Quality(Frozen):
    """The verdict on one photograph, with what was measured, each from 0 to 1 or in the unit its name says."""

    level: QualityLevel
    issues: tuple[QualityIssue, ...] = ()
    """Worst first; empty for a good photograph."""
    measures: dict[str, float] = {}
