"""Whether a text makes a patient come later than the doctor wants."""

from collections.abc import Iterator

from eye_dx_core.reporting.facts import LlmFacts
from eye_dx_core.reporting.guard.due import SOFTENERS, urgencies_in
from eye_dx_core.reporting.guard.violation import Violation
from eye_dx_core.reporting.identifiers import normalise
from eye_dx_core.schema.routing import Urgency


def wanted_urgency(facts: LlmFacts) -> Urgency | None:
    """The most urgent of what the doctor chose and of what the doctor's own words say."""
    said = [urgency for urgency, _ in urgencies_in(_doctors_text(facts))]
    return max((*said, *((facts.urgency,) if facts.urgency else ())), key=lambda one: one.rank, default=None)


def urgency_violations(slot: str, text: str, facts: LlmFacts) -> Iterator[Violation]:
    """Weaker words than the doctor's, and in the advice the lack of words as strong, where the doctor wants the patient soon.

    A stronger urgency than the one that the doctor chose is a false statement too.
    """
    text, doctors, wanted = normalise(text), _doctors_text(facts), wanted_urgency(facts)
    for word in sorted({one.group() for one in SOFTENERS.finditer(text)}):
        if word not in doctors:
            yield Violation(rule="urgency", slot=slot, text=f"医生没有写过延缓就诊的用语：{word}")
    said = urgencies_in(text)
    for urgency, word in said:
        if word not in doctors and wanted is not None and urgency.rank < wanted.rank:
            yield Violation(rule="urgency", slot=slot, text=f"弱于医生的要求（{wanted.name_zh}）：{word}")
        if word not in doctors and urgency.rank >= Urgency.SOON.rank and (wanted is None or urgency.rank > wanted.rank):
            yield Violation(rule="urgency", slot=slot, text=f"医生没有要求如此紧急：{word}")
    chosen = facts.urgency
    if slot == "advice" and chosen is not None and chosen.rank >= Urgency.SOON.rank and not any(one.rank >= chosen.rank for one, _ in said):
        yield Violation(rule="urgency", slot=slot, text=f"须写明医生评定的紧急程度：{chosen.name_zh}")


def _doctors_text(facts: LlmFacts) -> str:
    return normalise(f"{facts.doctor_conclusion}。{facts.doctor_recommendation}")
