"""Whether a doctor's free text and the AI's label say the same."""

from eye_dx_core.reporting.guard.claims import Polarity, find_claims
from eye_dx_core.reporting.guard.lexicon import ABNORMAL, NORMAL, everything_said_by
from eye_dx_core.schema.condition import Condition, Label


def decide_agreement(label: Label, doctors_conclusion: str) -> bool:
    """Whether a doctor's free-text conclusion agrees with the AI's label.

    It does when it names the label or a kind of the label's condition without denying it (疑似 counts, 排除 does not);
    a normal label agrees with a conclusion that says normal and names nothing else, and "some disease" with any disease.
    """
    claims = [one for one in find_claims(doctors_conclusion) if one.polarity is not Polarity.DENIED]
    said = {concept for one in claims for concept in everything_said_by(one.concept)}
    if label.is_normal:
        denies_it = any(one.concept == Condition.DR and one.polarity is Polarity.DENIED for one in find_claims(doctors_conclusion))
        return ABNORMAL not in said and (NORMAL in said or (label.code == "D0" and denies_it))
    if label.condition is Condition.DISEASE:
        return ABNORMAL in said
    return label.code in said or label.condition.value in said
