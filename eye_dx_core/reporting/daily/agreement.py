"""Whether doctor and AI agree: eye by eye where the review names eyes, else case by case; and what the doctor had said before."""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import pandas as pd

from eye_dx_core.reporting.agreement import decide_agreement
from eye_dx_core.reporting.daily.estimates import Estimate, Pair, kappa_of, share_of
from eye_dx_core.reporting.daily.frames import DayFrames
from eye_dx_core.reporting.guard.claims import Polarity, find_claims
from eye_dx_core.reporting.guard.lexicon import NORMAL
from eye_dx_core.schema.condition import LABEL_SETS, LABELS, DrGrade
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.review import EyeReview

OTHER, UNGRADABLE = "other", "ungradable"
"""What is no label of any model here, such as 高度近视; what the doctor could not read."""

CasePairs = tuple[Pair, ...]
"""What is compared in one case."""


class ClassOverride(Frozen):
    """How often the doctor did not confirm what the AI had said, by what that was."""

    conclusion: str
    compared: int
    overridden: int
    rate: Estimate | None = None


class Agreement(Frozen):
    """AI and doctor on the same eyes, or on the same cases. `matrix` is AI code → doctor's code → how often."""

    compared: int
    cases: int
    agreed: int
    matrix: dict[str, dict[str, int]]
    kappa: Estimate | None
    by_class: tuple[ClassOverride, ...]


class BlindReading(Frozen):
    """Eyes that a doctor read before seeing the AI's word: both had a conclusion, then and in the end."""

    eyes: int = 0
    agreed_before: int = 0
    agreed_after: int = 0
    changed_towards_ai: int = 0
    changed_away_from_ai: int = 0
    agreement_before: Estimate | None = None


class DayAgreement(Frozen):
    """All that is compared of a day. An override is a case in which the doctor confirmed not everything that was compared."""

    by_eye: Agreement
    by_case: Agreement
    compared_cases: int
    overridden_cases: int
    override_rate: Estimate | None
    ungradable_for_doctor: int
    """Eyes that the AI read and the doctor called ungradable; nothing is compared there."""
    concluded_by_doctor_only: int
    """Eyes of which the AI had no conclusion."""
    blind: BlindReading


def measure_agreement(frames: DayFrames) -> DayAgreement:
    """Compare AI and doctor on a day's eyes and cases."""
    eyes, cases = with_doctors_code(frames.eyes), frames.cases
    by_text = cases[cases["conclusion"].notna() & cases["said"].notna()]
    texts = zip(by_text["conclusion"], by_text["said"], strict=True)
    by_case = Counter[CasePairs](((ai, _code_of_text(ai, said)),) for ai, said in texts)
    compared = eyes[eyes["compared"]]
    by_eye = _pairs_by_case(compared)
    both = by_eye + by_case
    overridden = sum(count for pairs, count in both.items() if any(ai != doctor for ai, doctor in pairs))
    return DayAgreement(
        by_eye=agreement_of(by_eye),
        by_case=agreement_of(by_case),
        compared_cases=both.total(),
        overridden_cases=overridden,
        override_rate=share_of(overridden, both.total()),
        ungradable_for_doctor=int((eyes["conclusion"].notna() & (eyes["doctor"] == UNGRADABLE)).sum()),
        concluded_by_doctor_only=int((eyes["conclusion"].isna() & eyes["doctor"].notna() & (eyes["doctor"] != UNGRADABLE)).sum()),
        blind=_measure_blind(compared),
    )


def with_doctors_code(eyes: pd.DataFrame) -> pd.DataFrame:
    """The eyes with what the doctor said of each, by code (None where nothing was), and whether it is compared with the AI's word."""
    doctor = [_code_said(ai, said) for ai, said in zip(eyes["conclusion"], eyes["said"], strict=True)]
    coded = eyes.assign(doctor=pd.Series(doctor, index=eyes.index, dtype="object"))
    return coded.assign(compared=coded["conclusion"].notna() & coded["doctor"].notna() & (coded["doctor"] != UNGRADABLE))


