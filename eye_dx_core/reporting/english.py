"""The narrative in English, by template from the same facts; no language model ever writes it.

What the doctor wrote in Chinese stays as it was written, and beside it stand the English names of what the lexicon knows in it.
"""

from collections.abc import Iterable, Sequence

from eye_dx_core.reporting.facts import AiFacts, EyeFacts, LlmFacts
from eye_dx_core.reporting.guard.claims import Claim, Polarity, find_claims
from eye_dx_core.reporting.guard.lexicon import ENGLISH
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.reporting.template import IOP_LIMIT_MMHG, structure_of
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import Outcome, Zone
from eye_dx_core.schema.quality import QualityIssue
from eye_dx_core.schema.report import EyeFindings
from eye_dx_core.schema.review import Ungradable
from eye_dx_core.schema.routing import Urgency

_STRUCTURES = ("retina", "macula", "optic_disc", "vessels")
_ZONE_STRUCTURE = {Zone.MACULA: "macula", Zone.DISC: "optic_disc"}
_ZONES = {zone.name_zh: zone for zone in Zone}
_LABELS = {label.name_zh: label.name_en for label in LABELS.values()} | {one.name_zh: one.name_en for one in Ungradable}
_DOUBTS = {
    "把握不足": "low confidence", "眼别信息不一致": "sources disagree about the eye", "两眼收到同一张照片": "one photograph for both eyes",
    "与训练照片差异过大": "too unlike the training photographs",
} | {issue.advice_zh.partition("：")[0]: issue.advice_en.partition(":")[0].lower() for issue in QualityIssue}  # fmt: skip
_HOW_SOON = {
    Urgency.SAME_DAY: "The doctor rates this an emergency: go to an eye hospital today.",
    Urgency.URGENT: "The doctor rates this urgent: see an eye hospital as soon as possible.",
    Urgency.SOON: "The doctor wants you seen soon: see an ophthalmologist early.",
    Urgency.ROUTINE: "The doctor refers you routinely: see an ophthalmologist by appointment.",
    Urgency.EARLY_RECALL: "The doctor wants an early recall: come back at the time the doctor gave.",
    Urgency.RECALL: "The doctor wants a routine recall.",
}
_POLARITIES = {Polarity.STATED: "", Polarity.SUSPECTED: "suspected ", Polarity.DENIED: "no ", Polarity.UNCLEAR: "possibly "}


def english_narrative(facts: LlmFacts) -> ReportNarrative:
    """Phrase the facts in English. A structure that neither doctor nor AI evidence speaks of is never called normal."""
    return ReportNarrative(
        findings=tuple(_findings(eye) for eye in facts.eyes),
        opinion=" ".join((*_measured(facts), _ai_opinion(facts), *_unread_by_doctor(facts), _conclusion(facts.doctor_conclusion))),
        advice=_advice(facts),
    )


def in_english(words: str) -> str:
    """A label's own English name; else the words as they are, with the English names of what is known in them."""
    if words in _LABELS:
        return _LABELS[words]
    known = "; ".join(_by_eye(find_claims(words)))
    return f"“{words}”" + (f" ({known})" if known else "")


def _by_eye(claims: Sequence[Claim]) -> tuple[str, ...]:
    """The findings in English, with their eye where one is named."""
    findings = [one for one in claims if one.concept in ENGLISH]
    named = {_eyes_en(one.eyes): [_finding(other) for other in findings if other.eyes == one.eyes] for one in findings}
    return tuple(f"{eyes}{': ' if eyes else ''}{', '.join(dict.fromkeys(words))}" for eyes, words in named.items())


def _finding(claim: Claim) -> str:
    return _POLARITIES[claim.polarity] + ENGLISH[claim.concept]


def _eyes_en(eyes: Sequence[Laterality]) -> str:
    if len(eyes) == 1:
        return "right eye" if eyes[0] is Laterality.RIGHT else "left eye"
    return "both eyes" if eyes else ""


def _name(eye: Laterality) -> str:
    return _eyes_en((eye,))


def _findings(eye: EyeFacts) -> EyeFindings:
    retina, macula, optic_disc, vessels = (_structure(eye, name) for name in _STRUCTURES)
    return EyeFindings(eye=eye.eye, retina=retina, macula=macula, optic_disc=optic_disc, vessels=vessels)


def _structure(eye: EyeFacts, structure: str) -> str:
    terms = [in_english(term) for term in dict.fromkeys((*eye.features, *eye.diseases)) if structure_of(term) == structure]
    said = " ".join((*([f"Doctor: {', '.join(terms)}."] if terms else []), *_ai_evidence(eye.ai, structure)))
    if eye.ungradable:
        return f"Not assessed (doctor: {_LABELS[eye.ungradable]}). {said}".strip()
    return said or _not_assessed(eye)


