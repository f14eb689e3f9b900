"""Which claims the facts of a case support."""

from collections.abc import Iterable, Iterator, Sequence

from eye_dx_core.reporting.facts import EYES, AiFacts, EyeFacts, LlmFacts
from eye_dx_core.reporting.guard.claims import Claim, Eyes, Polarity, Voice, find_claims
from eye_dx_core.reporting.guard.lexicon import ASSESSABLE, HIGH_IOP, NORMAL_IOP, NOT_ASSESSED, UNCERTAIN, everything_said_by
from eye_dx_core.reporting.template import IOP_LIMIT_MMHG, LOWEST_IOP_MMHG
from eye_dx_core.schema.diagnosis import Outcome

# A span that may stand for another: "within three months" for "in three months", never the other way round.
_SOONER_THAN = {"within": ("within", "after", "every"), "after": ("after", "every"), "every": ("every",)}


def known_claims(facts: LlmFacts) -> tuple[Claim, ...]:
    """What may be claimed: the facts read by the same reader as the report, with what they imply."""
    return tuple(claim for found in _read(facts) for claim in _with_implied(found))


def is_supported(claim: Claim, known: Iterable[Claim]) -> bool:
    """Whether every eye the claim speaks of has a known claim behind it; without an eye, any one will do."""
    behind = [one for one in known if _is_the_same(one, claim) and _carries(one, claim)]
    return all(any(eye in one.eyes for one in behind) for eye in claim.eyes) if claim.eyes else bool(behind)


def _is_the_same(known: Claim, claim: Claim) -> bool:
    """Whether the known claim is of the same thing, or of a narrower one with the same name at its end."""
    if claim.concept.startswith("other:") and known.concept.startswith("other:"):
        return known.concept.endswith(claim.concept.removeprefix("other:"))
    kind, _, days = claim.concept.partition(":")
    if kind in _SOONER_THAN:
        return known.concept in {f"{one}:{days}" for one in _SOONER_THAN[kind]}
    return known.concept == claim.concept


def _carries(known: Claim, claim: Claim) -> bool:
    if claim.is_number or claim.is_zone:
        return True
    if Polarity.UNCLEAR in (known.polarity, claim.polarity) or (claim.qualifier and claim.qualifier != known.qualifier):
        return False
    if known.voice is Voice.AI and claim.voice is not Voice.AI:
        return False  # what only the AI says must be marked as the AI's
    if claim.voice is Voice.AI and known.voice is Voice.DOCTOR:
        return False  # and the AI did not say what only the doctor says
    if Polarity.DENIED in (known.polarity, claim.polarity):
        return known.polarity is claim.polarity
    # An AI label is a suspicion by nature and marked as such; a doctor's "suspected" must stay one.
    return known.voice is Voice.AI or known.polarity is Polarity.STATED or claim.polarity is Polarity.SUSPECTED


def _with_implied(claim: Claim) -> Iterator[Claim]:
    if claim.polarity is Polarity.DENIED or claim.is_number or claim.is_zone:
        yield claim
        return
    for concept in everything_said_by(claim.concept):
        yield claim.model_copy(update={"concept": concept})


def _read(facts: LlmFacts) -> Iterator[Claim]:
    # A doctor who names no eye speaks of both; an AI reading of an unknown eye speaks for neither.
    yield from _as_said_by(Voice.DOCTOR, find_claims(facts.doctor_conclusion, eyes=EYES))
    # A recommendation to look for something does not say that it is there.
    for claim in _as_said_by(Voice.DOCTOR, find_claims(facts.doctor_recommendation, eyes=EYES)):
        is_told = claim.polarity is not Polarity.STATED or claim.is_number
        yield claim if is_told else claim.model_copy(update={"polarity": Polarity.SUSPECTED})
    yield from find_claims(facts.age or "", eyes=EYES)
    for eye in facts.eyes:
        yield from _read_eye(eye)
    for ai in facts.unsided:
        yield from _read_ai(ai, ())


def _read_eye(eye: EyeFacts) -> Iterator[Claim]:
    yield from _as_said_by(Voice.DOCTOR, find_claims("。".join((*eye.features, *eye.diseases)), eyes=(eye.eye,)))
    read = _read_ai(eye.ai, (eye.eye,))
    if eye.ungradable is None:
        yield from read
    else:
        yield _stated(NOT_ASSESSED, (eye.eye,))
        yield from (one for one in read if one.concept != ASSESSABLE)
    yield from find_claims("".join(eye.measurement_doubts), eyes=(eye.eye,))
    if eye.acuity_decimal is not None:
        yield _stated(f"acuity:{eye.acuity_decimal:g}", (eye.eye,))
    if eye.iop_mmhg is not None:
        yield _stated(f"iop:{eye.iop_mmhg:g}", (eye.eye,))
        if eye.iop_mmhg > IOP_LIMIT_MMHG:
            yield _stated(HIGH_IOP, (eye.eye,))
        elif eye.iop_mmhg >= LOWEST_IOP_MMHG:
            yield _stated(NORMAL_IOP, (eye.eye,))


def _read_ai(ai: AiFacts, eyes: Eyes) -> Iterator[Claim]:
    yield _stated(NOT_ASSESSED if ai.outcome is Outcome.NOT_ASSESSED else ASSESSABLE, eyes)
    if ai.outcome is Outcome.UNCERTAIN:
        yield _stated(UNCERTAIN, eyes)
    if ai.outcome is Outcome.ASSESSED:
        yield from _as_said_by(Voice.AI, find_claims(ai.conclusion, eyes=eyes))
    yield from (_stated(f"zone:{area}", eyes) for area in ai.areas)
    if ai.confidence_percent is not None:
        yield _stated(f"confidence:{ai.confidence_percent}", eyes)
    yield from find_claims("。".join(ai.photo_problems), eyes=eyes)


def _stated(concept: str, eyes: Eyes) -> Claim:
    return Claim(concept=concept, polarity=Polarity.STATED, eyes=eyes, voice=Voice.NOBODY)


def _as_said_by(voice: Voice, claims: Sequence[Claim]) -> Iterator[Claim]:
    return (claim.model_copy(update={"voice": voice}) for claim in claims)