def _pairs_by_case(compared: pd.DataFrame) -> Counter[CasePairs]:
    pairs: dict[int, list[Pair]] = {}
    for case, ai, doctor in zip(compared["case"], compared["conclusion"], compared["doctor"], strict=True):
        pairs.setdefault(case, []).append((ai, doctor))
    return Counter(tuple(sorted(of_case)) for of_case in pairs.values())


def _measure_blind(compared: pd.DataFrame) -> BlindReading:
    blind = compared[compared["said_blind"].notna()]
    before = pd.Series([_code_said(ai, said) for ai, said in zip(blind["conclusion"], blind["said_blind"], strict=True)], index=blind.index)
    blind, before = blind[before != UNGRADABLE], before[before != UNGRADABLE]
    first, last = before == blind["conclusion"], blind["doctor"] == blind["conclusion"]
    return BlindReading(
        eyes=len(blind),
        agreed_before=int(first.sum()),
        agreed_after=int(last.sum()),
        changed_towards_ai=int((last & ~first).sum()),
        changed_away_from_ai=int((first & ~last).sum()),
        agreement_before=share_of(int(first.sum()), len(blind)),
    )


@lru_cache(maxsize=65_536)  # doctors say the same few hundred things
def _code_said(ai_code: str | None, said: str | None) -> str | None:
    """What the doctor said of an eye, by code: the AI's where it is confirmed, among whatever else was said."""
    if said is None:
        return None
    eye = EyeReview.model_validate_json(said)
    if eye.ungradable is not None:
        return UNGRADABLE
    return _code(ai_code, "、".join(eye.terms_zh), eye.labels, eye.dr_grade)


@lru_cache(maxsize=65_536)
def _code_of_text(ai_code: str, conclusion: str) -> str:
    return _code(ai_code, conclusion, (), None)


def _code(ai_code: str | None, words: str, labels: tuple[str, ...], grade: DrGrade | None) -> str:
    if ai_code is not None and decide_agreement(LABELS[ai_code], words):
        return ai_code
    if labels:
        return f"D{grade:d}" if labels[0] == "D" and grade is not None else labels[0]
    stated = (one.concept for one in find_claims(words) if one.polarity is not Polarity.DENIED)
    return next(("N" if concept == NORMAL else concept for concept in stated if concept in LABELS or concept == NORMAL), OTHER)


def agreement_of(cases: Counter[CasePairs]) -> Agreement:
    """Agreement of two on the same cases, in the label set of the first: what is compared in a case → how many cases have just that."""
    in_set = _in_one_label_set(cases)
    pairs = Counter[Pair]()
    for of_case, count in in_set.items():
        for pair in of_case:
            pairs[pair] += count
    matrix: dict[str, dict[str, int]] = {}
    for (ai, doctor), count in sorted(pairs.items()):
        matrix.setdefault(ai, {})[doctor] = count
    return Agreement(
        compared=pairs.total(),
        cases=in_set.total(),
        agreed=sum(row.get(ai, 0) for ai, row in matrix.items()),
        matrix=matrix,
        kappa=kappa_of(in_set),
        by_class=tuple(_override(ai, row) for ai, row in matrix.items()),
    )


def _override(ai: str, row: dict[str, int]) -> ClassOverride:
    compared = sum(row.values())
    overridden = compared - row.get(ai, 0)
    return ClassOverride(conclusion=ai, compared=compared, overridden=overridden, rate=share_of(overridden, compared))


def _in_one_label_set(cases: Counter[CasePairs]) -> Counter[CasePairs]:
    """The doctor's codes in the label set of the AI: where that knows no grades, a graded retinopathy is one of them all."""
    said = {ai for pairs in cases for ai, _ in pairs}
    known = next((one for one in LABEL_SETS.values() if said <= set(one.codes)), LABEL_SETS["eight"])
    counted = Counter[CasePairs]()
    for pairs, count in cases.items():
        counted[tuple((ai, known.folder_to_label.get(doctor, doctor)) for ai, doctor in pairs)] += count
    return counted


def pairs_of(matrix: dict[str, dict[str, int]]) -> Iterable[str]:
    """Every code of a matrix, those of the AI first."""
    return dict.fromkeys([*matrix, *(code for row in matrix.values() for code in row)])
