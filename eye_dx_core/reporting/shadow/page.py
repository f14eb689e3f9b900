"""Champion and challenger as a page of words, before it becomes Markdown or HTML."""

from collections.abc import Iterator, Mapping

from eye_dx_core.reporting.daily.agreement import pairs_of
from eye_dx_core.reporting.daily.estimates import Spread
from eye_dx_core.reporting.daily.page import TOO_FEW, DayPage, Headline, Section, Tone, code_words, share_words
from eye_dx_core.reporting.shadow.comparing import Comparison, DoctorsChoice
from eye_dx_core.schema.routing import Urgency

_ORDER = [one.value for one in reversed(Urgency)]
_LEANING = (
    "Doctors had seen the champion's word and lean to it; only the second row, what they said before, is free of that"
    " (EYE_DX_DESK_BLIND_FIRST). p: McNemar's exact test; the case counts once."
)


def shadow_page(found: Comparison) -> DayPage:
    """Put a comparison into words."""
    return DayPage(
        title_zh=f"影子比较：挑战者 v{found.challenger_version} 对 冠军 v{found.champion_version}",
        title_en=f"Shadow report: challenger v{found.challenger_version} against champion v{found.champion_version}",
        counted_at=f"{found.at:%Y-%m-%d %H:%M %Z}",
        headlines=tuple(_headlines(found)),
        sections=tuple(section for section in _sections(found) if section.rows),
    )


def _headlines(found: Comparison) -> Iterator[Headline]:
    span = f"{found.first_received:%Y-%m-%d} – {found.last_received:%Y-%m-%d}"
    yield Headline(zh="比较病例", en="cases compared", value=str(found.cases), detail=f"{found.eyes} eyes 只眼, {span}")
    kappa = found.agreement.kappa
    yield Headline(zh="一致性 κ", en="kappa, 95 % interval", value=kappa.as_number() if kappa else TOO_FEW)
    same, compared = found.agreement.agreed, found.agreement.compared
    yield Headline(
        zh="结论相同", en="same conclusion", value=f"{same / compared:.1%}" if compared else "—", detail=f"{same} of {compared} eyes"
    )
    urgent = next(one for one in found.moved if one.line is Urgency.URGENT)
    missed = urgent.only_champion
    value = f"{missed} / {urgent.only_challenger}"
    yield Headline(
        zh="仅冠军 / 仅挑战者判为紧急",
        en="urgent for the champion / challenger alone",
        value=value,
        tone=Tone.ACT if missed else Tone.PLAIN,
    )
    doctors = found.doctors
    yield Headline(
        zh="医生仅同意冠军 / 挑战者",
        en="doctors with the champion / challenger alone",
        value=f"{doctors.only_champion} / {doctors.only_challenger}",
        detail=f"{doctors.cases} decided, {_p(doctors)}",
    )
    failed = sum(found.failures.values())
    yield Headline(zh="挑战者失败", en="challenger failed", value=str(failed), tone=Tone.ACT if failed else Tone.PLAIN)


def _sections(found: Comparison) -> Iterator[Section]:
    by_class = [
        (code_words(one.conclusion), str(one.compared), str(one.overridden), share_words(one.rate)) for one in found.agreement.by_class
    ]
    head = ("champion says 冠军结论", "eyes 眼", "challenger differs 不同", "rate, 95 % interval 比例")
    yield Section(zh="按结论", en="By the champion's conclusion", head=head, rows=tuple(by_class))
    yield _crossing("结论对照", "Conclusions, champion by challenger", found.agreement.matrix, list(pairs_of(found.agreement.matrix)))
    yield _crossing("是否有结论", "Assessed, uncertain, not assessed", found.outcomes, list(pairs_of(found.outcomes)))
    said = set(pairs_of(found.urgencies))
    yield _crossing("紧急程度", "Urgency", found.urgencies, [one for one in [*_ORDER, "none"] if one in said])
    moved = [
        (f"≥ {one.line.name_zh} {one.line.name_en}", str(one.both), str(one.only_champion), str(one.only_challenger)) for one in found.moved
    ]
    head = ("called at least 至少", "by both 两者", "champion alone 仅冠军", "challenger alone 仅挑战者")
    yield Section(zh="转诊变化", en="Referrals that change", head=head, rows=tuple(moved))
    yield _cases(found)
    yield _doctors(found)
    yield _confidence(found)
    yield _times(found)
    failures = tuple((name, str(count)) for name, count in found.failures.items())
    yield Section(zh="挑战者失败", en="Where the challenger failed", head=("error 错误", "cases 病例"), rows=failures)
    left_out = (("read by another champion 由其他冠军判读", str(found.other_champion)),) if found.other_champion else ()
    yield Section(zh="未比较", en="Left out", head=("why 原因", "cases 病例"), rows=left_out)