def _ai_evidence(ai: AiFacts, structure: str) -> tuple[str, ...]:
    areas = [area.name_en for area in (_ZONES[one] for one in ai.areas) if _ZONE_STRUCTURE.get(area, "retina") == structure]
    if areas:
        return (f"AI evidence in the {', '.join(areas)} suggests {in_english(ai.conclusion)}; for reference only.",)
    if structure != "retina" or ai.areas or ai.outcome is Outcome.NOT_ASSESSED:
        return ()
    if ai.outcome is Outcome.UNCERTAIN:
        return ("The AI's reading is uncertain; a doctor has to read it.",)
    return (f"AI reading: {in_english(ai.conclusion)}; for reference only.",)


def _not_assessed(eye: EyeFacts) -> str:
    if eye.ai.outcome is not Outcome.NOT_ASSESSED or eye.has_doctors_words:
        return "Not assessed separately."
    return "Not assessed (the photograph cannot be read)." if eye.ai.has_photo else "Not assessed (no photograph of this eye)."


def _measured(facts: LlmFacts) -> Iterable[str]:
    acuity = [f"{_name(eye.eye)} {eye.acuity_decimal:g}" for eye in facts.eyes if eye.acuity_decimal is not None]
    pressure = [f"{_name(eye.eye)} {eye.iop_mmhg:g} mmHg" for eye in facts.eyes if eye.iop_mmhg is not None]
    high = [_name(eye.eye) for eye in facts.eyes if (eye.iop_mmhg or 0) > IOP_LIMIT_MMHG]
    if acuity:
        yield f"Visual acuity (decimal): {', '.join(acuity)}."
    if pressure:
        yield f"Intraocular pressure: {', '.join(pressure)}."
    if high:
        yield f"The pressure is above the usual range ({', '.join(high)}); a doctor has to judge it."
    for eye in facts.eyes:
        if eye.measurement_doubts:
            yield f"A value measured on the {_name(eye.eye)} cannot be right and was not used; measure again."


def _ai_opinion(facts: LlmFacts) -> str:
    words = [f"{_name(eye.eye)}: {_ai_words(eye.ai)}" for eye in facts.eyes]
    words += [f"photograph of unknown side: {_ai_words(ai)}" for ai in facts.unsided]
    return f"AI-assisted reading – {'; '.join(words)}. The AI's word is for reference; the doctor's conclusion counts."


def _ai_words(ai: AiFacts) -> str:
    if not ai.has_photo:
        return "no photograph, not assessed"
    problems = [_DOUBTS.get(one, one) for one in ai.photo_problems]
    if ai.outcome is Outcome.NOT_ASSESSED:
        return f"photograph could not be assessed{_in_brackets(problems)}, which does not mean normal"
    details = [_DOUBTS.get(ai.doubt, ai.doubt)] if ai.doubt else []
    details += [f"confidence {ai.confidence_percent}%"] if ai.confidence_percent is not None else []
    details += [f"evidence: {', '.join(_ZONES[area].name_en for area in ai.areas)}"] if ai.areas else []
    word = "uncertain" if ai.outcome is Outcome.UNCERTAIN else in_english(ai.conclusion)
    return word + _in_brackets([*details, *problems])


def _in_brackets(details: Sequence[str]) -> str:
    return f" ({', '.join(details)})" if details else ""


def _unread_by_doctor(facts: LlmFacts) -> Iterable[str]:
    return (
        f"The doctor could not read the photograph of the {_name(eye.eye)}, which does not mean normal."
        for eye in facts.eyes
        if eye.ungradable
    )


def _conclusion(words: str) -> str:
    return f"Reviewed by a doctor, who concludes: {in_english(words.rstrip('。'))}."


def _advice(facts: LlmFacts) -> str:
    sentences = [_HOW_SOON[facts.urgency]] if facts.urgency else []
    sentences.append("Follow the doctor's recommendation." if facts.doctor_recommendation.strip() else "Ask your doctor when to come back.")
    retake = [_name(eye.eye) for eye in facts.eyes if eye.ai.outcome is Outcome.NOT_ASSESSED and eye.ungradable is None]
    if retake:
        sentences.append(f"Not assessed: {' and '.join(retake)}. That does not mean normal; have the fundus photographed again.")
    uncertain = [_name(eye.eye) for eye in facts.eyes if eye.ai.outcome is Outcome.UNCERTAIN]
    if uncertain:
        sentences.append(f"The AI is uncertain about the {' and the '.join(uncertain)}; the doctor's reading counts.")
    sentences.append(
        "See an eye hospital at once if sight drops suddenly, lines look bent, floaters increase, you see flashes, or the eye hurts."
    )
    return " ".join(sentences)
