"""Every accepted wire format parses to the same words; everything else is refused by field name."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eye_dx_core.errors import BadMessage
from eye_dx_core.schema.case import Case, Laterality, WireFormat, find_eye_in_name
from eye_dx_core.schema.message import body_sha256, parse_review, parse_screening
from tests.builders import NOON, a_nested_body


def parse(body: object, *, queue: str = "eye_dx_screenings", message_id: str | None = None) -> Case:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return parse_screening(raw, source_queue=queue, message_id=message_id, received_at=NOON)


def test_a_nested_message_keeps_vision_and_pressure_with_the_right_eye():
    case = parse(a_nested_body())

    assert case.wire is WireFormat.NESTED
    assert case.screening.vision.of(Laterality.LEFT).acuity_decimal == 0.8
    assert case.screening.vision.of(Laterality.RIGHT).iop_mmhg == 19


@pytest.mark.parametrize(
    ("written", "decimal", "five_point"),
    [(0.8, 0.8, None), (2.0, 2.0, None), (3.9, 3.9, None), (4.0, 0.1, 4.0), (4.9, 0.79, 4.9), (5.0, 1.0, 5.0), (5.3, 2.0, 5.3)],
)
def test_acuity_on_the_five_point_scale_becomes_decimal_and_stays_as_written(written: float, decimal: float, five_point: float | None):
    body = {"Patient": {"patient_id": "P1"}, "vision_data": {"left_eye": written}}

    measured = parse(json.dumps(body).encode()).screening.vision.left
    assert (measured.acuity_decimal, measured.acuity_five_point) == (decimal, five_point)


def test_a_flat_message_has_no_vision_data_and_none_is_invented():
    case = parse({"patient_id": "P1", "name": "测试乙", "photos": ["a/OS.png"]})

    assert case.wire is WireFormat.FLAT
    assert case.screening.vision.left.acuity_decimal is None
    assert case.screening.patient is not None
    assert case.screening.patient.age_years is None


def test_a_four_queue_message_names_each_eye_and_no_patient():
    case = parse(
        {"id": "abc", "osFundusImg": "/img/1.jpg", "odFundusImg": "/img/2.jpg", "osAnteriorImg": "/img/3.jpg"}, queue="check_queue"
    )

    assert (case.wire, case.external_id, case.message_id) == (WireFormat.FOUR_QUEUE, "abc", "abc")
    assert case.screening.patient is None
    assert {photo.eye: photo.location for photo in case.screening.photos} == {Laterality.RIGHT: "/img/2.jpg", Laterality.LEFT: "/img/1.jpg"}


def test_our_envelope_carries_its_own_message_id():
    body = {"schema": "eye-dx/screening/1", "message_id": "m-1", "body": json.loads(a_nested_body())}

    case = parse(body)

    assert (case.wire, case.message_id) == (WireFormat.ENVELOPE, "m-1")


def test_an_envelope_of_another_version_is_refused():
    with pytest.raises(BadMessage, match="schema"):
        parse({"schema": "eye-dx/screening/9", "message_id": "m-1", "body": json.loads(a_nested_body())})


def test_the_brokers_message_id_comes_before_the_bodys():
    assert parse({"patient_id": "P1", "id": "own"}, message_id="amqp").message_id == "amqp"
    assert parse({"patient_id": "P1", "id": "own"}).message_id == "own"


def test_without_any_id_the_canonical_body_is_the_id():
    first = parse(b'{"patient_id": "P1", "photos": []}')
    second = parse(b'{"photos":[],"patient_id":"P1"}')

    assert first.message_id == second.message_id
    assert first.case_id == second.case_id


def test_the_same_id_on_two_queues_is_two_cases():
    assert parse({"patient_id": "P1", "id": "1"}, queue="a").case_id != parse({"patient_id": "P1", "id": "1"}, queue="b").case_id


def enveloped(**head: object) -> dict[str, object]:
    return {"schema": "eye-dx/screening/1", "message_id": "1", "body": {"patient_id": "P1"}} | head


def test_message_ids_are_unique_at_their_producer():
    first, again, other = parse(enveloped(producer="a")), parse(enveloped(producer="a"), queue="other"), parse(enveloped(producer="b"))

    assert (first.producer, first.case_id) == ("a", again.case_id)
    assert other.case_id != first.case_id


@pytest.mark.parametrize("head", [{}, {"producer": None}, {"producer": ""}])
def test_where_no_producer_is_named_the_queue_takes_its_place(head: dict[str, object]):
    case = parse(enveloped(**head))

    assert case.producer == "eye_dx_screenings"
    assert case.case_id == parse({"patient_id": "P1", "id": "1"}).case_id


@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        (json.loads(a_nested_body()), 0),
        ({"patient_id": "P1", "screening_records": [{"any": 1}], "id": "1", "message_id": "m"}, 0),
        ({"id": "1", "odFundusImg": "/1.jpg", "osFundusImg": "/2.jpg", "osAnteriorImg": "/3.jpg", "odAnteriorImg": True}, 0),
        (enveloped(producer="a", occurred_at="2026-03-02T12:00:00Z"), 0),
        ({"patient_id": "P1", "shoe_size": 43, "nested": {"a": 1, "b": 2}}, 2),
        ({"patient_id": "P1", "photos": ["OD.jpg", {"location": "OS.jpg", "camera": "x"}]}, 1),
        ({"Patient": {"patient_id": "P1", "a": 1}, "b": 2, "vision_data": {"c": 3, "intraocular_pressure": {"d": 4}}}, 4),
        (enveloped(trace="t", body={"Patient": {"patient_id": "P1", "a": 1}}), 2),
        ({"patient_id": "P1", "unknown_fields": 9, "model_extra": 9, "__class__": 9}, 3),
    ],
)
def test_fields_that_nobody_knows_are_counted_at_every_depth(body: object, unknown: int):
    assert parse(body).unknown_fields == unknown


@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        ({"id": "1", "osFundusDisease": "x", "osAnteriorDisease": "y", "odAnteriorFeatures": True}, 0),
        ({"case_id": "case-1", "final_conclusion": "x", "mood": "good"}, 1),
        ({"schema": "eye-dx/review/1", "message_id": "r", "trace": 1, "body": {"case_id": "c", "final_conclusion": "x"}}, 1),
    ],
)
def test_fields_of_a_review_that_nobody_knows_are_counted(body: object, unknown: int):
    assert parse_review(json.dumps(body).encode(), message_id=None, received_at=NOON).unknown_fields == unknown


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"not json", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "neither Patient"),
        (b'{"Patient": {}}', "Patient.patient_id"),
        (b'{"patient_id": "P1", "age": "forty"}', "age"),
        (b'{"patient_id": "P1", "photos": "one"}', "photos"),
        (b"[" * 100_000, "not JSON"),
        (b'{"patient_id": "\\ud800"}', "not storable"),
        (b'{"patient_id": "P\\u0000"}', "not storable"),
        ('{"patient_id": "P1"}'.encode("utf-16"), "not JSON in UTF-8"),
        (b'{"patient_id": "P1", "age": true}', r"age \(not_a_flag\)"),
        (b'{"Patient": {"patient_id": "P1"}, "vision_data": {"left_eye": NaN}}', "NaN is no JSON number"),
        (b'{"patient_id": "P1", "patient_id": "P2"}', r"patient_id \(given twice"),
        (b'{"patient_id": "P1", "\xe8\xb5\xb5": 1, "\xe8\xb5\xb5": 2}', r"bad fields: one \(given twice"),
        (b'{"patient_id": "P1", "id": "\\u202eabc"}', r"id \(control_characters\)"),
        (b'{"patient_id": "P1", "name": "a\\u202eb"}', r"name \(control_characters\)"),
        (b'{"Patient": {"patient_id": "P1"}, "screening_time": "0001-01-01T00:00:00+14:00"}', r"screening_time \(year_out_of_range\)"),
        (json.dumps({"patient_id": "P1", "message_id": "m" * 300}).encode(), r"message_id \(string_too_long\)"),
        (json.dumps({"patient_id": "P1", "photos": ["OD.jpg"] * 101}).encode(), r"photos \(too_long\)"),
        (b'{"patient_id": "P1", "photos": ["OD\\u001b.jpg"]}', r"photos \(control_characters\)"),
    ],
)
def test_what_is_wrong_is_named_by_field(body: bytes, words: str):
    with pytest.raises(BadMessage, match=words):
        parse(body)


@pytest.mark.parametrize(
    "body", [b'\xef\xbb\xbf{"patient_id": "P1"}', b'{"patient_id": "P1", "patient_id": "P1"}', b'{"patient_id": "P1", "id": ""}']
)
def test_what_is_odd_but_says_one_thing_only_is_read(body: bytes):
    case = parse(body)

    assert case.screening.patient is not None
    assert (case.screening.patient.patient_id, case.external_id) == ("P1", None)


def test_ids_that_only_look_alike_are_two_patients():
    latin, cyrillic = parse({"patient_id": "P1"}), parse({"patient_id": "\u04201"})

    assert latin.case_id != cyrillic.case_id
    assert latin.screening.patient != cyrillic.screening.patient


def test_a_refusal_never_repeats_a_value():
    with pytest.raises(BadMessage) as caught:
        parse({"patient_id": "P1", "name": ["赵钱孙"], "age": "13800138000"})

    assert "赵钱孙" not in str(caught.value)
    assert "13800138000" not in str(caught.value)


FIELDS = ["Patient", "patient_id", "photos", "id", "vision_data", "schema", "body", "message_id", "osFundusImg", "age"]
SCALARS = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text()


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(FIELDS), inner)))
def test_any_json_parses_to_a_case_or_a_bad_message(value: object):
    try:
        case = parse(value)
    except BadMessage:
        return
    assert case.case_id.startswith("case-")


@given(st.binary())
def test_any_bytes_have_a_hash_and_parse_to_a_case_or_a_bad_message(body: bytes):
    assert len(body_sha256(body)) == 64
    with pytest.raises(BadMessage):
        parse(body)


def test_a_doctors_review_is_taken_verbatim():
    body = {"case_id": "case-1", "final_conclusion": "高度近视", "doctor_name": "唐医生", "recommendation": "3个月后复查，避免剧烈运动"}

    review = parse_review(json.dumps(body).encode(), message_id="r-1", received_at=NOON)

    assert (review.case_id, review.conclusion, review.recommendation) == ("case-1", "高度近视", "3个月后复查，避免剧烈运动")
    assert review.reviewed_at == NOON


def test_a_partner_review_splits_both_kinds_of_commas_and_keeps_the_eyes_apart():
    body = {"id": "abc", "osFundusDisease": "黄斑变性,白内障", "odFundusDisease": "", "osFundusFeatures": "渗出，出血"}

    review = parse_review(json.dumps(body).encode(), message_id=None, received_at=NOON)

    assert review.external_id == "abc"
    assert review.conclusion == "左眼：黄斑变性、白内障"
    assert [one.features for one in review.eyes if one.eye is Laterality.LEFT] == [("渗出", "出血")]


@pytest.mark.parametrize("body", [b'{"final_conclusion": "x"}', b'{"case_id": "c"}', b'{"id": "a", "osFundusDisease": ""}', b"x"])
def test_a_review_without_case_or_conclusion_is_refused(body: bytes):
    with pytest.raises(BadMessage):
        parse_review(body, message_id=None, received_at=datetime.now(UTC))


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("P1_20250731_OD.tiff", Laterality.RIGHT),
        ("visits\\10_left.jpeg", Laterality.LEFT),
        ("左眼.jpg", Laterality.LEFT),
        ("OD_OS.jpg", None),
        ("photo17.jpg", None),
        ("GOLDOS.jpg", None),
    ],
)
def test_the_eye_is_read_from_the_name_or_left_open(name: str, eye: Laterality | None):
    assert find_eye_in_name(name) is eye
