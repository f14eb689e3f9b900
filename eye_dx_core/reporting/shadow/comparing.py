"""Champion and challenger on the same cases: where they differ, in which direction, and with whom the doctors go."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from pydantic import AwareDatetime
from scipy.stats import binomtest

from eye_dx_core.records.figures import figures_of
from eye_dx_core.records.port import CaseRecord
from eye_dx_core.reporting.agreement import decide_agreement
from eye_dx_core.reporting.daily.agreement import UNGRADABLE, Agreement, agreement_of, with_doctors_code
from eye_dx_core.reporting.daily.estimates import LEAST_FOR_A_SHARE, Estimate, Pair, Spread, spread_of
from eye_dx_core.reporting.daily.frames import DayFrames, frames_of
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import AiDiagnosis, EyeDiagnosis
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.routing import Urgency
from eye_dx_core.schema.shadow import ShadowReading

SHOWN_CASES = 20
"""Ids of cases in each direction, for whoever wants to look at them."""
_Z = NormalDist().inv_cdf(0.975)
_ONLY_CHAMPION, _ONLY_CHALLENGER = (True, False), (False, True)


class Moved(Frozen):
    """Cases that cross a line of urgency, by who calls them at least that urgent."""

    line: Urgency
    both: int
    only_champion: int
    only_challenger: int
    case_ids_only_champion: tuple[str, ...] = ()
    case_ids_only_challenger: tuple[str, ...] = ()
    """The first `SHOWN_CASES` of each."""


class DoctorsChoice(Frozen):
    """Cases that a doctor decided, by who of the two agrees with everything the doctor said of them."""

    cases: int
    both: int
    only_champion: int
    only_challenger: int
    neither: int
    p_value: float | None = None
    """McNemar's exact test (1947) on the cases that only one has right; None where there is none."""


class Comparison(Frozen):
    """What a challenger said of cases against what the champion had said."""

    at: AwareDatetime
    champion_version: str
    challenger_version: str
    first_received: AwareDatetime
    last_received: AwareDatetime
    cases: int
    eyes: int
    other_champion: int
    """Cases that another version had read as champion; nothing is compared there."""
    failures: dict[str, int]
    """Class of error → cases that the challenger could not read."""
    outcomes: dict[str, dict[str, int]]
    """Champion's outcome → challenger's → eyes."""
    agreement: Agreement
    """Of eyes of which both conclude something; its matrix is champion's code → challenger's."""
    urgencies: dict[str, dict[str, int]]
    """Champion's urgency → challenger's → cases."""
    moved: tuple[Moved, ...]
    doctors: DoctorsChoice
    doctors_blind: DoctorsChoice
    """By what doctors said before they saw the champion's word."""
    confidence_champion: Spread | None
    confidence_challenger: Spread | None
    confidence_shift: Estimate | None
    """Challenger minus champion, of eyes with the same conclusion; the case is what is independent."""
    seconds_champion: Spread | None
    seconds_challenger: Spread | None
    """For a photograph, on the same photographs."""


def compare(said: Iterable[tuple[CaseRecord, ShadowReading]], *, at: AwareDatetime) -> Comparison | None:
    """Compare; None where nothing was read. Of several champions the last counts: what another said is left out."""
    everything = [(record, reading) for record, reading in said if record.diagnosis is not None]
    if not everything:
        return None
    champion = everything[-1][0].diagnosis
    pairs = [(record, one) for record, one in everything if champion and _hash(record) == champion.checkpoint_sha256]
    read = [(record, one.diagnosis) for record, one in pairs if one.diagnosis is not None]
    eyes = [_eye_pairs(record.diagnosis, other) for record, other in read if record.diagnosis]
    received = [record.case.received_at for record, _ in pairs]
    both_read = [(mine, theirs) for of_case in eyes for mine, theirs in of_case]
    timed = [one for _, one in pairs if one.champion_seconds_per_photo is not None and one.seconds_per_photo is not None]
    urgencies = [(_urgency(record.diagnosis), _urgency(other), record.case.case_id) for record, other in read]
    return Comparison(
        at=at,
        champion_version=champion.model_version if champion else "",
        challenger_version=everything[-1][1].model_version,
        first_received=min(received),
        last_received=max(received),
        cases=len(read),
        eyes=len(both_read),
        other_champion=len(everything) - len(pairs),
        failures=dict(Counter(one.failure for _, one in pairs if one.failure is not None)),
        outcomes=_crossed((mine.outcome.value, theirs.outcome.value) for mine, theirs in both_read),
        agreement=agreement_of(Counter(codes for of_case in eyes if (codes := _codes(of_case)))),
        urgencies=_crossed((mine or "none", theirs or "none") for mine, theirs, _ in urgencies),
        moved=tuple(_moved(line, urgencies) for line in (Urgency.SAME_DAY, Urgency.URGENT, Urgency.ROUTINE)),
        doctors=_doctors_choice(read, blind=False),
        doctors_blind=_doctors_choice(read, blind=True),
        confidence_champion=_confidence(mine for mine, _ in both_read),
        confidence_challenger=_confidence(theirs for _, theirs in both_read),
        confidence_shift=_shift(eyes),
        seconds_champion=spread_of(np.array([one.champion_seconds_per_photo for one in timed])),
        seconds_challenger=spread_of(np.array([one.seconds_per_photo for one in timed])),
    )


