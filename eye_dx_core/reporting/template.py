"""Writes a report without a language model, from the facts alone. Nothing is called normal that nobody looked at."""

from eye_dx_core.reporting.facts import EyeFacts, LlmFacts
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.schema.condition import LABELS, Condition
from eye_dx_core.schema.diagnosis import Outcome
from eye_dx_core.schema.report import EyeFindings

TEMPLATE_WRITER = "template/1"

_NOT_ASSESSED = "未评估。"
# Where each condition shows itself; a structure that the finding says nothing about stays undescribed.
_SHOWS_IN = {
    Condition.AMD: "macula", Condition.CSC: "macula", Condition.GLAUCOMA: "optic_disc", Condition.RVO: "vessels",
    Condition.DR: "retina", Condition.RP: "retina", Condition.CATARACT: "retina", Condition.DISEASE: "retina",
}  # fmt: skip
_STRUCTURES = ("retina", "macula", "optic_disc", "vessels")
_HIGH_PRESSURE_MMHG = 21


def write_by_template(facts: LlmFacts) -> ReportNarrative:
    """Findings per eye from the AI's reading and the doctor's features, an opinion that names both, and general advice."""
    return ReportNarrative(
        findings=tuple(_findings(one) for one in facts.eyes),
        opinion=f"AI 辅助判读：{_ai_summary(facts)}。医生复核结论：{facts.doctor_conclusion}。以医生结论为准。",
        advice=_advice(facts),
    )


def _findings(eye: EyeFacts) -> EyeFindings:
    texts = dict.fromkeys(_STRUCTURES, "未作单独描述。")
    if eye.outcome is Outcome.NOT_ASSESSED:
        texts = dict.fromkeys(_STRUCTURES, _NOT_ASSESSED)
    elif eye.outcome is Outcome.UNCERTAIN:
        texts["retina"] = "AI 判读不确定，需结合医生判读。"
    elif eye.ai_finding_code is not None:
        label = LABELS[eye.ai_finding_code]
        if label.is_normal:
            texts["retina"] = f"AI 判读{label.name_zh}。"
        else:
            where = f"，依据主要位于{'、'.join(eye.abnormal_areas)}" if eye.abnormal_areas else "，未能定位到具体区域"
            texts[_SHOWS_IN[label.condition]] = f"AI 提示{label.name_zh}征象{where}。"
    if eye.doctor_features:
        seen = "" if texts["retina"] in (_NOT_ASSESSED, "未作单独描述。") else texts["retina"]
        texts["retina"] = f"{seen}医生所见：{'、'.join(eye.doctor_features)}。"
    return EyeFindings(eye=eye.eye, **texts)


def _ai_summary(facts: LlmFacts) -> str:
    return "；".join(f"{one.eye.name_zh}{one.ai_conclusion}" for one in facts.eyes)


def _advice(facts: LlmFacts) -> str:
    sentences = [f"请遵医嘱：{facts.doctor_recommendation}。" if facts.doctor_recommendation else "请按医生的安排就诊或复查。"]
    sentences += [
        f"{one.eye.name_zh}眼压 {one.iop_mmhg:g} mmHg，高于 {_HIGH_PRESSURE_MMHG} mmHg，请告知医生并复测。"
        for one in facts.eyes
        if one.iop_mmhg is not None and one.iop_mmhg > _HIGH_PRESSURE_MMHG
    ]
    unread = [one.eye.name_zh for one in facts.eyes if one.outcome is Outcome.NOT_ASSESSED]
    if unread:
        sentences.append(f"{'、'.join(unread)}的照片未能评估，建议重新拍摄或到眼科门诊检查。")
    sentences.append("如出现视力突然下降、眼前黑影增多或闪光感，请立即就医。")
    return "".join(sentences).replace("。。", "。")