def _crossing(zh: str, en: str, matrix: Mapping[str, Mapping[str, int]], keys: list[str]) -> Section:
    rows = [(code_words(mine), *(str(matrix[mine].get(theirs, 0)) for theirs in keys)) for mine in keys if mine in matrix]
    return Section(
        zh=zh, en=en, head=("champion ↓ challenger → 冠军 ↓ 挑战者 →", *(key.replace("_", " ") for key in keys)), rows=tuple(rows)
    )


def _cases(found: Comparison) -> Section:
    rows = [
        (f"≥ {one.line.name_en}, {who}", ", ".join(case_ids))
        for one in found.moved
        for who, case_ids in (("champion alone", one.case_ids_only_champion), ("challenger alone", one.case_ids_only_challenger))
        if case_ids and one.line.rank >= Urgency.URGENT.rank
    ]
    return Section(zh="值得查看的病例", en="Cases to look at", head=("which 哪些", "case ids 病例号"), rows=tuple(rows))


def _doctors(found: Comparison) -> Section:
    head = ("doctors' word 医生结论", "cases 病例", "both 两者", "champion alone 仅冠军", "challenger alone 仅挑战者", "neither 均否", "p")
    rows = [
        (name, *map(str, (one.cases, one.both, one.only_champion, one.only_challenger, one.neither)), _p(one))
        for name, one in (("in the end 最终", found.doctors), ("before seeing the AI's 先行判读", found.doctors_blind))
    ]
    return Section(zh="医生同意谁", en="With whom the doctors go", head=head, rows=tuple(rows), note=_LEANING)


def _p(choice: DoctorsChoice) -> str:
    if choice.p_value is None:
        return "no difference"
    return "p < 0.001" if choice.p_value < 0.001 else f"p = {choice.p_value:.3f}"


def _confidence(found: Comparison) -> Section:
    shift = found.confidence_shift
    note = f"Where both conclude the same, the challenger is surer by {shift.as_number()}." if shift else ""
    head = ("reader 判读者", "eyes 眼", "10 %", "median 中位数", "mean 均值", "90 %")
    rows = [
        (name, str(one.count), *(TOO_FEW if value is None else f"{value:.2f}" for value in (one.p10, one.median, one.mean, one.p90)))
        for name, one in (("champion 冠军", found.confidence_champion), ("challenger 挑战者", found.confidence_challenger))
        if one
    ]
    return Section(zh="置信度", en="Confidence", head=head, rows=tuple(rows), note=note)


def _times(found: Comparison) -> Section:
    def row(name: str, spread: Spread) -> tuple[str, ...]:
        times = (TOO_FEW if one is None else f"{1000 * one:.0f} ms" for one in (spread.median, spread.p90, spread.largest))
        return name, str(spread.count), *times

    both = (("champion 冠军", found.seconds_champion), ("challenger 挑战者", found.seconds_challenger))
    head = ("reader 判读者", "cases 病例", "median 中位数", "90 %", "longest 最长")
    note = "Preparing the photograph included; both on the same photographs, one micro-batch of each pass."
    return Section(
        zh="每张照片用时", en="Time per photograph", head=head, rows=tuple(row(name, one) for name, one in both if one), note=note
    )