def _hash(record: CaseRecord) -> str:
    return record.diagnosis.checkpoint_sha256 if record.diagnosis else ""


def _eye_pairs(champion: AiDiagnosis, challenger: AiDiagnosis) -> list[tuple[EyeDiagnosis, EyeDiagnosis]]:
    """The photographed eyes; both readers are told by the same sources which eye a photograph shows."""
    theirs = {one.eye: one for one in challenger.eyes}
    return [(one, theirs[one.eye]) for one in champion.eyes if one.photos and one.eye in theirs]


def _codes(of_case: Sequence[tuple[EyeDiagnosis, EyeDiagnosis]]) -> tuple[Pair, ...]:
    said = ((mine.conclusion, theirs.conclusion) for mine, theirs in of_case)
    return tuple(sorted((mine, theirs) for mine, theirs in said if mine is not None and theirs is not None))


def _crossed(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    crossed: dict[str, dict[str, int]] = {}
    for (mine, theirs), count in sorted(Counter(pairs).items()):
        crossed.setdefault(mine, {})[theirs] = count
    return crossed


def _urgency(diagnosis: AiDiagnosis | None) -> Urgency | None:
    return diagnosis.routing.urgency if diagnosis and diagnosis.routing else None


def _moved(line: Urgency, urgencies: Sequence[tuple[Urgency | None, Urgency | None, str]]) -> Moved:
    def is_over(urgency: Urgency | None) -> bool:
        return urgency is not None and urgency.rank >= line.rank

    sides = [((is_over(mine), is_over(theirs)), case_id) for mine, theirs, case_id in urgencies]
    lost, gained = ([case_id for side, case_id in sides if side == wanted] for wanted in (_ONLY_CHAMPION, _ONLY_CHALLENGER))
    return Moved(
        line=line,
        both=sum(side == (True, True) for side, _ in sides),
        only_champion=len(lost),
        only_challenger=len(gained),
        case_ids_only_champion=tuple(lost[:SHOWN_CASES]),
        case_ids_only_challenger=tuple(gained[:SHOWN_CASES]),
    )


def _doctors_choice(read: Sequence[tuple[CaseRecord, AiDiagnosis]], *, blind: bool) -> DoctorsChoice:
    """The case is what is independent, so it counts once, and as agreed when everything that the doctor decided of it is."""
    mine = _agreed(frames_of(figures_of(record for record, _ in read)), blind=blind)
    others = (record.model_copy(update={"diagnosis": other}) for record, other in read)
    theirs = _agreed(frames_of(figures_of(others)), blind=blind)
    sides = Counter((mine[case], theirs[case]) for case in mine.keys() & theirs.keys())
    lost, gained = sides[_ONLY_CHAMPION], sides[_ONLY_CHALLENGER]
    return DoctorsChoice(
        cases=sides.total(),
        both=sides[True, True],
        only_champion=lost,
        only_challenger=gained,
        neither=sides[False, False],
        p_value=float(binomtest(gained, lost + gained).pvalue) if lost + gained else None,
    )


def _agreed(frames: DayFrames, *, blind: bool) -> dict[int, bool]:
    """By number of the case, of those that a doctor decided. Who concludes nothing of an eye does not agree with a doctor who does."""
    eyes = with_doctors_code(frames.eyes.assign(said=frames.eyes["said_blind"]) if blind else frames.eyes)
    decided = eyes[eyes["doctor"].notna() & (eyes["doctor"] != UNGRADABLE)]
    whole = (decided["doctor"] == decided["conclusion"]).groupby(decided["case"]).all()
    agreed = {int(case): bool(one) for case, one in zip(whole.index.to_numpy(), whole.to_numpy(), strict=True)}
    if blind:
        return agreed
    by_text = frames.cases[frames.cases["said"].notna()]
    texts = zip(by_text.index.to_numpy(), by_text["conclusion"], by_text["said"], strict=True)
    return agreed | {int(case): code is not None and decide_agreement(LABELS[code], text) for case, code, text in texts}


def _confidence(eyes: Iterable[EyeDiagnosis]) -> Spread | None:
    return spread_of(np.array([one.confidence for one in eyes if one.confidence is not None]))


def _sure_of_the_same(of_case: Sequence[tuple[EyeDiagnosis, EyeDiagnosis]]) -> Iterator[tuple[float, float]]:
    for mine, theirs in of_case:
        is_same = mine.conclusion is not None and mine.conclusion == theirs.conclusion
        if is_same and mine.confidence is not None and theirs.confidence is not None:
            yield mine.confidence, theirs.confidence


def _shift(eyes: Iterable[Sequence[tuple[EyeDiagnosis, EyeDiagnosis]]]) -> Estimate | None:
    by_case = [float(np.mean(shifts)) for of_case in eyes if (shifts := [theirs - mine for mine, theirs in _sure_of_the_same(of_case)])]
    if len(by_case) < LEAST_FOR_A_SHARE:
        return None
    middle, reach = float(np.mean(by_case)), _Z * float(np.std(by_case, ddof=1)) / sqrt(len(by_case))
    return Estimate(value=middle, low=middle - reach, high=middle + reach)
