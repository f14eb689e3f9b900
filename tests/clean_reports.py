"""Reports that say only what is known, for every condition, in the template's words and as language models and doctors write."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from eye_dx_core.reporting.facts import LlmFacts, facts_of
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.reporting.template import write_by_template
from eye_dx_core.schema.case import EyeMeasurement, Laterality, VisionData
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.report import EyeFindings
from eye_dx_core.schema.review import DoctorReview, EyeReview, Ungradable, compose_conclusion
from eye_dx_core.schema.routing import Urgency
from tests.builders import a_case, a_diagnosis, a_rejected_eye, a_review, an_eye_diagnosis, routed

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT
DISEASES = tuple(code for code in LABELS if code not in ("N", "D0", "DISEASE"))
HOW_SOON = {
    Urgency.SAME_DAY: "请当天到医院眼科就诊",
    Urgency.URGENT: "请尽快到医院眼科就诊",
    Urgency.SOON: "请尽早到眼科就诊",
    Urgency.ROUTINE: "请按预约到眼科就诊",
    Urgency.EARLY_RECALL: "请按医生给出的时间提前复查",
    Urgency.RECALL: "请按医生给出的时间复查",
}


@dataclass(frozen=True)
class Clean:
    """A report that nobody should refuse, with what it is about. The two eyes differ in everything that is said of them."""

    name: str
    facts: LlmFacts
    narrative: ReportNarrative
    disease: str
    """How the text calls the disease of the right eye."""


def vision(acuity: tuple[float, float] = (0.4, 0.9), iop: tuple[float, float] = (17, 14)) -> VisionData:
    return VisionData(
        right=EyeMeasurement(acuity_decimal=acuity[0], iop_mmhg=iop[0]), left=EyeMeasurement(acuity_decimal=acuity[1], iop_mmhg=iop[1])
    )


def facts_for(diagnosis: AiDiagnosis, review: DoctorReview, measured: VisionData | None = None) -> LlmFacts:
    case = a_case()
    measured = measured or vision()
    case = case.model_copy(update={"screening": case.screening.model_copy(update={"vision": measured})})
    return facts_of(case, routed(diagnosis, measured), review)


def desk_review(*eyes: EyeReview, urgency: Urgency | None, recommendation: str) -> DoctorReview:
    words = {"eyes": eyes, "urgency": urgency, "recommendation": recommendation}
    return a_review(conclusion=compose_conclusion(eyes)).model_copy(update=words)


def label_eye(eye: Laterality, code: str, **more: tuple[str, ...]) -> EyeReview:
    grade = LABELS[code].dr_grade
    is_graded = grade is not None and code != "D0"
    return EyeReview.model_validate({"eye": eye, "labels": ("D" if is_graded else code,), "dr_grade": grade if is_graded else None, **more})


def one_eye_ill(code: str, urgency: Urgency | None) -> LlmFacts:
    """The doctor confirms what the AI says of the right eye; the left one is normal."""
    review = desk_review(label_eye(RIGHT, code), label_eye(LEFT, "N"), urgency=urgency, recommendation="3个月后复查眼底")
    return facts_for(a_diagnosis(right=code, left="N"), review)


def doctor_differs(code: str, urgency: Urgency | None) -> LlmFacts:
    """The AI says one thing of the right eye, the doctor another."""
    eyes = (EyeReview(eye=RIGHT, diseases=("高度近视",), features=("豹纹状眼底",)), label_eye(LEFT, "N"))
    return facts_for(a_diagnosis(right=code, left="N"), desk_review(*eyes, urgency=urgency, recommendation="每半年复查一次，避免剧烈运动"))


def other_eye_unread(code: str, urgency: Urgency | None) -> LlmFacts:
    """The right eye is ill and of the left one nothing can be read."""
    eyes = (label_eye(RIGHT, code), EyeReview(eye=LEFT, ungradable=Ungradable.RETAKE))
    diagnosis = a_diagnosis(right=code, left="N")
    diagnosis = diagnosis.model_copy(update={"eyes": (an_eye_diagnosis(RIGHT, code), a_rejected_eye(LEFT))})
    return facts_for(diagnosis, desk_review(*eyes, urgency=urgency, recommendation="2周内复诊，左眼重新拍片"), vision((0.5, 1.0), (19, 12)))


Texts = tuple[str, str, tuple[str, str, str, str], tuple[str, str, str, str]]
"""Opinion, advice, findings of the right eye, findings of the left eye: retina, macula, disc, vessels."""
NOT_SEPARATELY = "未单独评估。"
UNREAD = ("未评估。",) * 4


def ill_in_prose(facts: LlmFacts, name: str) -> Texts:
    soon = f"{HOW_SOON[facts.urgency]}。" if facts.urgency else ""
    opinion = (
        f"患者45岁，男性。右眼视力0.4，左眼视力0.9；右眼眼压17 mmHg，左眼眼压14 mmHg。眼底照片AI提示右眼{name}，左眼未见明显异常。"
        f"医生审核后的结论：右眼{name}；左眼未见明显异常。"
    )
    advice = f"{soon}3个月后复查眼底。日常注意用眼卫生，保证充足睡眠。如出现视力下降或眼前黑影，请及时就诊。"
    return opinion, advice, (f"医生确认：{name}。", *(NOT_SEPARATELY,) * 3), ("医生确认：未见明显异常。", *(NOT_SEPARATELY,) * 3)


def ill_with_reasons(facts: LlmFacts, name: str) -> Texts:
    soon = f"医生要求：{HOW_SOON[facts.urgency]}。" if facts.urgency else ""
    opinion = (
        f"根据双眼眼底彩色照片，医生认为右眼为{name}，左眼眼底未见异常。AI 对右眼的提示为{name}（置信度 87%），与医生的意见一致。"
        "两眼的眼压均在正常范围内。以上内容以医生结论为准。"
    )
    advice = f"{soon}建议三个月后复查眼底，复查时请携带本报告。若突然看不清或视物变形，不要等待，请立即到医院。"
    findings = (f"视网膜：医生诊断{name}，AI 亦提示{name}。", *(NOT_SEPARATELY,) * 3)
    return opinion, advice, findings, ("AI 判读未见明显异常，医生结论相同：未见异常。", *("没有单独的描述，未单独评估。",) * 3)


def ill_tersely(facts: LlmFacts, name: str) -> Texts:
    soon = f"{HOW_SOON[facts.urgency]}；" if facts.urgency else ""
    opinion = f"诊断意见：右眼{name}（医生诊断）；左眼未见明显异常（医生诊断）。"
    return opinion, f"{soon}3个月后复查。", (f"{name}（医生诊断）。", *(NOT_SEPARATELY,) * 3), (
        "未见明显异常（医生诊断）。", *(NOT_SEPARATELY,) * 3)  # fmt: skip


def ill_for_patients(facts: LlmFacts, name: str) -> Texts:
    soon = f"{HOW_SOON[facts.urgency]}，" if facts.urgency else ""
    opinion = (
        f"您的右眼经医生判断为{name}，左眼在照片上没有发现明显异常。人工智能对照片的初步判读也提示右眼{name}，最终以医生结论为准。"
        "右眼视力为0.4，左眼视力为0.9，右眼低于左眼。"
    )
    advice = f"{soon}并请在3个月后复查眼底。平时避免长时间近距离用眼，注意控制血压和血糖。如果出现眼痛、闪光感，请随时就医。"
    return (
        opinion,
        advice,
        (f"医生判断为{name}。", *("该结构未单独评估。",) * 3),
        ("医生判断为未见明显异常。", *("该结构未单独评估。",) * 3),
    )


def differing_in_prose(facts: LlmFacts, name: str) -> Texts:
    soon = f"{HOW_SOON[facts.urgency]}。" if facts.urgency else ""
    opinion = (
        f"AI 辅助判读提示右眼{name}，置信度87%，仅供参考；医生审核后未采纳该提示，诊断为右眼高度近视，左眼未见明显异常。"
        "右眼视力 0.4，左眼视力 0.9。"
    )
    advice = f"{soon}请每半年复查一次，避免剧烈运动。出现眼前闪光或黑影增多时，请及时就诊。"
    retina = f"医生所见：豹纹状眼底，高度近视。AI 提示{name}，医生未采纳。"
    return opinion, advice, (retina, *(NOT_SEPARATELY,) * 3), ("医生诊断：未见明显异常。", *(NOT_SEPARATELY,) * 3)


def differing_briefly(facts: LlmFacts, name: str) -> Texts:
    soon = f"{HOW_SOON[facts.urgency]}，" if facts.urgency else ""
    opinion = (
        f"医生结论：右眼高度近视，左眼未见明显异常。右眼的AI提示（{name}）与医生结论不一致，以医生结论为准。左眼的AI判读为未见明显异常。"
    )
    advice = f"{soon}按医生要求每半年复查一次；避免剧烈运动和外力碰撞。"
    return opinion, advice, ("豹纹状眼底（医生所见）。", "AI 证据位于黄斑区，仅供参考。", NOT_SEPARATELY, NOT_SEPARATELY), (
        "未见异常，由医生确认。", *(NOT_SEPARATELY,) * 3)  # fmt: skip


def unread_in_prose(facts: LlmFacts, name: str) -> Texts:
    soon = f"{HOW_SOON[facts.urgency]}。" if facts.urgency else ""
    opinion = (
        f"右眼：医生诊断为{name}，AI 也提示{name}。左眼：照片质量不足，未能评估，不代表正常，需要重新拍摄。"
        "右眼视力0.5，左眼视力1.0；眼压右眼19 mmHg、左眼12 mmHg。"
    )
    advice = f"{soon}请在2周内复诊，届时左眼重新拍片。如有视力突然下降，请立即就诊。"
    return opinion, advice, (f"医生诊断：{name}。", *(NOT_SEPARATELY,) * 3), UNREAD


def unread_for_patients(facts: LlmFacts, name: str) -> Texts:
    soon = f"{HOW_SOON[facts.urgency]}，" if facts.urgency else ""
    opinion = f"医生认为您的右眼是{name}。由于左眼照片无法判读，左眼的情况还不清楚，这并不等于左眼没有问题。以医生的结论为准。"
    advice = f"{soon}两周内到院复诊，并重新拍摄左眼照片。"
    return opinion, advice, (f"医生认为是{name}，AI 判读提示{name}。", *(NOT_SEPARATELY,) * 3), ("未评估，照片偏暗。", *UNREAD[1:])


def both_eyes_ill(code: str, urgency: Urgency | None) -> LlmFacts:
    """Another disease in either eye, and a raised pressure in the right one."""
    review = desk_review(label_eye(RIGHT, code), label_eye(LEFT, another(code)), urgency=urgency, recommendation="1个月后复查，注意休息")
    return facts_for(a_diagnosis(right=code, left=another(code)), review, vision((0.3, 0.7), (26, 15)))


def free_text(code: str, urgency: Urgency | None) -> LlmFacts:
    """A review as another house's system sends it: one sentence, no eyes, no urgency."""
    assert urgency is None
    conclusion = f"右眼{LABELS[code].name_zh}，左眼未见明显异常，排除视网膜裂孔"
    recommendation = "尽快到上级医院就诊，2周内复查，建议行OCT检查"
    return facts_for(
        a_diagnosis(right=code, left="N"), a_review(conclusion=conclusion).model_copy(update={"recommendation": recommendation})
    )


