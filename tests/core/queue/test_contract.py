"""The published contract is the one that is kept: by the parser, by the answers, and by the files in docs/messages."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from eye_dx_core.errors import BadMessage
from eye_dx_core.queue.announcing import announce_diagnosis, announce_report
from eye_dx_core.queue.asyncapi import build_asyncapi, build_contract
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.schema import contract
from eye_dx_core.schema.case import WireFormat
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.contract import MESSAGES, MessageKind, build_schema
from eye_dx_core.schema.outgoing import NotAssessed
from tests.builders import NOON, a_case, a_diagnosis, a_report
from tests.golden_messages import FOLDER, golden_messages, read

NAMES = QueueNames()
PUBLISHED = Path(__file__).parents[3] / "docs" / "messages"
INCOMING = [kind for kind in MESSAGES if kind.is_incoming]
SCHEMAS = {kind.name: build_schema(kind) for kind in MESSAGES}


def faults(message: object, schema: dict[str, Any]) -> list[str]:
    """Keywords of the schema that a message breaks; empty when it is valid."""
    Draft202012Validator.check_schema(schema)
    return [error.validator for error in Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(message)]


def is_read(kind: MessageKind, message: object) -> bool:
    try:
        read(kind, message)
    except BadMessage:
        return False
    return True


def test_the_published_contract_is_what_the_models_say():
    written = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in PUBLISHED.glob("*.json")}

    assert written == build_contract(NAMES), "run: eye-dx queue contract --to docs/messages"


def test_golden_messages_are_as_they_were():
    kept = {path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.json")}

    assert kept == golden_messages(), "meant? then run: python -m tests.golden_messages"


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.name)
def test_every_example_is_valid(kind: MessageKind):
    assert faults(kind.example, SCHEMAS[kind.name]) == []


@pytest.mark.parametrize("kind", INCOMING, ids=lambda kind: kind.name)
def test_every_incoming_example_is_read_to_the_last_field(kind: MessageKind):
    assert read(kind, kind.example).unknown_fields == 0


@pytest.mark.parametrize("kind", [one for one in MESSAGES if not one.is_incoming], ids=lambda kind: kind.name)
def test_every_outgoing_example_is_one_that_the_models_write(kind: MessageKind):
    assert json.loads(kind.models[0].model_validate(kind.example).model_dump_json(by_alias=True)) == kind.example


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.name)
def test_every_field_says_what_it_holds(kind: MessageKind):
    schema = SCHEMAS[kind.name]
    objects = [schema, *schema.get("$defs", {}).values()]

    assert [name for one in objects for name, field in one.get("properties", {}).items() if not field.get("description")] == []


@settings(max_examples=50, deadline=None)
@given(
    wire=st.sampled_from(WireFormat),
    codes=st.tuples(*[st.none() | st.sampled_from(sorted(LABELS))] * 2),
    not_assessed=st.sampled_from(NotAssessed),
)
def test_whatever_is_answered_is_valid(wire: WireFormat, codes: tuple[str | None, str | None], not_assessed: NotAssessed):
    case, diagnosis = a_case(wire=wire), a_diagnosis(right=codes[0], left=codes[1])
    result = announce_diagnosis(case, diagnosis, names=NAMES, now=NOON, not_assessed=not_assessed)
    report = announce_report(case, diagnosis, a_report(), names=NAMES, now=NOON)

    result_name, report_name = ("result-check", "result-report") if wire is WireFormat.FOUR_QUEUE else ("ai-result", "report")
    assert faults(json.loads(result.body), SCHEMAS[result_name]) == []
    assert faults(json.loads(report.body), SCHEMAS[report_name]) == []


def changed(kind: MessageKind, path: str, value: object) -> dict[str, Any]:
    """The example with one field set, or taken away when the value is `...`."""
    message = copy.deepcopy(kind.example)
    *parents, field = path.split(".")
    inner = message
    for parent in parents:
        inner = inner[parent]
    if value is ...:
        del inner[field]
    else:
        inner[field] = value
    return message


@pytest.mark.parametrize(
    ("kind", "path", "value", "is_allowed"),
    [
        (contract.FLAT, "age", 130, True),
        (contract.FLAT, "age", 131, False),
        (contract.FLAT, "age", True, False),
        (contract.FLAT, "age", None, True),
        (contract.FLAT, "patient_id", ..., False),
        (contract.FLAT, "patient_id", "x" * 129, False),
        (contract.FLAT, "name", "a\u202eb", False),
        (contract.FLAT, "screening_records", True, True),
        (contract.FLAT, "shoe_size", {"any": [True]}, True),
        (contract.FLAT, "photos", ["OD.jpg"] * 101, False),
        (contract.FLAT, "photos", [None], False),
        (contract.FLAT, "photos", ["OD\u001b.jpg"], False),
        (contract.FLAT, "photos", [{"location": "1.jpg", "eye": "third"}], False),
        (contract.FLAT, "photos", [{"location": ""}], False),
        (contract.FLAT, "schema", "eye-dx/screening/9", False),
        (contract.NESTED, "vision_data", None, True),
        (contract.NESTED, "vision_data.left_eye", 5.3, True),
        (contract.NESTED, "vision_data.left_eye", 5.4, False),
        (contract.NESTED, "vision_data.left_eye", False, False),
        (contract.NESTED, "vision_data.intraocular_pressure", None, False),
        (contract.NESTED, "vision_data.intraocular_pressure.right", -1, False),
        (contract.NESTED, "screening_time", "2025-07-31T16:09:07", False),
        (contract.NESTED, "screening_time", "1899-12-31T16:09:07Z", False),
        (contract.NESTED, "notes", None, False),
        (contract.FOUR_QUEUE_CHECK, "osFundusImg", None, True),
        (contract.FOUR_QUEUE_CHECK, "osAnteriorImg", True, True),
        (contract.FOUR_QUEUE_CHECK, "id", ..., False),
        (contract.FOUR_QUEUE_CHECK, "id", "", False),
        (contract.ENVELOPED_SCREENING, "schema", "eye-dx/screening/2", False),
        (contract.ENVELOPED_SCREENING, "message_id", ..., False),
        (contract.ENVELOPED_SCREENING, "producer", "x" * 257, False),
        (contract.ENVELOPED_SCREENING, "producer", ..., True),
        (contract.ENVELOPED_SCREENING, "body", {}, False),
        (contract.ENVELOPED_SCREENING, "body", contract.FLAT.example, True),
        (contract.ENVELOPED_SCREENING, "body.Patient.age", -1, False),
        (contract.REVIEW, "case_id", ..., False),
        (contract.REVIEW, "case_id", None, False),
        (contract.REVIEW, "final_conclusion", "", False),
        (contract.REVIEW, "doctor_name", ..., True),
        (contract.ENVELOPED_REVIEW, "body.recommendation", True, False),
        (contract.PARTNER_REVIEW, "osFundusDisease", " ，", True),
        (contract.PARTNER_REVIEW, "odAnteriorDisease", True, True),
        (contract.PARTNER_REVIEW, "id", ..., False),
    ],
    ids=str,
)
def test_what_the_schema_allows_and_refuses_the_parser_does_too(kind: MessageKind, path: str, value: object, *, is_allowed: bool):
    message = changed(kind, path, value)

    assert (faults(message, SCHEMAS[kind.name]) == []) is is_allowed
    assert is_read(kind, message) is is_allowed


def test_an_eye_without_a_disease_is_no_review():
    message = contract.PARTNER_REVIEW.example | {"osFundusDisease": " ，", "odFundusDisease": ""}

    assert faults(message, SCHEMAS[contract.PARTNER_REVIEW.name]) == ["anyOf"]
    assert not is_read(contract.PARTNER_REVIEW, message)


def test_a_channel_is_reached_as_the_queue_is_bound():
    document = build_asyncapi(NAMES)

    for queue, channel in document["channels"].items():
        route = NAMES.route_of(queue)
        assert (channel["address"], channel["bindings"]["amqp"]["exchange"]["name"]) == (route.routing_key, route.exchange)
    assert set(document["channels"]) == {*NAMES.screening_queues, *NAMES.review_queues} | {
        NAMES.ai_results, NAMES.reports, NAMES.partner_ai_results, NAMES.partner_reports, NAMES.dead,
    }  # fmt: skip


def test_every_reference_in_the_document_leads_somewhere():
    documents = build_contract(NAMES)
    text = json.dumps(documents["asyncapi.json"])

    for reference in {one.split('"')[0] for one in text.split('"$ref": "')[1:]}:
        if reference.startswith("./"):
            assert reference.removeprefix("./") in documents
            continue
        target: Any = documents["asyncapi.json"]
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target


def test_an_installation_gets_the_document_of_its_own_queue_names():
    assert "clinic_in" in build_asyncapi(QueueNames(screenings="clinic_in"))["channels"]
