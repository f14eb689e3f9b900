"""Answers go out in the shape and on the queue of whoever asked; "not assessed" is never 0."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eye_dx_core.queue.announcing import announce_diagnosis, announce_report
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.schema.case import Laterality, WireFormat
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import EvidenceMap
from eye_dx_core.schema.outgoing import NotAssessed
from eye_dx_core.schema.review import Addendum
from tests.builders import NOON, a_case, a_diagnosis, a_disputed_eye, a_rejected_eye, a_report, an_eye_diagnosis, routed

NAMES = QueueNames()
PARTNER_CASE = a_case(wire=WireFormat.FOUR_QUEUE)


def partner_result(not_assessed: NotAssessed = NotAssessed.NULL, **eyes: str | None) -> dict[str, dict[str, object]]:
    message = announce_diagnosis(PARTNER_CASE, a_diagnosis(**eyes), names=NAMES, now=NOON, not_assessed=not_assessed)
    assert message.queue == "result_check_queue"
    return json.loads(message.body)


def test_an_ai_result_has_the_shape_of_the_mission_in_our_envelope():
    message = announce_diagnosis(a_case(), a_diagnosis(), names=NAMES, now=NOON)
    body = json.loads(message.body)

    assert (message.queue, body["schema"], body["case_id"]) == ("eye_dx_ai_results", "eye-dx/ai-result/1", "case-1")
    assert body["body"]["conclusion"] == "年龄相关性黄斑变性"
    assert body["body"]["confidence"] == 0.87
    assert body["body"]["abnormal_areas"] == ["黄斑区"]
    assert body["body"]["patient_id"] == "P2025001"
    assert [eye["eye"] for eye in body["body"]["eyes"]] == ["OD", "OS"]


def test_an_ai_result_tells_each_eye_with_quality_sides_evidence_and_urgency():
    eyes = (a_rejected_eye(Laterality.RIGHT), a_disputed_eye(Laterality.LEFT))
    diagnosis = routed(a_diagnosis().model_copy(update={"eyes": eyes}))

    right, left = json.loads(announce_diagnosis(a_case(), diagnosis, names=NAMES, now=NOON).body)["body"]["eyes"]
    assert (right["urgency"], right["within_days"], right["photos"][0]["quality"]["level"]) == ("routine", 91, "reject")
    assert right["photos"][0]["quality"]["issues"][0]["advice_zh"] == "照片过暗：请待瞳孔散大或提高闪光强度后重拍；仍过暗则转诊。"
    assert [(one["source"], one["eye"]) for one in left["photos"][0]["eye_claims"]] == [("message", "OS"), ("picture", "OD")]
    assert [one["photos"][0]["is_eye_disputed"] for one in (right, left)] == [False, True]
    assert left["answer_set"] == ["D4"]


def test_evidence_goes_out_by_zone_and_strength_and_not_patch_by_patch():
    evidence = EvidenceMap(rows=1, columns=1, weights=(255,), deletion_score=1.0)
    eye = an_eye_diagnosis(Laterality.RIGHT, "D3")
    eye = eye.model_copy(update={"photos": tuple(photo.model_copy(update={"evidence": evidence}) for photo in eye.photos)})
    message = announce_diagnosis(a_case(), a_diagnosis().model_copy(update={"eyes": (eye,)}), names=NAMES, now=NOON)

    (told,) = json.loads(message.body)["body"]["eyes"]
    assert told["areas"] == [{"zone": "macula", "name_zh": "黄斑区", "strength": 0.7}]
    assert (told["abnormal_areas"], told["dr_grade"]) == (["黄斑区"], 3)
    assert b"weights" not in message.body


def test_the_urgency_of_a_case_is_a_proposal_until_a_doctor_has_spoken():
    result = json.loads(announce_diagnosis(a_case(), a_diagnosis(), names=NAMES, now=NOON).body)["body"]
    report = json.loads(announce_report(a_case(), a_diagnosis(), a_report(), names=NAMES, now=NOON).body)["body"]["ai_diagnosis"]

    assert (result["routing"]["urgency"], result["routing_status"]) == ("urgent", "proposed")
    assert result["routing_note_zh"] == "AI 建议，待医生确认。转诊规则尚未经临床负责人签署。"
    assert (report["routing_status"], report["routing_note_zh"][:17]) == ("reviewed", "AI 建议，以医生的结论和建议为准")
    assert {one["rule"]: bool(one["source"]) for one in result["routing"]["reasons"]} == {"A": True, "N": True}


def test_what_was_read_before_there_were_rules_is_answered_without_urgency():
    old = a_diagnosis().model_copy(update={"routing": None, "eyes": (an_eye_diagnosis(Laterality.RIGHT, "A"),)})

    body = json.loads(announce_diagnosis(a_case(), old, names=NAMES, now=NOON).body)["body"]
    assert (body["routing"], body["eyes"][0]["urgency"]) == (None, None)


def test_no_name_and_no_phone_leaves_by_queue():
    for message in (
        announce_diagnosis(a_case(), a_diagnosis(), names=NAMES, now=NOON),
        announce_report(a_case(), a_diagnosis(), a_report(), names=NAMES, now=NOON),
    ):
        text = message.body.decode()
        assert "测试甲" not in text
        assert "13800138000" not in text
        assert "OD.jpg" not in text


def test_a_partner_gets_zeros_only_for_a_normal_eye_and_only_for_what_the_model_can_tell():
    result = partner_result(right="N", left="A")

    assert result["odFundusResult"] == {"AMD": 0, "CSC": 0, "RP": 0, "ON": None, "GLA": 0, "RVO": 0, "DR": 0}
    assert result["osFundusResult"] == {"AMD": 1, "CSC": None, "RP": None, "ON": None, "GLA": None, "RVO": None, "DR": None}


def test_an_eye_that_was_not_assessed_is_never_zero():
    assert set(partner_result(right=None, left="N")["odFundusResult"].values()) == {None}


def test_what_was_not_assessed_is_left_out_where_the_partner_wants_it_so():
    result = partner_result(NotAssessed.OMIT, right="N", left="A")

    assert result["odFundusResult"] == {"AMD": 0, "CSC": 0, "RP": 0, "GLA": 0, "RVO": 0, "DR": 0}
    assert result["osFundusResult"] == {"AMD": 1}
    assert partner_result(NotAssessed.OMIT, right=None, left="C") == {
        "osFundusResult": {"note": "白内障"}, "odFundusResult": {}, "id": "external-of-case-1"
    }  # fmt: skip


@pytest.mark.parametrize("not_assessed", NotAssessed)
@given(codes=st.tuples(*[st.none() | st.sampled_from(sorted(LABELS))] * 2))
def test_a_zero_is_said_only_of_a_normal_eye(not_assessed: NotAssessed, codes: tuple[str | None, str | None]):
    right, left = codes
    result = partner_result(not_assessed, right=right, left=left)

    for code, eye in ((right, result["odFundusResult"]), (left, result["osFundusResult"])):
        zeros = {field for field, value in eye.items() if value == 0}
        assert zeros == ({"AMD", "CSC", "RP", "GLA", "RVO", "DR"} if code is not None and LABELS[code].is_normal else set())
        assert (None in eye.values()) is (not_assessed is NotAssessed.NULL)


def test_retinopathy_without_a_grade_is_said_in_words():
    result = partner_result(right="D", left="N")["odFundusResult"]

    assert result["DR"] is None
    assert "糖尿病视网膜病变" in str(result["note"])


def test_a_graded_retinopathy_is_its_grade():
    assert partner_result(right="D3", left="N")["odFundusResult"]["DR"] == 3


def test_a_partner_report_carries_the_doctors_words_and_says_that_the_front_was_not_looked_at():
    message = announce_report(PARTNER_CASE, a_diagnosis(), a_report(), names=NAMES, now=NOON)
    body = json.loads(message.body)

    assert (message.queue, body["id"]) == ("result_report_queue", "external-of-case-1")
    assert "高度近视" in body["fundusInterpret"]
    assert "未评估" in body["anteriorReport"]


def test_the_same_result_always_has_the_same_message_id():
    first, second = (announce_diagnosis(a_case(), a_diagnosis(), names=NAMES, now=NOON) for _ in range(2))

    assert first == second
    assert first.message_id != announce_report(a_case(), a_diagnosis(), a_report(), names=NAMES, now=NOON).message_id


def test_an_addendum_goes_out_in_a_message_of_its_own_with_all_before_it():
    added = [
        Addendum(addendum_id=f"a{number}", case_id="case-1", text=f"补充{number}", doctor_name="唐医生", added_at=NOON) for number in (1, 2)
    ]
    ours, partners = (
        [announce_report(case, a_diagnosis(), a_report(), names=NAMES, now=NOON, addenda=added[:count]) for count in range(3)]
        for case in (a_case(), PARTNER_CASE)
    )

    assert len({one.message_id for one in ours}) == 3
    assert [[one["text"] for one in json.loads(message.body)["body"]["addenda"]] for message in ours] == [[], ["补充1"], ["补充1", "补充2"]]
    assert json.loads(ours[2].body)["message_id"] == ours[2].message_id
    assert json.loads(partners[2].body)["fundusInterpret"].endswith("补充说明：补充1补充说明：补充2")