def another(code: str) -> str:
    """A disease of quite another kind."""
    return "RP" if code != "RP" else "C"


def two_in_prose(facts: LlmFacts, name: str) -> Texts:
    soon = f"{HOW_SOON[facts.urgency]}。" if facts.urgency else ""
    left = facts.left.diseases[0]
    opinion = (
        f"双眼均有异常。右眼：AI 提示{name}，医生予以确认；左眼：AI 提示{left}，医生予以确认。右眼眼压26 mmHg，高于左眼的15 mmHg，"
        "右眼眼压高于常用参考范围。"
    )
    advice = f"{soon}1个月后复查，注意休息。视力下降明显时请提前就诊。"
    return opinion, advice, (f"医生确认：{name}。", *(NOT_SEPARATELY,) * 3), (f"医生确认：{left}。", *(NOT_SEPARATELY,) * 3)


def two_by_a_doctor(facts: LlmFacts, name: str) -> Texts:
    soon = f"{HOW_SOON[facts.urgency]}，" if facts.urgency else ""
    left = facts.left.diseases[0]
    opinion = f"右眼诊断：{name}（AI提示相符）。左眼诊断：{left}（AI提示相符）。右眼视力0.3，左眼视力0.7。右眼眼压偏高。以医生结论为准。"
    advice = f"{soon}并在一个月后复查。请注意休息，避免熬夜。"
    return opinion, advice, (f"{name}。", *("未单独评估",) * 3), (f"{left}。", *("未单独评估",) * 3)


