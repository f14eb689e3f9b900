"""The most urgent counts; nothing is less urgent because something could not be read or was measured wrongly."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eye_dx_core.routing.deciding import decide_eye_routing, decide_routing
from eye_dx_core.routing.rules import shipped_rules
from eye_dx_core.schema.case import EyeMeasurement, Laterality, VisionData
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis, Outcome, PhotoPrediction
from eye_dx_core.schema.routing import Routing, Subject, Urgency
from tests.builders import a_diagnosis, a_disputed_eye, a_rejected_eye, an_eye_diagnosis, routed

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT
RULES = shipped_rules()
NORMAL_EYES = (an_eye_diagnosis(RIGHT, "N"), an_eye_diagnosis(LEFT, "N"))
UNREAD_EYES = (a_rejected_eye(RIGHT), a_rejected_eye(LEFT))
DISEASES = sorted(code for code, label in LABELS.items() if not label.is_normal)


def pressures(right: float | None = None, left: float | None = None) -> VisionData:
    return VisionData(right=EyeMeasurement(iop_mmhg=right), left=EyeMeasurement(iop_mmhg=left))


def route(*eyes: EyeDiagnosis, vision: VisionData | None = None) -> Routing:
    return decide_routing(eyes, vision or VisionData(), RULES)


def rules_of(routing: Routing) -> set[str]:
    return {one.rule for one in routing.reasons}


def with_photo(eye: EyeDiagnosis, other: EyeDiagnosis) -> EyeDiagnosis:
    """The first eye, which keeps its conclusion, with the photographs of the other beside its own."""
    return eye.model_copy(update={"photos": (*eye.photos, *other.photos)})


@pytest.mark.parametrize("code", sorted(LABELS))
def test_every_label_leads_to_an_interval_with_code_words_and_source(code: str):
    routing = route(an_eye_diagnosis(RIGHT, code), an_eye_diagnosis(LEFT, "N"))

    (reason,) = [one for one in routing.reasons if one.eye is RIGHT]
    assert reason.zh.startswith(f"右眼：AI 提示{LABELS[code].name_zh}。")
    assert reason.en.startswith(f"Right eye: the AI suggests {LABELS[code].name_en}.")
    assert reason.source
    assert reason.icd10 in routing.icd10


@pytest.mark.parametrize(
    ("milder", "graver"), [("D0", "D1"), ("D1", "D2"), ("D2", "D3"), ("D3", "D4"), ("N", "C"), ("G", "CSC"), ("CSC", "RVO"), ("D2", "D")]
)
def test_graver_is_more_urgent(milder: str, graver: str):
    assert RULES.labels[milder].urgency.rank < RULES.labels[graver].urgency.rank


def test_the_patient_is_as_urgent_as_the_most_urgent_eye():
    routing = route(an_eye_diagnosis(RIGHT, "G"), an_eye_diagnosis(LEFT, "A"))

    assert (routing.urgency, routing.within_days, routing.icd10) == (Urgency.URGENT, 14, ("H35.3", "H40.0"))
    assert [one.eye for one in routing.reasons] == [LEFT, RIGHT]


def test_a_milder_finding_of_which_the_model_is_surer_hides_no_urgent_one():
    eye = with_photo(an_eye_diagnosis(RIGHT, "G", confidence=0.95), an_eye_diagnosis(RIGHT, "D4", confidence=0.6))

    assert decide_eye_routing(eye, VisionData(), RULES).urgency is Urgency.URGENT


@pytest.mark.parametrize(
    ("mmhg", "rule", "urgency"),
    [
        (0, None, Urgency.RECALL),
        (21, None, Urgency.RECALL),
        (21.1, "iop_high", Urgency.ROUTINE),
        (29.9, "iop_high", Urgency.ROUTINE),
        (30, "iop_urgent", Urgency.URGENT),
        (39.9, "iop_urgent", Urgency.URGENT),
        (40, "iop_same_day", Urgency.SAME_DAY),
        (80, "iop_same_day", Urgency.SAME_DAY),
        (81, "iop_implausible", Urgency.ROUTINE),
    ],
)
def test_a_pressure_counts_from_its_limit_on(mmhg: float, rule: str | None, urgency: Urgency):
    routing = route(*NORMAL_EYES, vision=pressures(left=mmhg))

    assert routing.urgency is urgency
    assert [one.rule for one in routing.of(Subject.MEASUREMENT)] == ([rule] if rule else [])
    assert all(one.eye is LEFT and one.zh.startswith(f"左眼：眼压 {mmhg:g} mmHg") for one in routing.of(Subject.MEASUREMENT))


@pytest.mark.parametrize(
    ("right", "left", "is_flagged"), [(20, 12.1, False), (20, 12, True), (12, 20, True), (21.3, 13.3, True), (85, 12, False)]
)
def test_pressures_that_lie_far_apart_are_flagged(right: float, left: float, *, is_flagged: bool):
    assert ("iop_asymmetry" in rules_of(route(*NORMAL_EYES, vision=pressures(right, left)))) is is_flagged


@pytest.mark.parametrize(("mmhg", "urgency"), [(31, Urgency.URGENT), (45, Urgency.SAME_DAY)])
@pytest.mark.parametrize("eyes", [UNREAD_EYES, (), (an_eye_diagnosis(None, None),)])
def test_a_high_pressure_is_urgent_although_no_photograph_could_be_read(eyes: tuple[EyeDiagnosis, ...], mmhg: float, urgency: Urgency):
    assert route(*eyes, vision=pressures(right=mmhg)).urgency is urgency


def test_a_value_that_cannot_be_right_is_told_and_not_used():
    vision = VisionData(right=EyeMeasurement(acuity_decimal=2.1, iop_mmhg=81), left=EyeMeasurement(acuity_decimal=2.0, iop_mmhg=20))
    routing = route(*NORMAL_EYES, vision=vision)

    told = {one.rule: (one.zh, one.icd10) for one in routing.of(Subject.MEASUREMENT)}
    assert told == {
        "iop_implausible": ("右眼：眼压 81 mmHg 超出可信范围。未采用，请复测。", None),
        "acuity_implausible": ("右眼：视力 2.1 超出可信范围。未采用，请复测。", None),
    }


def test_what_could_not_be_read_is_retaken_once_and_then_referred():
    routing = route(an_eye_diagnosis(RIGHT, "N"), a_rejected_eye(LEFT))

    assert (routing.urgency, routing.reasons[0].rule, routing.reasons[0].eye) == (Urgency.ROUTINE, "not_assessed", LEFT)
    assert "重拍一次" in routing.reasons[0].zh
    assert "不代表正常" in routing.reasons[0].zh


def test_an_eye_that_nobody_photographed_is_not_passed_over():
    assert route(an_eye_diagnosis(RIGHT, "N")).urgency is Urgency.ROUTINE
    assert [(one.rule, one.eye) for one in route().reasons] == [("missing_eye", RIGHT), ("missing_eye", LEFT)]
    # The photograph without a side may be that of the other eye.
    assert rules_of(route(an_eye_diagnosis(RIGHT, "N"), an_eye_diagnosis(None, "N"))) == {"N"}


def test_a_reading_in_doubt_is_as_urgent_as_the_worst_that_cannot_be_ruled_out_and_claims_no_disease():
    routing = route(a_disputed_eye(RIGHT, "D4"), an_eye_diagnosis(LEFT, "N"))

    assert routing.urgency is Urgency.URGENT
    assert [(one.rule, one.zh) for one in routing.reasons if one.eye is RIGHT] == [
        ("D4", "右眼：不能排除增殖期糖尿病视网膜病变。建议 2 周内到眼科就诊。"),
        ("uncertain", "右眼：AI 结果不确定。请医生判读。"),
    ]
    assert routing.icd10 == ("Z13.5",)


def test_where_no_label_fits_the_likeliest_counts():
    eye = a_disputed_eye(RIGHT, "RVO")
    eye = eye.model_copy(update={"photos": tuple(photo.model_copy(update={"answer_set": ()}) for photo in eye.photos)})

    assert decide_eye_routing(eye, VisionData(), RULES).urgency is Urgency.URGENT


def test_doubt_about_a_normal_photograph_still_goes_to_a_doctor():
    assert route(a_disputed_eye(RIGHT, "N"), an_eye_diagnosis(LEFT, "N")).urgency is Urgency.ROUTINE


def test_a_photograph_that_could_not_be_read_does_not_undo_one_that_could():
    eye = with_photo(an_eye_diagnosis(RIGHT, "N"), a_rejected_eye(RIGHT))

    assert rules_of(decide_eye_routing(eye, VisionData(), RULES)) == {"N"}


def test_what_was_diagnosed_before_there_were_rules_still_loads():
    old = a_diagnosis().model_dump(mode="json", exclude={"routing": True, "eyes": {"__all__": {"routing"}}})

    loaded = AiDiagnosis.model_validate(old)
    assert (loaded.routing, loaded.eyes[0].routing) == (None, None)
    assert AiDiagnosis.model_validate_json(a_diagnosis().model_dump_json()) == a_diagnosis()


def test_nobody_has_signed_the_shipped_rules_and_every_routing_says_so():
    assert routed(a_diagnosis()).routing.rules_signed_by is None


@pytest.mark.parametrize(
    ("days", "zh", "en"),
    [
        (0, "当天", "the same day"),
        (10, "10 天内", "within 10 days"),
        (14, "2 周内", "within 2 weeks"),
        (91, "13 周内", "within 13 weeks"),
        (182, "6 个月内", "within 6 months"),
        (365, "12 个月内", "within 12 months"),
    ],
)
def test_intervals_read_as_people_speak(days: int, zh: str, en: str):
    routing = route(*NORMAL_EYES).model_copy(update={"within_days": days})

    assert (routing.interval_zh, routing.interval_en) == (zh, en)


def test_the_spans_of_the_urgencies_touch_and_never_cross():
    spans = [urgency.days for urgency in sorted(Urgency, key=lambda one: -one.rank)]

    assert all(shorter[1] <= longer[0] for shorter, longer in pairwise(spans))


a_pressure = st.none() | st.floats(0, 80, allow_nan=False)
an_eye = st.sampled_from([*LABELS, "disputed"]).flatmap(
    lambda code: st.sampled_from([RIGHT, LEFT]).map(
        lambda eye: a_disputed_eye(eye, "A") if code == "disputed" else an_eye_diagnosis(eye, code)
    )
)


@settings(max_examples=60, deadline=None)
@given(eye=an_eye, added=st.sampled_from(DISEASES), pressure=a_pressure)
def test_one_more_finding_never_makes_an_eye_less_urgent(eye: EyeDiagnosis, added: str, pressure: float | None):
    vision = pressures(pressure, pressure)
    more = with_photo(eye, an_eye_diagnosis(eye.eye, added))

    before, after = decide_eye_routing(eye, vision, RULES), decide_eye_routing(more, vision, RULES)
    assert after.urgency.rank >= max(before.urgency.rank, RULES.labels[added].urgency.rank)
    assert after.within_days <= before.within_days


@settings(max_examples=60, deadline=None)
@given(eye=an_eye, mmhg=st.floats(0, 80), more=st.floats(0, 30))
def test_a_higher_pressure_never_makes_an_eye_less_urgent(eye: EyeDiagnosis, mmhg: float, more: float):
    higher = min(80, mmhg + more)

    low, high = (decide_eye_routing(eye, pressures(one, one), RULES) for one in (mmhg, higher))
    assert high.urgency.rank >= low.urgency.rank


@settings(max_examples=60, deadline=None)
@given(eyes=st.lists(an_eye, max_size=2), right=a_pressure, left=a_pressure, unread=st.sampled_from([RIGHT, LEFT, None]))
def test_a_photograph_that_could_not_be_read_never_makes_a_patient_less_urgent_than_a_normal_one(
    eyes: list[EyeDiagnosis], right: float | None, left: float | None, unread: Laterality | None
):
    vision = pressures(right, left)
    others = [eye for eye in eyes if eye.eye is not unread]
    photo = PhotoPrediction(photo_id="p", eye=unread, outcome=Outcome.NOT_ASSESSED, reason="truncated")
    not_read = EyeDiagnosis(eye=unread, photos=(photo,), outcome=Outcome.NOT_ASSESSED, reason="truncated")

    with_unread = decide_routing([*others, not_read], vision, RULES).urgency.rank
    assert with_unread >= decide_routing([*others, an_eye_diagnosis(unread, "N")], vision, RULES).urgency.rank
    assert with_unread >= max((decide_eye_routing(eye, vision, RULES).urgency.rank for eye in others), default=0)
