"""The template never invents, and the rules refuse every text that does."""

import re

import pytest

from eye_dx_core.reporting.facts import LlmFacts, facts_of
from eye_dx_core.reporting.guard.rules import identifier_violations, violations
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.reporting.template import write_by_template
from eye_dx_core.schema.case import EyeMeasurement, Laterality, VisionData
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, Outcome
from eye_dx_core.schema.quality import QualityIssue
from eye_dx_core.schema.review import EyeReview
from tests.builders import a_case, a_diagnosis, a_disputed_eye, a_rejected_eye, a_review, an_eye_diagnosis, routed

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT


def with_eyes(diagnosis: AiDiagnosis, *eyes: EyeDiagnosis) -> AiDiagnosis:
    return diagnosis.model_copy(update={"eyes": eyes})


def some_facts(name: str) -> LlmFacts:
    """Facts of cases that differ in what is known."""
    uncertain = an_eye_diagnosis(LEFT, "C").model_copy(update={"outcome": Outcome.UNCERTAIN, "conclusion": None, "confidence": 0.41})
    eyes = (
        EyeReview(eye=RIGHT, features=("微动脉瘤", "视盘边界清", "A/V比例1:2", "豹纹状眼底"), diseases=("重度非增殖期糖尿病视网膜病变",)),
        EyeReview(eye=LEFT, features=("黄斑区玻璃膜疣",), diseases=("干性年龄相关性黄斑变性",)),
    )
    cases = {
        "ai and doctor differ": (a_diagnosis(), a_review()),
        "one eye unreadable": (a_diagnosis(right=None, left="G"), a_review(conclusion="左眼疑似青光眼，右眼视网膜脱离待排")),
        "doctor wrote per eye": (
            a_diagnosis(right="D3", left="A"),
            a_review(conclusion="右眼：重度非增殖期糖尿病视网膜病变；左眼：干性年龄相关性黄斑变性").model_copy(update={"eyes": eyes}),
        ),
        "both normal": (a_diagnosis(right="N", left="N"), a_review(conclusion="双眼眼底未见异常。")),
        "denied": (
            a_diagnosis(right="RVO", left="D0"),
            a_review(conclusion="右眼视网膜分支静脉阻塞，未见新生血管；左眼未见异常，排除青光眼"),
        ),
        "uncertain": (with_eyes(a_diagnosis(), an_eye_diagnosis(RIGHT, "RP"), uncertain), a_review(conclusion="右眼视网膜色素变性")),
        "one eye only": (with_eyes(a_diagnosis(), an_eye_diagnosis(RIGHT, "CSC")), a_review(conclusion="右眼中浆")),
        "eye unknown": (
            with_eyes(a_diagnosis(), an_eye_diagnosis(None, "A", confidence=0.55)),
            a_review(conclusion="年龄相关性黄斑变性？"),
        ),
    }
    return facts_of(a_case(), *cases[name])


def facts_of_bad_photos(issue: QualityIssue) -> LlmFacts:
    """One eye unread for this issue, the other of a doubtful side, and measurements that cannot be right."""
    vision = VisionData(right=EyeMeasurement(acuity_decimal=0.5, iop_mmhg=31), left=EyeMeasurement(acuity_decimal=2.5, iop_mmhg=85))
    case = a_case()
    case = case.model_copy(update={"screening": case.screening.model_copy(update={"vision": vision})})
    diagnosis = with_eyes(a_diagnosis(), a_rejected_eye(RIGHT, issue), a_disputed_eye(LEFT))
    return facts_of(case, routed(diagnosis, vision), a_review(conclusion="左眼增殖期糖尿病视网膜病变，右眼照片无法判读"))


NAMES = (
    "ai and doctor differ",
    "one eye unreadable",
    "doctor wrote per eye",
    "both normal",
    "denied",
    "uncertain",
    "one eye only",
    "eye unknown",
)


def text_of(narrative: ReportNarrative) -> str:
    return narrative.model_dump_json()


def rules_broken(narrative: ReportNarrative, facts: LlmFacts) -> set[str]:
    return {one.rule for one in violations(narrative, facts)}


def with_opinion(text: str, facts: LlmFacts) -> set[str]:
    clean = write_by_template(facts)
    return rules_broken(clean.model_copy(update={"opinion": clean.opinion + text}), facts)


@pytest.mark.parametrize("name", NAMES)
def test_the_template_keeps_every_rule(name: str):
    facts = some_facts(name)

    assert violations(write_by_template(facts), facts) == ()