def free_in_prose(facts: LlmFacts, name: str) -> Texts:
    assert facts.urgency is None
    opinion = (
        f"医生结论：右眼{name}，左眼未见明显异常，已排除视网膜裂孔。AI 辅助判读提示右眼{name}，左眼未见明显异常。"
        "本报告仅依据眼底照片，不能代替完整的眼科检查。"
    )
    advice = "请尽快到上级医院就诊，2周内复查；医生建议行OCT检查，请预约。"
    return (
        opinion,
        advice,
        (f"医生结论为{name}。", *(NOT_SEPARATELY,) * 3),
        ("医生结论为未见明显异常，未见视网膜裂孔。", *(NOT_SEPARATELY,) * 3),
    )


def free_for_patients(facts: LlmFacts, name: str) -> Texts:
    assert facts.urgency is None
    opinion = f"医生看过您的眼底照片，认为右眼有{name}，左眼没有看到明显异常，也没有视网膜裂孔。人工智能的提示与医生一致。"
    advice = "请您尽快去上级医院就诊，并在两周内复查。医生建议做OCT检查。若出现眼痛、视力下降，请立即就诊。"
    return opinion, advice, (f"医生认为有{name}。", *(NOT_SEPARATELY,) * 3), ("医生认为没有明显异常。", *(NOT_SEPARATELY,) * 3)


