"""The day as a page of words, before it becomes Markdown, HTML or PDF: all three show the same."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from eye_dx_core.reporting.daily.agreement import Agreement, pairs_of
from eye_dx_core.reporting.daily.drift import REFERENCE_DAYS, drift_rows
from eye_dx_core.reporting.daily.estimates import LEAST_FOR_A_SHARE, LEAST_FOR_KAPPA, Estimate, Spread
from eye_dx_core.reporting.daily.places import Ungradable
from eye_dx_core.reporting.daily.report import DailyReport
from eye_dx_core.reporting.daily.times import DayTimes, step_zh
from eye_dx_core.schema.condition import LABELS, NOT_ASSESSED_EN, NOT_ASSESSED_ZH
from eye_dx_core.schema.diagnosis import Outcome
from eye_dx_core.schema.frozen import Frozen

TOO_FEW = "too few 数量不足"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


class Tone(StrEnum):
    """Whether somebody must do something."""

    PLAIN = "plain"
    ACT = "act"


class Headline(Frozen):
    """One figure of the first line."""

    zh: str
    en: str
    value: str
    detail: str = ""
    tone: Tone = Tone.PLAIN


class Section(Frozen):
    """A heading with one table. The first column is what the row is about, the others are figures."""

    zh: str
    en: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


class DayPage(Frozen):
    """The whole page. Without sections there was nothing to count."""

    title_zh: str
    title_en: str
    counted_at: str
    headlines: tuple[Headline, ...]
    sections: tuple[Section, ...]
    nothing_zh: str = "当日没有病例。"
    nothing_en: str = "No case was received on this day."


def day_page(report: DailyReport) -> DayPage:
    """Put a day into words."""
    sections = _sections(report) if report.cases or report.dead_letters else ()
    return DayPage(
        title_zh=f"眼底筛查日报 {report.day}",
        title_en=f"Diagnosis report of {report.day}",
        counted_at=f"{report.at:%Y-%m-%d %H:%M %Z}",
        headlines=tuple(_headlines(report)) if sections else (),
        sections=tuple(section for section in sections if section.rows),
    )


def _headlines(report: DailyReport) -> Iterator[Headline]:
    yield Headline(zh="收到病例", en="cases received", value=str(report.cases), detail=f"{report.eyes} eyes read 只眼")
    done = f"{report.diagnosed} / {report.reviewed} / {report.reported}"
    yield Headline(zh="AI 判读 / 复核 / 报告", en="diagnosed / reviewed / reported", value=done)
    urgent = report.times.overdue_urgent
    tone = Tone.ACT if urgent else Tone.PLAIN
    yield Headline(
        zh="紧急病例超时未复核", en="urgent, overdue", value=str(urgent), detail=f"{report.times.overdue} of any urgency", tone=tone
    )
    agreement = report.agreement
    share = "—" if agreement.override_rate is None else f"{1 - agreement.override_rate.value:.0%}"
    compared = f"{agreement.compared_cases - agreement.overridden_cases} of {agreement.compared_cases} cases"
    yield Headline(zh="医生与 AI 一致", en="doctor agrees with AI", value=share, detail=compared)
    unread = report.eyes_of(Outcome.NOT_ASSESSED)
    share = f"{unread / report.eyes:.0%}" if report.ungradable else str(unread)
    yield Headline(zh="未能评估的眼", en="eyes not assessed", value=share, detail=f"{unread} of {report.eyes}")
    tone = Tone.ACT if report.undelivered else Tone.PLAIN
    yield Headline(zh="未送达消息", en="undelivered messages", value=str(report.undelivered), detail="", tone=tone)
    dead = sum(report.dead_letters.values())
    yield Headline(zh="死信", en="dead letters", value=str(dead), tone=Tone.ACT if dead else Tone.PLAIN)
    drifted = len(report.drift.drifted) if report.drift else 0
    words = ", ".join(one.subject for one in report.drift.drifted) if report.drift and drifted else "none"
    yield Headline(zh="漂移", en="drift", value=str(drifted), detail=words, tone=Tone.ACT if drifted else Tone.PLAIN)


def _sections(report: DailyReport) -> Iterator[Section]:
    yield _overdue(report.times)
    yield _conclusions(report)
    yield from _agreement_sections(report)
    yield _turnaround(report.times)
    for zh, en, places in (("按相机", "by camera", report.cameras), ("按来源", "by site", report.sites)):
        yield _ungradable(f"无法判读的照片：{zh}", f"Photographs that could not be read, {en}", places)
    yield _counted("未能评估的原因", "Why eyes were not assessed", "reason 原因", report.not_assessed_reasons)
    yield _counted("不确定的原因", "Why eyes are uncertain", "reason 原因", report.uncertain_reasons)
    yield _confidence(report)
    yield _counted("报告由谁撰写", "Reports by writer", "writer 撰写者", report.written_by)
    yield _counted("语言模型文本的核查", "What became of the language model's texts", "outcome 结果", report.guard)
    yield _counted("被拒文本违反的规则", "Rules that refused texts broke", "rule 规则", report.guard_rules)
    yield _counted("改用模板的原因", "Why the template wrote instead", "reason 原因", report.fallbacks)
    sent = [(kind, str(one.sent), str(one.unsent)) for kind, one in report.deliveries.items()]
    yield Section(zh="消息送达", en="Deliveries", head=("message 消息", "confirmed 已确认", "waiting 待发"), rows=tuple(sent))
    yield _counted("死信", "Dead letters", "reason 原因", report.dead_letters)
    yield _drift(report)


def _conclusions(report: DailyReport) -> Section:
    eyes = [eye for eye in ("OD", "OS", "unknown") if any(eye in row for row in report.conclusions.values())]
    names = {"OD": "OD 右眼", "OS": "OS 左眼", "unknown": "side unknown 眼别不明"}
    rows = [
        (code_words(key), *(str(row.get(eye, 0)) for eye in eyes), str(sum(row.values())), f"{sum(row.values()) / report.eyes:.1%}")
        for key, row in report.conclusions.items()
    ]
    head = ("conclusion 结论", *(names[eye] for eye in eyes), "eyes 合计", "share 占比")
    return Section(zh="各眼 AI 结论", en="AI conclusions per eye", head=head, rows=tuple(rows))


def _agreement_sections(report: DailyReport) -> Iterator[Section]:
    for zh, en, measured in (
        ("每眼", "per eye", report.agreement.by_eye),
        ("每例", "per case, where the review names no eye", report.agreement.by_case),
    ):
        if measured.compared:
            yield _matrix(zh, en, measured)
    case = report.agreement
    units = (("eyes 眼", case.by_eye), ("cases 病例", case.by_case))
    rows = [
        (code_words(one.conclusion), unit, str(one.compared), str(one.overridden), share_words(one.rate))
        for unit, measured in units
        for one in measured.by_class
    ]
    if case.compared_cases:
        every = (
            "all conclusions 全部结论",
            "cases 病例",
            str(case.compared_cases),
            str(case.overridden_cases),
            share_words(case.override_rate),
        )
        rows.insert(0, every)
    head = ("AI conclusion AI 结论", "of 单位", "compared 比较", "overridden 改判", "rate, 95 % interval 改判率")
    note = (
        f"A rate needs {LEAST_FOR_A_SHARE} comparisons (Wilson's interval). Called ungradable by the doctor though the AI read them: "
        + (f"{case.ungradable_for_doctor} eyes. Read by the doctor only: {case.concluded_by_doctor_only} eyes.")
    )
    yield Section(zh="医生改判", en="Overridden by the doctor", head=head, rows=tuple(rows), note=note)
    yield _blind(report)


def _matrix(zh: str, en: str, measured: Agreement) -> Section:
    codes = list(pairs_of(measured.matrix))
    rows = [(code_words(ai), *(str(row.get(code, "·")) for code in codes)) for ai, row in measured.matrix.items()]
    kappa = f"{TOO_FEW} ({LEAST_FOR_KAPPA} cases are needed, and more than one conclusion)"
    if measured.kappa:
        kappa = f"{measured.kappa.as_number()}; its interval counts the eyes of one patient as one observation"
    note = f"{measured.agreed} of {measured.compared} agree. Cohen's kappa {kappa}."
    return Section(
        zh=f"AI 与医生对照（{zh}）", en=f"AI against doctor, {en}", head=("AI ↓ doctor 医生 →", *codes), rows=tuple(rows), note=note
    )


def _blind(report: DailyReport) -> Section:
    blind = report.agreement.blind
    rows = (
        ("eyes read before the AI's word was shown 先独立判读", str(blind.eyes)),
        ("agreed with the AI before 独立判读时一致", f"{blind.agreed_before}, {share_words(blind.agreement_before)}"),
        ("agreed in the end 最终一致", str(blind.agreed_after)),
        ("changed towards the AI 改为与 AI 一致", str(blind.changed_towards_ai)),
        ("changed away from the AI 改为与 AI 不一致", str(blind.changed_away_from_ai)),
    )
    head = ("blind-first reading 盲读", "eyes 眼")
    return Section(zh="先盲读后看 AI", en="Read before the AI's word was shown", head=head, rows=rows if blind.eyes else ())


def _overdue(times: DayTimes) -> Section:
    rows = [
        (
            f"{one.urgency.name_zh} {one.urgency.name_en}",
            f"{one.urgency.review_hours} h",
            *map(str, (one.cases, one.in_time, one.late, one.waiting, one.overdue)),
        )
        for one in times.reviews
    ]
    head = ("urgency 紧急程度", "review within 复核时限", "cases 病例", "in time 按时", "late 超时", "waiting 待复核", "overdue 逾期未复核")
    note = "From receipt, by the urgency that the AI proposed; the hours are a rule of this house."
    return Section(zh="医生复核时限", en="The doctor's clock", head=head, rows=tuple(rows), note=note)


def _turnaround(times: DayTimes) -> Section:
    rows = [(f"{step_zh(step)} {step.value}", str(one.count), *_percentiles(one)) for step, one in times.steps.items()]
    head = ("step 步骤", "cases 病例", "median 中位数", "90 %", "99 %", "longest 最长")
    return Section(zh="各步用时", en="How long each step took", head=head, rows=tuple(rows))


def _percentiles(spread: Spread) -> tuple[str, ...]:
    return tuple(_duration(one) for one in (spread.median, spread.p90, spread.p99, spread.largest))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return TOO_FEW
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.1f} d"


def _ungradable(zh: str, en: str, places: Sequence[Ungradable]) -> Section:
    rows = [(one.place, str(one.photos), str(one.ungradable), share_words(one.rate)) for one in places]
    head = ("from 来自", "photographs 照片", "not read 无法判读", "rate, 95 % interval 比例")
    return Section(zh=zh, en=en, head=head, rows=tuple(rows))


def _confidence(report: DailyReport) -> Section:
    spread = report.confidence
    if spread is None:
        return Section(zh="置信度", en="Confidence", head=(), rows=())
    shown = (f"{one:.2f}" if one is not None else TOO_FEW for one in (spread.p10, spread.median, spread.mean, spread.p90))
    head = ("confidence 置信度", "eyes 眼", "10 %", "median 中位数", "mean 均值", "90 %")
    return Section(zh="置信度", en="Confidence of read eyes", head=head, rows=(("AI", str(spread.count), *shown),))


def _drift(report: DailyReport) -> Section:
    version = report.drift.model_version if report.drift else "—"
    rows = [tuple(map(str, row)) for row in drift_rows(report.drift)] if report.drift else []
    head = ("subject 对象", "verdict 判断", "PSI", "stable up to 稳定上限", "photographs 照片", "before 此前", "grew most 增长最多")
    title = f"Drift: model version {version}, this day against the {REFERENCE_DAYS} days before"
    return Section(zh="漂移", en=title, head=head, rows=tuple(rows))


def _counted(zh: str, en: str, head: str, counted: dict[str, int]) -> Section:
    rows: Iterable[tuple[str, str]] = ((key, str(count)) for key, count in counted.items())
    return Section(zh=zh, en=en, head=(head, "count 数量"), rows=tuple(rows))


def share_words(estimate: Estimate | None) -> str:
    """A share with its interval, or that there are too few."""
    return estimate.as_percent() if estimate else TOO_FEW


def code_words(key: str) -> str:
    """A label code or an outcome, in both languages."""
    if key in LABELS:
        return f"{LABELS[key].name_zh} {key}"
    return {"uncertain": "不确定 uncertain", "not_assessed": f"{NOT_ASSESSED_ZH} {NOT_ASSESSED_EN}"}.get(key, key)
