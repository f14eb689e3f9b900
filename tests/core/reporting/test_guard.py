"""The guard as a whole: wrong texts die, right texts pass, and both are counted by kind."""

from collections import Counter

import pytest

from eye_dx_core.reporting.facts import LlmFacts
from eye_dx_core.reporting.guard.rules import identifier_violations, violations
from eye_dx_core.reporting.guard.violation import RULES
from eye_dx_core.reporting.identifiers import identifiers_of
from eye_dx_core.reporting.template import write_by_template
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.review import EyeReview, Ungradable
from eye_dx_core.schema.routing import Urgency
from tests.builders import a_case, a_diagnosis, a_review
from tests.clean_reports import clean_reports, desk_review, doctor_differs, facts_for, free_text, label_eye, one_eye_ill, other_eye_unread
from tests.mutants import Mutant, mutants

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT
_EVERY = 7
"""Of some 14 000 mutants; the benchmark takes all of them."""


def survives(mutant: Mutant) -> bool:
    identifiers = identifiers_of(a_case(), a_review())
    return not violations(mutant.narrative, mutant.of.facts) and not identifier_violations(mutant.narrative, identifiers)


def test_no_mutant_of_a_right_report_survives():
    passing = [clean for clean in clean_reports() if not violations(clean.narrative, clean.facts)]
    every = [mutant for number, clean in enumerate(passing) for mutant in mutants(clean, number)][::_EVERY]

    assert [f"{one.kind}: {one.of.name}: {one.words}" for one in every if survives(one)] == []
    assert len(every) >= 2000
    counted = Counter(one.kind for one in every)
    assert min(counted[kind] for kind in ("side", "disease", "negation", "number", "urgency", "unperformed exam", "identifier")) >= 100


def test_at_most_two_in_a_hundred_right_reports_are_refused():
    reports = list(clean_reports())
    refused = [one.name for one in reports if violations(one.narrative, one.facts)]

    assert len(reports) >= 200
    assert len(refused) <= 0.02 * len(reports), refused


@pytest.mark.parametrize("code", [code for code in LABELS if code != "DISEASE"])
def test_the_template_passes_for_every_label_urgency_and_unreadable_eye(code: str):
    for urgency in (None, *Urgency):
        for build in (one_eye_ill, doctor_differs, other_eye_unread):
            facts = build(code, urgency)
            assert violations(write_by_template(facts), facts) == (), (build.__name__, urgency)


def broken(added: str, facts: LlmFacts, *, slot: str = "opinion") -> set[str]:
    clean = write_by_template(facts)
    changed = clean.model_copy(update={slot: getattr(clean, slot) + added})
    return {one.rule for one in violations(changed, facts)}


