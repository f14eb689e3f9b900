"""What stands in every report, in Chinese and in English."""

from eye_dx_core.reporting.material import ReportStatus
from eye_dx_core.schema.picture import PictureGap

DISCLAIMER_EN = (
    "This report was made with the help of artificial intelligence and reviewed by a doctor. The AI looks at colour fundus photographs "
    "only and does not replace a complete eye examination; “not assessed” does not mean normal. What counts is the doctor's conclusion. "
    "If you feel unwell, see a doctor."
)
PRELIMINARY = (
    "本页尚未经医生签署，仅供医生审核使用，不得作为诊断依据。“未评估”不代表正常。",
    "No doctor has signed this page yet. It is for the doctor's review and must not be used as a diagnosis. "
    "“Not assessed” does not mean normal.",
)
HOW_TO_READ = (
    (
        "“未评估”表示照片没有拍到、拍得不清楚或无法判读，不代表该眼正常。",
        "“Not assessed” means that a photograph is missing or could not be read. It does not mean that the eye is normal.",
    ),
    (
        "“置信度”是 AI 对自己判读的把握，不是患病的可能性，也不表示病情轻重。",
        "“Confidence” is how sure the AI is of its own reading. It is not how likely or how severe a disease is.",
    ),
    (
        "眼底照片只能看到眼底的一部分；没有看到异常，不能排除所有眼病。",
        "A fundus photograph shows a part of the eye only. Nothing found does not rule out every disease.",
    ),
    ("AI 与医生的意见不同时，以医生结论为准。", "Where AI and doctor differ, what counts is what the doctor says."),
)
EXPLANATION = (
    "彩色照片是眼底的原貌；旁边的灰度图中，颜色从紫到黄表示 AI 作出判断时越来越看重的位置。"
    "它说明 AI 看了哪里，不等于病变的范围或轻重，颜色也不能在不同照片之间比较。",
    "The colour photograph shows the fundus as it is. In the grey picture beside it, colours from purple to yellow show the places that "
    "mattered more and more to the AI. They tell where the AI looked, not how large or severe a change is, and do not compare between "
    "photographs.",
)
GAPS = {
    PictureGap.DELETED: (
        "照片已按保存期限删除，此处不再显示。",
        "The photograph was deleted when its term was over.",
    ),
    PictureGap.UNREADABLE: ("照片文件无法读取，此处不显示。", "The file of the photograph cannot be read."),
    PictureGap.UNAVAILABLE: (
        "出具本报告时未能取得照片，此处不显示。",
        "The photograph could not be fetched for this report.",
    ),
}
STATUS = {
    ReportStatus.PRELIMINARY: ("未签署（草稿）", "Unsigned draft"), ReportStatus.FINAL: ("医生已签署", "Signed by a doctor"),
    ReportStatus.AMENDED: ("医生已签署，并有补充说明", "Signed by a doctor, with addenda"),
}  # fmt: skip
