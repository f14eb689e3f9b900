"""The bundle validates, hangs together, and never says absent of what nobody assessed."""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from eye_dx_core.reporting.fhir import render_fhir
from eye_dx_core.reporting.material import ReportMaterial
from eye_dx_core.reporting.writing import write_report
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import DrGrade
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.review import Addendum, EyeReview, Ungradable
from eye_dx_core.schema.routing import Urgency
from tests.builders import NOON, a_case, a_diagnosis, a_review

GOLDEN = Path(__file__).parents[2] / "golden_fhir"
RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT


def material(*eyes: EyeReview, diagnosis: AiDiagnosis | None = None, urgency: Urgency | None = None) -> ReportMaterial:
    case, diagnosis = a_case(), diagnosis or a_diagnosis()
    review = a_review().model_copy(update={"eyes": eyes, "urgency": urgency})
    return ReportMaterial(case, diagnosis, review, write_report(case, diagnosis, review, chat_model=None, now=NOON))


GRADED = material(
    EyeReview(eye=RIGHT, labels=("D",), dr_grade=DrGrade.SEVERE, diseases=("高度近视",)),
    EyeReview(eye=LEFT, ungradable=Ungradable.RETAKE),
    diagnosis=a_diagnosis(right="D2", left=None),
    urgency=Urgency.SOON,
)
ADDED = Addendum(addendum_id="a", case_id="case-1", text="补充", doctor_name="唐医生", added_at=NOON)
EXAMPLES = {
    "fhir-ai-only": replace(material(), review=None, report=None),
    "fhir-signed-graded-and-ungradable": GRADED,
    "fhir-amended": replace(GRADED, addenda=(ADDED,)),
}


def bundle_of(of: ReportMaterial, **options: Any) -> dict[str, Any]:
    return json.loads(render_fhir(of, **options))


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


def presence(bundle: dict[str, Any], eye: Laterality) -> dict[str, str]:
    """`present`, `absent` or `unknown` by name of the disease."""
    said = {}
    for one in resources(bundle, "Observation"):
        coding = one.get("valueCodeableConcept", {}).get("coding", [{}])[0]
        if one["bodySite"]["coding"][0]["code"] == eye.value and one["code"].get("coding", [{}])[0].get("system", "").endswith("icd-10"):
            said[one["code"]["coding"][0]["code"]] = coding.get("code", "unknown")
            assert ("dataAbsentReason" in one) is not bool(coding)
    return said


def grade(bundle: dict[str, Any], eye: Laterality) -> str | None:
    code = {RIGHT: "71491-5", LEFT: "71490-7"}[eye]
    (one,) = [one for one in resources(bundle, "Observation") if one["code"].get("coding", [{}])[0].get("code") == code]
    return one["valueCodeableConcept"]["coding"][0]["code"] if "valueCodeableConcept" in one else None


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "reference" in value:
            yield value["reference"]
        for one in value.values():
            yield from references(one)
    if isinstance(value, list):
        for one in value:
            yield from references(one)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_bundle_is_as_it_was_reviewed(name: str):
    said = render_fhir(EXAMPLES[name])

    assert json.loads(said) == json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert Bundle.model_validate_json(said).get_resource_type() == "Bundle"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_reference_leads_to_a_resource_and_ids_are_stable(name: str):
    bundle = bundle_of(EXAMPLES[name])
    addresses = Counter(one["fullUrl"] for one in bundle["entry"])

    assert set(addresses.values()) == {1}
    assert set(references(bundle)) <= set(addresses)
    assert bundle == bundle_of(EXAMPLES[name])


def test_what_was_not_assessed_is_unknown_and_never_absent():
    for of in (replace(GRADED, review=None, report=None), GRADED):
        bundle = bundle_of(of)

        assert set(presence(bundle, LEFT).values()) == {"unknown"}
        assert grade(bundle, LEFT) is None


def test_a_model_of_one_label_rules_nothing_out_but_by_a_normal_reading():
    bundle = bundle_of(EXAMPLES["fhir-ai-only"])

    others = dict.fromkeys(("H26.9", "H35.7", "H36.0", "H40.0", "H35.5", "H34.8"), "unknown")
    assert presence(bundle, RIGHT) == {"H35.3": "present"} | others
    assert set(presence(bundle, LEFT).values()) == {"absent"}


def test_what_the_doctor_concluded_outranks_the_ai():
    agreed = bundle_of(material(EyeReview(eye=RIGHT, labels=("N",)), EyeReview(eye=LEFT, labels=("G",))))

    assert presence(agreed, RIGHT)["H35.3"] == "absent"
    assert presence(agreed, LEFT)["H40.0"] == "present"
    (report,) = resources(agreed, "DiagnosticReport")
    assert report["conclusion"] == "高度近视"
    assert [one["coding"][0]["code"] for one in report["conclusionCode"]] == ["Z13.5", "H40.0"]


def test_free_text_alone_makes_nothing_known():
    bundle = bundle_of(material())

    assert set(presence(bundle, RIGHT).values()) | set(presence(bundle, LEFT).values()) == {"unknown"}
    assert "conclusionCode" not in resources(bundle, "DiagnosticReport")[0]


def test_the_doctors_grade_is_an_answer_of_loinc():
    assert grade(bundle_of(GRADED), RIGHT) == "LA18646-2"
    assert grade(bundle_of(replace(GRADED, is_signed=False)), RIGHT) == "LA18645-4"  # the AI's, while nobody signed


def test_status_follows_signature_and_addenda():
    statuses = {name: resources(bundle_of(of), "DiagnosticReport")[0]["status"] for name, of in EXAMPLES.items()}

    assert list(statuses.values()) == ["preliminary", "final", "amended"]
    assert len(resources(bundle_of(GRADED), "Provenance")) == 2
    assert len(resources(bundle_of(replace(GRADED, is_signed=False)), "Provenance")) == 1


@pytest.mark.parametrize(
    ("urgency", "priority"),
    [
        (Urgency.SAME_DAY, "stat"),
        (Urgency.URGENT, "asap"),
        (Urgency.SOON, "urgent"),
        (Urgency.ROUTINE, "routine"),
    ],
)
def test_priority_follows_the_doctors_urgency(urgency: Urgency, priority: str):
    (request,) = resources(bundle_of(material(urgency=urgency)), "ServiceRequest")

    assert (request["priority"], request["intent"]) == (priority, "order")


def test_a_bundle_names_nobody_unless_asked():
    assert "测试甲" not in render_fhir(GRADED)
    assert resources(bundle_of(GRADED, with_identity=True), "Patient")[0]["name"] == [{"text": "测试甲"}]
    assert "13800138000" not in render_fhir(GRADED, with_identity=True)


def test_the_pdf_goes_along_as_it_is():
    (form,) = resources(bundle_of(GRADED, pdf=b"%PDF-1.7"), "DiagnosticReport")[0]["presentedForm"]

    assert base64.b64decode(form["data"]) == b"%PDF-1.7"