# Right eye: glaucoma suspected by doctor and AI. Left eye: normal by both.
@pytest.mark.parametrize(
    ("added", "rule"),
    [
        ("右眼青光眼（疑似），左眼亦然。", "side"),
        ("右眼青光眼（疑似），对侧眼青光眼（疑似）。", "side"),
        ("右眼及左眼疑似青光眼。", "side"),
        ("左、右眼疑似青光眼。", "side"),
        ("疑似青光眼（左眼）。", "side"),
        ("疑似青光眼见于左眼。", "side"),
        ("glaucoma suspect OS。", "side"),
        ("OD no glaucoma。", "language"),
        ("右眼并非没有青光眼。", "polarity"),
        ("右眼青光眼。", "polarity"),
        ("右眼重度青光眼（疑似）。", "severity"),
        ("右眼晚期青光眼（疑似）。", "severity"),
        ("右眼青光眼已排除。", "polarity"),
        ("医生已排除右眼青光眼。", "polarity"),
        ("AI 提示右眼青光眼（疑似），医生予以排除。", "agreement"),
        ("医生未采纳 AI 的提示。", "agreement"),
        ("AI 判读与医生结论不一致。", "agreement"),
        ("右眼早产儿视网膜病变。", "unknown_finding"),
        ("右眼高血压视网膜病变。", "unknown_finding"),
        ("右眼黄斑病变。", "unknown_finding"),
        ("右眼 青 光 眼 伴 白 内 障。", "unknown_finding"),
        ("右眼白內障。", "language"),
        ("右眼bai nei zhang。", "language"),
        ("左眼不正常。", "polarity"),
        ("右眼健康。", "invented_normal"),
        ("右眼没什么问题。", "invented_normal"),
        ("右眼眼底良好。", "invented_normal"),
        ("左眼晶状体透明。", "unperformed_exam"),
        ("右眼眼压在正常范围的两倍。", "certainty or number"),
        ("右眼视力低于左眼，右眼眼压低于左眼。", "side"),
        ("右眼视力百分之九十。", "number"),
        ("右眼视力零点六。", "number"),
        ("右眼眼压二十八毫米汞柱。", "number"),
        ("患者出生于1980年1月2日。", "number"),
        ("数月后复查。", "number"),
        ("下个月复查。", "number"),
        ("每年复查。", "number"),
        ("建议3个月后复查。建议3年后复查。", "number"),
        ("可自行观察，不必着急。", "urgency"),
        ("特急，请当天就诊。", "urgency"),
        ("不会失明。", "false_comfort"),
        ("右眼病情稳定。", "course"),
        ("右眼较前好转。", "course"),
        ("终身不可逆。", "certainty"),
        ("王医生已阅。", "identifier"),
        ("请加微信复诊。", "markup"),
        ("☆请复查☆", "markup"),
    ],
)
def test_what_a_wrong_text_might_try_is_refused(added: str, rule: str):
    found = broken(added, one_eye_ill("G", Urgency.ROUTINE))

    assert found & set(rule.split(" or ")), found


# Right eye: moderate non-proliferative retinopathy. Left eye: normal. What each of them breaks matters less than that it does.
@pytest.mark.parametrize(
    "added",
    [
        "右眼糖尿病视网膜病变已进入增殖期。",
        "右眼为中度至重度非增殖期糖尿病视网膜病变。",
        "右眼有激光斑。",
        "右眼病变位于视盘。",
        "左眼同样为中度非增殖期糖尿病视网膜病变。",
        "右眼以外的那只眼也有糖尿病视网膜病变。",
        "两只眼睛都有糖尿病视网膜病变。",
        "您的眼睛都患有糖尿病视网膜病变。",
        "左侧眼底可见出血点。",
        "该眼见多处渗出。",
        "视网膜血管未见阻塞。",
        "黄斑未受累。",
        "黄斑区未见水肿。",
        "未累及黄斑。",
        "右眼眼底未见糖尿病视网膜病变。",
        "右眼没有大问题。",
        "右眼情况良好。",
        "双眼底无特殊。",
        "左眼早期糖尿病视网膜病变可能。",
        "右眼糖尿病视网膜病变由高血糖引起，病程十年。",
        "右眼三级。",
        "建议半年后复查。",
        "建议 3 至 6 个月后复查。",
        "建议三到六个月复查。",
        "建议90天后复查。",
        "3个月后或更晚复查。",
        "医生建议每周复查。",
        "患者P2025001。",
        "右眼视盘C/D 0.8。",
        "右眼黄斑中心凹反光消失。",
        "右眼视力优于左眼。",
        "右眼视力为0.9，左眼视力为0.4。",
        "AI 置信度99%。",
        "AI认为右眼正常。",
        "AI 提示双眼糖尿病视网膜病变。",
        "医生认为AI判断错误。",
        "医生否定了AI的判断。",
        "报告由张三审核。",
        "眼睛里长了东西。",
        "视网膜可能穿孔。",
        "角膜透明。",
        "可以不用复查了。",
        "以后都不用来了。",
        "您的病已经好了。",
        "右眼需要打针。",
        "右眼需要开刀。",
        "吃点药就好。",
        "眼压26。",
        "右眼眼压升高。",
        "3个月后复查，不来也可以。",
    ],
)
def test_sentences_that_a_patient_must_not_read_are_refused(added: str):
    assert broken(added, one_eye_ill("D2", Urgency.ROUTINE))


