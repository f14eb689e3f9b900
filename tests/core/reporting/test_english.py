"""The English narrative: from the same facts, complete, and never better than they are."""

import pytest

from eye_dx_core.reporting.english import english_narrative, in_english
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.review import EyeReview
from eye_dx_core.schema.routing import Urgency
from tests.builders import a_diagnosis, a_review
from tests.clean_reports import clean_reports, desk_review, doctor_differs, facts_for, label_eye, one_eye_ill, other_eye_unread


def test_a_report_reads_as_a_doctor_would_write_it():
    narrative = english_narrative(one_eye_ill("RVO", Urgency.URGENT))

    assert narrative.opinion == (
        "Visual acuity (decimal): right eye 0.4, left eye 0.9. Intraocular pressure: right eye 17 mmHg, left eye 14 mmHg. "
        "AI-assisted reading – right eye: retinal vein occlusion (confidence 87%, evidence: macula); "
        "left eye: no abnormality seen (confidence 87%). The AI's word is for reference; the doctor's conclusion counts. "
        "Reviewed by a doctor, who concludes: “右眼：视网膜静脉阻塞；左眼：未见明显异常” "
        "(right eye: retinal vein occlusion; left eye: no abnormality seen)."
    )
    assert narrative.advice.startswith("The doctor rates this urgent: see an eye hospital as soon as possible.")
    right, left = narrative.findings
    assert (right.vessels, right.optic_disc) == ("Doctor: retinal vein occlusion.", "Not assessed separately.")
    assert left.retina == "Doctor: no abnormality seen. AI reading: no abnormality seen; for reference only."


def test_an_unread_eye_is_never_normal():
    narrative = english_narrative(other_eye_unread("C", None))

    assert "could not read the photograph of the left eye, which does not mean normal" in narrative.opinion
    left = narrative.findings[1]
    assert all(text.startswith("Not assessed") for text in (left.retina, left.macula, left.optic_disc, left.vessels))


@pytest.mark.parametrize(
    ("words", "english"),
    [
        ("高度近视", "“高度近视” (high myopia)"),
        ("右眼青光眼待排，排除视网膜脱离", "“右眼青光眼待排，排除视网膜脱离” (right eye: suspected glaucoma, no retinal detachment)"),
        ("某种罕见情形", "“某种罕见情形”"),
    ],
)
def test_what_the_doctor_wrote_stays_and_gets_its_english_names(words: str, english: str):
    assert in_english(words) == english


@pytest.mark.parametrize("code", LABELS)
def test_every_label_has_its_english_name_in_the_report(code: str):
    review = desk_review(label_eye(Laterality.RIGHT, code), EyeReview(eye=Laterality.LEFT, labels=("N",)), urgency=None, recommendation="")
    narrative = english_narrative(facts_for(a_diagnosis(right=code, left="N"), review))

    assert LABELS[code].name_en in narrative.findings[0].model_dump_json()
    assert LABELS[code].name_en in narrative.opinion


def test_apart_from_the_doctors_words_no_chinese_is_left():
    for clean in clean_reports():
        text = english_narrative(clean.facts).model_dump_json()
        words = (clean.facts.doctor_conclusion, *(term for eye in clean.facts.eyes for term in (*eye.features, *eye.diseases)))
        for one in sorted(words, key=len, reverse=True):
            text = text.replace(one, "")
        assert [one for one in text if "\u4e00" <= one <= "\u9fff"] == [], clean.name


def test_ai_and_doctor_are_told_apart():
    narrative = english_narrative(doctor_differs("A", None))

    assert "right eye: age-related macular degeneration (confidence 87%" in narrative.opinion
    assert narrative.findings[0].macula == "AI evidence in the macula suggests age-related macular degeneration; for reference only."
    assert "Doctor: “豹纹状眼底” (tessellated fundus), “高度近视” (high myopia)." in narrative.findings[0].retina


def test_a_review_without_eyes_is_written_too():
    assert "“高度近视” (high myopia)" in english_narrative(facts_for(a_diagnosis(), a_review())).opinion