SCENES: dict[str, tuple[Callable[[str, Urgency | None], LlmFacts], tuple[Callable[[LlmFacts, str], Texts], ...]]] = {
    "one eye ill": (one_eye_ill, (ill_in_prose, ill_with_reasons, ill_tersely, ill_for_patients)),
    "doctor differs": (doctor_differs, (differing_in_prose, differing_briefly)),
    "both eyes ill": (both_eyes_ill, (two_in_prose, two_by_a_doctor)),
    "free text": (free_text, (free_in_prose, free_for_patients)),
    "other eye unread": (other_eye_unread, (unread_in_prose, unread_for_patients)),
}


def clean_reports() -> Iterator[Clean]:
    """Template and prose of every scene, for every disease, with each urgency in turn."""
    for scene, (build, styles) in SCENES.items():
        urgencies: list[Urgency | None] = [None] if build is free_text else [None, *Urgency]
        for number, code in enumerate(DISEASES):
            disease = LABELS[code].name_zh
            facts = build(code, urgencies[number % len(urgencies)])
            yield Clean(f"{scene}/{code}/template", facts, write_by_template(facts), disease)
            for style, write in enumerate(styles, start=1):
                facts = build(code, urgencies[(number + style) % len(urgencies)])
                yield Clean(f"{scene}/{code}/{write.__name__}", facts, narrative_of(write(facts, disease)), disease)


def narrative_of(texts: Texts) -> ReportNarrative:
    opinion, advice, right, left = texts
    names = ("retina", "macula", "optic_disc", "vessels")
    findings = tuple(EyeFindings(eye=eye, **dict(zip(names, said, strict=True))) for eye, said in ((RIGHT, right), (LEFT, left)))
    return ReportNarrative(findings=findings, opinion=opinion, advice=advice)
