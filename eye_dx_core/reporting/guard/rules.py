"""The guard: what a report must and must not say, as deterministic checks of a narrative against the facts of its case."""

import re
from collections.abc import Iterable, Iterator

from eye_dx_core.reporting.facts import EYES, LlmFacts
from eye_dx_core.reporting.guard.claims import find_claims
from eye_dx_core.reporting.guard.concord import concord_violations
from eye_dx_core.reporting.guard.faithfulness import claim_violations, finding_violations, silence_violations
from eye_dx_core.reporting.guard.support import known_claims
from eye_dx_core.reporting.guard.urgency import urgency_violations
from eye_dx_core.reporting.guard.violation import RULES, Violation
from eye_dx_core.reporting.guard.wording import identifier_violation, wording_violations
from eye_dx_core.reporting.identifiers import has_identifier
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.schema.report import EyeFindings


def violations(narrative: ReportNarrative, facts: LlmFacts) -> tuple[Violation, ...]:
    """Every rule that the narrative breaks, in the order of the checks; none for a text that only repeats what is known."""
    if tuple(one.eye for one in narrative.findings) != EYES:
        return (Violation(rule="shape", slot="findings", text="必须按右眼、左眼的顺序各写一份检查所见"),)
    return tuple(sorted(dict.fromkeys(_violations(narrative, facts)), key=lambda one: RULES[one.rule].check))


def _violations(narrative: ReportNarrative, facts: LlmFacts) -> Iterator[Violation]:
    known = known_claims(facts)
    for eye, findings in zip(facts.eyes, narrative.findings, strict=True):
        for structure, text in _slots(findings):
            yield from finding_violations(structure, text, eye, facts, known)
    for slot, text in (("opinion", narrative.opinion), ("advice", narrative.advice)):
        yield from claim_violations(slot, find_claims(text), known)
    yield from silence_violations(narrative.opinion, facts)
    for slot, text in texts_of(narrative):
        yield from wording_violations(slot, text, facts)
        yield from urgency_violations(slot, text, facts)
        yield from concord_violations(slot, text, facts, known)


def identifier_violations(narrative: ReportNarrative, identifiers: Iterable[re.Pattern[str]]) -> tuple[Violation, ...]:
    """Where the narrative names the patient, the doctor or the case; facts cannot tell, they do not hold the names."""
    patterns = tuple(identifiers)
    return tuple(identifier_violation(slot) for slot, text in texts_of(narrative) if has_identifier(text, patterns))


def texts_of(narrative: ReportNarrative) -> tuple[tuple[str, str], ...]:
    """Every slot with its text."""
    texts = [(f"{one.eye}.{slot}", text) for one in narrative.findings for slot, text in _slots(one)]
    return (*texts, ("opinion", narrative.opinion), ("advice", narrative.advice))


def _slots(findings: EyeFindings) -> tuple[tuple[str, str], ...]:
    return tuple((slot, getattr(findings, slot)) for slot in ("retina", "macula", "optic_disc", "vessels"))