@pytest.mark.parametrize("issue", QualityIssue)
def test_the_template_names_what_is_wrong_with_photos_and_measurements_and_keeps_every_rule(issue: QualityIssue):
    facts = facts_of_bad_photos(issue)
    opinion = write_by_template(facts).opinion

    assert violations(write_by_template(facts), facts) == ()
    assert f"右眼照片未能评估（{issue.advice_zh.partition('：')[0]}），不代表正常" in opinion
    assert "左眼结果不确定（眼别信息不一致，" in opinion
    assert "左眼：眼压 85 mmHg 超出可信范围。未采用，请复测。" in opinion
    assert "右眼眼压高于常用参考范围" in opinion


def test_what_is_wrong_with_a_photograph_is_no_licence_to_speak_of_other_examinations():
    facts = facts_of_bad_photos(QualityIssue.FIELD_CUT)

    assert with_opinion("右眼照片视野不完整。", facts) == set()
    assert "unperformed_exam" in with_opinion("右眼视野检查已做。", facts)
    assert with_opinion("左眼眼压偏高。", facts) == {"side"}


def test_an_unreadable_eye_is_called_not_assessed_everywhere_and_never_normal():
    right, left = write_by_template(some_facts("one eye unreadable")).findings

    assert all("未评估" in text for text in (right.retina, right.macula, right.optic_disc, right.vessels))
    assert left.vessels == "未单独评估。"
    assert "不代表正常" in write_by_template(some_facts("one eye unreadable")).opinion


def test_doctors_features_stand_under_their_structure_and_ai_evidence_is_marked():
    right, _ = write_by_template(some_facts("doctor wrote per eye")).findings

    assert right.retina == "医生确认：微动脉瘤、豹纹状眼底、重度非增殖期糖尿病视网膜病变。"
    assert right.macula.startswith("AI 判读证据位于黄斑区")
    assert right.optic_disc == "医生确认：视盘边界清。"
    assert right.vessels == "医生确认：A/V比例1:2。"


def mutants(text: str) -> dict[str, list[str]]:
    """Texts that differ from a correct one in one dangerous way."""
    swapped = text.translate(str.maketrans("左右", "右左")).replace("OD", "O_").replace("OS", "OD").replace("O_", "OS")
    numbers = [m for m in re.finditer(r"\d+(?:\.\d+)?", text) if not text.startswith(("OD", "OS"), m.start() - 2)]
    changed = [text[: m.start()] + str(round(float(m.group()) + 1, 1)).removesuffix(".0") + text[m.end() :] for m in numbers]
    dropped = [text[: m.start()] + text[m.end() :] for m in re.finditer("未", text)]
    return {"swapped eyes": [swapped], "number": changed, "dropped 未": dropped}


@pytest.mark.parametrize("name", NAMES)
def test_every_mutant_of_a_correct_text_is_refused(name: str):
    facts = some_facts(name)
    clean = write_by_template(facts)
    survivors: list[str] = []
    slots = {"opinion": clean.opinion, "advice": clean.advice}
    symmetric = name in ("both normal", "eye unknown")
    for slot, text in slots.items():
        for kind, changed in mutants(text).items():
            # A sentence about both eyes, or one with the same values on both, means the same when the sides are swapped.
            if kind == "swapped eyes" and (changed == [text] or (symmetric and slot == "advice")):
                continue
            survivors += [f"{slot} {kind}: {one}" for one in changed if not violations(clean.model_copy(update={slot: one}), facts)]
    for number, findings in enumerate(clean.findings):
        for structure in ("retina", "macula", "optic_disc", "vessels"):
            text = getattr(findings, structure)
            for kind, changed in mutants(text).items():
                for one in (one for one in changed if one != text):
                    eyes = list(clean.findings)
                    eyes[number] = findings.model_copy(update={structure: one})
                    if not violations(clean.model_copy(update={"findings": tuple(eyes)}), facts):
                        survivors.append(f"{structure} {kind}: {one}")
    assert survivors == []


def test_findings_written_under_the_other_eye_are_refused():
    for name in NAMES:
        facts = some_facts(name)
        clean = write_by_template(facts)
        right, left = clean.findings
        if right.model_dump(exclude={"eye"}) == left.model_dump(exclude={"eye"}):
            continue
        swapped = (right.model_copy(update=left.model_dump(exclude={"eye"})), left.model_copy(update=right.model_dump(exclude={"eye"})))
        assert violations(clean.model_copy(update={"findings": swapped}), facts), name


@pytest.mark.parametrize(
    "added",
    [
        "右眼可见白内障。",
        "左眼视网膜脱离。",
        "双眼青光眼。",
        "考虑黄斑裂孔。",
        "另见渗出和出血。",
        "左眼黄斑前膜。",
        "伴葡萄膜炎。",
        "右眼视神经炎。",
        "提示脉络膜黑色素瘤。",
    ],
)
@pytest.mark.parametrize("name", ["ai and doctor differ", "both normal", "uncertain"])
def test_an_added_disease_is_refused(added: str, name: str):
    assert with_opinion(added, some_facts(name)) & {"unknown_finding", "polarity", "side"}