@pytest.mark.parametrize(
    "added",
    [
        "右眼疑似青光眼，左眼未见明显异常。",
        "青光眼（疑似）仅见于右眼。",
        "AI 判读与医生结论一致。",
        "AI 提示右眼青光眼（疑似），医生同意 AI 的提示。",
        "右眼视力低于左眼。",
        "AI 不能确诊疾病，其提示有一定参考价值。",
        "如视力下降或眼痛，请立即就诊。",
        "两眼眼压均在正常范围内。",
        "建议在三个月内复查。",
    ],
)
def test_what_is_so_may_be_said_in_other_words(added: str):
    assert broken(added, one_eye_ill("G", Urgency.ROUTINE)) == set()


def test_an_urgent_wish_may_not_be_left_out_or_turned_into_a_condition():
    facts = one_eye_ill("RVO", Urgency.URGENT)
    clean = write_by_template(facts)

    for advice in ("请按照医生的建议复查。", "如有不适，请尽快就诊。", "请尽早到眼科就诊。", "请定期复查。"):
        assert "urgency" in {one.rule for one in violations(clean.model_copy(update={"advice": advice}), facts)}
    assert violations(clean.model_copy(update={"advice": "请您尽快去医院眼科就诊。"}), facts) == ()


def test_the_doctors_own_words_set_the_urgency_where_no_code_does():
    facts = free_text("RVO", None)

    assert "urgency" in broken("请尽早就诊。", facts, slot="advice")
    assert "number" in broken("两周后复查。", facts, slot="advice")
    assert broken("请在两周内尽快复查。", facts, slot="advice") == set()


def test_an_examination_that_the_doctor_asks_for_is_not_done():
    facts = free_text("RVO", None)

    assert broken("建议行OCT检查。", facts) == set()
    assert broken("OCT检查已完成。", facts) == {"unperformed_exam"}
    assert broken("OCT显示如上。", facts) == {"unperformed_exam"}


def test_to_look_for_a_disease_is_not_to_have_it():
    review = a_review(conclusion="右眼视盘可疑，左眼未见异常").model_copy(update={"recommendation": "1个月后复查，排查青光眼"})
    facts = facts_for(a_diagnosis(right="N", left="N"), review)

    assert "polarity" in broken("右眼青光眼。", facts)
    assert broken("医生建议排查青光眼。", facts) == set()


def test_an_eye_that_the_doctor_could_not_read_is_never_passed_over_or_called_readable():
    eyes = (label_eye(RIGHT, "C"), EyeReview(eye=LEFT, ungradable=Ungradable.REFER))
    facts = facts_for(a_diagnosis(right="C", left="N"), desk_review(*eyes, urgency=None, recommendation=""))
    clean = write_by_template(facts)

    assert "左眼照片医生无法判读，不代表正常" in clean.opinion
    assert all(text.startswith("未评估") for text in (clean.findings[1].retina, clean.findings[1].vessels))
    silent = clean.model_copy(update={"opinion": "右眼白内障。左眼 AI 提示未见明显异常。以医生结论为准。"})
    assert "assessment" in {one.rule for one in violations(silent, facts)}
    assert "assessment" in broken("左眼可以判读。", facts)
    assert "invented_normal" in broken("左眼未见异常。", facts)


def test_what_only_the_doctor_says_is_not_put_into_the_ais_mouth():
    facts = doctor_differs("A", None)

    assert "polarity" in broken("AI 提示右眼高度近视。", facts)
    assert "agreement" in broken("AI 的提示得到医生确认。", facts)
    assert "polarity" in broken("医生和 AI 均提示右眼年龄相关性黄斑变性。", facts)
    assert broken("AI 提示右眼年龄相关性黄斑变性，医生未采纳。", facts) == set()


def test_every_rule_belongs_to_one_of_the_ten_checks_and_has_words():
    assert {rule.check for rule in RULES.values()} == set(range(1, 11))
    assert all(rule.name_zh and rule.name_en for rule in RULES.values())


def test_violations_come_in_the_order_of_the_checks():
    facts = one_eye_ill("C", None)
    found = violations(
        write_by_template(facts).model_copy(update={"advice": "OCT已做，电话13800138000，9个月后复查，https://a.cn。"}), facts
    )

    assert [RULES[one.rule].check for one in found] == sorted(RULES[one.rule].check for one in found)
    assert {"markup", "number", "unperformed_exam", "identifier"} <= {one.rule for one in found}
