"""The rules of what a report may say: their codes, which of the ten checks they belong to, and what a breach of one looks like."""

from typing import NamedTuple

from eye_dx_core.schema.frozen import Frozen


class Rule(NamedTuple):
    """One rule. `check` is its place in the order of the checks."""

    code: str
    check: int
    name_zh: str
    name_en: str


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule("shape", 1, "结构不符", "not one text per structure and eye"),
        Rule("language", 1, "非中文书写", "not written in Chinese"),
        Rule("length", 1, "长度不符", "too short or too long"),
        Rule("markup", 1, "网址或标记", "an address or markup"),
        Rule("echo", 2, "复述不符", "conclusion, urgency or claims are not those of the facts"),
        Rule("unknown_finding", 3, "资料中没有的所见", "a finding that nobody stated"),
        Rule("polarity", 3, "肯定、否定或来源不符", "denied, suspected or attributed otherwise than in the facts"),
        Rule("severity", 3, "程度不符", "a degree that nobody stated"),
        Rule("invented_normal", 3, "无依据的正常", "called normal without a word behind it"),
        Rule("assessment", 3, "未评估未说明", "an unread eye passed over, or a read one called unread"),
        Rule("omission", 3, "遗漏医生结论", "the doctor's conclusion passed over"),
        Rule("agreement", 3, "AI 与医生是否一致不符", "AI and doctor said to agree, or to differ, where they do not"),
        Rule("says_nothing", 3, "没有内容", "a structure of which nothing is said"),
        Rule("side", 4, "眼别不符", "the wrong eye"),
        Rule("area", 4, "部位不符", "a place that the evidence does not show"),
        Rule("number", 5, "数字不符", "a number or a date that is not in the facts"),
        Rule("urgency", 6, "紧急程度减弱", "less urgent than the doctor wants"),
        Rule("false_comfort", 6, "削弱随访", "talks the patient out of coming back"),
        Rule("unperformed_exam", 7, "没有做过的检查", "an examination that nobody did"),
        Rule("treatment", 8, "药物或治疗", "a drug, a dose or a treatment that the doctor did not write"),
        Rule("certainty", 8, "绝对化用语", "certainty or a promise"),
        Rule("course", 8, "无依据的病情变化", "a course of the disease that nobody stated"),
        Rule("identifier", 9, "身份信息", "an identifier"),
        Rule("placeholder", 9, "占位符", "a placeholder"),
        Rule("leak", 10, "泄露指令或备注", "quotes its instructions or the notes"),
    )
}


class Violation(Frozen):
    """A broken rule: its code for counting, where it was broken, and a sentence for whoever writes again."""

    rule: str
    slot: str
    text: str