@pytest.mark.parametrize(
    ("added", "rule"),
    [
        ("OCT 显示黄斑正常。", "unperformed_exam"),
        ("超声检查提示双眼大致正常。", "unperformed_exam"),
        ("建议口服药物治疗。", "treatment"),
        ("可用阿托品滴眼液。", "treatment"),
        ("已确诊高度近视。", "certainty"),
        ("保证视力稳定。", "certainty"),
        ("无需复查。", "false_comfort"),
        ("详见 https://example.org 。", "markup"),
        ("**高度近视**", "markup"),
        ("患者姓名：张某某。", "placeholder"),
        ("电话 13900139000。", "identifier"),
        ("双眼视盘边界清晰。", "invented_normal"),
        ("右眼眼底正常。", "invented_normal"),
        ("建议 6 个月后复查。", "number"),
        ("建议六个月后复查。", "number"),
        ("右眼眼压 18 mmHg。", "number"),
        ("右眼置信度 0.97。", "number"),
        ("右眼眼压偏高。", "unknown_finding"),
        ("AI 证据位于视盘区。", "area"),
        ("左眼未能评估。", "assessment"),
        ("医生确认右眼年龄相关性黄斑变性。", "polarity"),
        ("右眼年龄相关性黄斑变性。", "polarity"),
        ("AI 提示左眼年龄相关性黄斑变性。", "side"),
        ("未见高度近视。", "polarity"),
        ("AI 未提示年龄相关性黄斑变性。", "polarity"),
        ("The patient suffers from high myopia and should return soon for another visit with the doctor in charge.", "language"),
    ],
)
def test_a_sentence_that_breaks_a_rule_is_refused_by_that_rule(added: str, rule: str):
    assert rule in with_opinion(added, some_facts("ai and doctor differ"))


@pytest.mark.parametrize(
    "added",
    [
        "患者45岁，右眼视力 0.6，左眼视力 0.8。",
        "医生诊断为高度近视，可能与屈光有关。",
        "右眼 AI 提示 AMD，置信度 0.87，医生没有采纳。",
        "建议三个月后复查。",
        "AI 提示的右眼黄斑变性以医生结论为准。",
        "左眼 AI 判读未见异常，不等于正常。",
    ],
)
def test_another_way_to_say_what_is_known_passes(added: str):
    assert with_opinion(added, some_facts("ai and doctor differ")) == set()


def test_a_suspicion_must_stay_a_suspicion():
    facts = some_facts("one eye unreadable")

    assert with_opinion("医生认为左眼疑似青光眼。", facts) == set()
    assert "polarity" in with_opinion("右眼视网膜脱离。", facts)


def test_a_more_severe_grade_than_known_is_refused():
    facts = some_facts("doctor wrote per eye")

    assert with_opinion("右眼为糖尿病视网膜病变。", facts) == set()
    assert with_opinion("右眼为增殖期糖尿病视网膜病变。", facts)


def test_an_unreadable_eye_that_the_opinion_passes_over_is_refused():
    facts = some_facts("one eye unreadable")
    silent = write_by_template(facts).model_copy(update={"opinion": "经医生审核，左眼疑似青光眼。"})

    assert "assessment" in rules_broken(silent, facts)


def test_too_long_and_empty_slots_are_refused():
    facts = some_facts("both normal")
    clean = write_by_template(facts)

    assert rules_broken(clean.model_copy(update={"advice": ""}), facts) == {"length"}
    assert rules_broken(clean.model_copy(update={"advice": "请复查。" * 300}), facts) == {"length"}


def test_what_the_doctor_wrote_may_be_repeated():
    facts = facts_of(a_case(), a_diagnosis(), a_review(conclusion="确诊高度近视，OCT 未见黄斑裂孔"))

    assert with_opinion("医生记录：OCT 未见黄斑裂孔。", facts) == set()


def test_findings_for_one_eye_only_are_refused():
    facts = some_facts("both normal")
    clean = write_by_template(facts)

    assert rules_broken(clean.model_copy(update={"findings": clean.findings[:1]}), facts) == {"shape"}


def test_the_patients_name_is_found_wherever_it_stands():
    clean = write_by_template(some_facts("both normal"))

    assert identifier_violations(clean, (re.compile("测试甲"),)) == ()
    named = clean.model_copy(update={"advice": "测试甲请复查。"})
    assert [one.slot for one in identifier_violations(named, (re.compile("测试甲"),))] == ["advice"]
