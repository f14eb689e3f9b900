"""Wrong reports made from right ones: each differs in one way that the facts do not allow.

A mutant that says what the facts allow is no mutant. The texts of `clean_reports` have two eyes that differ in everything said of
them, so a flipped side is always wrong; words are put in only where neither facts nor text hold them.
"""

# ruff: noqa: E501 - a row of a table is one line, and Chinese characters count twice

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

from eye_dx_core.reporting.facts import LlmFacts
from eye_dx_core.reporting.guard.wording import doctors_words
from eye_dx_core.reporting.narrative import ReportNarrative
from eye_dx_core.schema.routing import Urgency
from tests.clean_reports import Clean


@dataclass(frozen=True)
class Mutant:
    kind: str
    of: Clean
    narrative: ReportNarrative
    words: str
    """The changed text."""


# Names that no row of the lexicon was written for stand among those that one was.
FOREIGN_DISEASES = (
    "白内障", "青光眼", "视网膜脱离", "黄斑裂孔", "黄斑前膜", "视神经萎缩", "视网膜动脉阻塞", "早产儿视网膜病变", "视网膜母细胞瘤", "脉络膜黑色素瘤",
    "葡萄膜炎", "视神经炎", "视网膜中央静脉阻塞", "中心性浆液性脉络膜视网膜病变", "年龄相关性黄斑变性", "增殖期糖尿病视网膜病变", "白化病", "黄斑营养不良",
    "高血压视网膜病变", "玻璃体积血", "脉络膜新生血管", "巩膜炎", "眼内炎", "马凡综合征", "缺血性视神经病变", "息肉状脉络膜血管病变", "视网膜劈裂", "黄斑水肿",
    "AMD", "glaucoma", "cataract", "糖网", "网脱", "低眼压症", "视盘玻璃膜疣", "白血病",
)  # fmt: skip
EXAMS = (
    "OCT显示黄斑厚度未变。", "B超提示玻璃体清晰。", "双眼超声检查已完成。", "荧光造影可见渗漏。", "视野检查未见缺损。", "裂隙灯下前节安静。", "眼底自发荧光未见异常。",
    "视觉电生理检查结果在参考范围。", "房角镜检查示房角开放。", "已行散瞳眼底检查。", "头颅磁共振未见异常。", "血糖化验为参考值。", "验光结果已记录。", "角膜地形图规则。",
    "眼轴测量完成。", "ＯＣＴ检查完成。", "彩超已做。", "ICGA 检查完成。", "瞳孔对光反射灵敏。", "前房深度可。",
)  # fmt: skip
IDENTIFIERS = (
    "患者测试甲请按时复查。", "联系电话13800138000。", "手机138-0013-8000。", "身份证11010119800102123X。", "病历号：P2025001。", "唐医生已审核。", "请发邮件至a.b@clinic.example。",
    "王先生请复查。", "李医生已阅。", "编号message-of-case-1。", "座机010-12345678。", "１３８００１３８０００为联系电话。", "张某某，请复查。", "病例case-1已归档。",
)  # fmt: skip
ADDRESSES = (
    "详见https://example.org。", "请访问www.example.com。", "<b>注意</b>", "**注意**", "请扫码查看。", "点击链接预约。", "example.cn 可查询。", "# 结论", "`报告`", "关注公众号预约。",
    "<script>x</script>", "[详情](x)", "{{姓名}}", "ｈｔｔｐ：//example.org",
)  # fmt: skip
SOFTER = (
    "可以择期就诊。", "有空时复查即可。", "不用着急，观察即可。", "无需复查。", "不必就医。", "可暂缓就诊。", "方便的时候再来。", "可以放心，没有大碍。", "推迟复查也可以。", "数月后再复查。", "明年再复查。",
    "一年后复查。", "暂不处理，继续观察。", "等等再看也行。", "常规体检时复查。",
)  # fmt: skip
PROMISES = (
    "已确诊该病。", "一定会好转。", "保证恢复视力。", "预后良好。", "可以治愈。", "绝对没有风险。", "百分之百准确。", "不会失明。", "病情稳定。", "较前好转。", "口服甲钴胺治疗。", "每日滴眼两次。",
    "建议激光治疗。", "可用阿托品。", "建议手术。", "服用叶黄素。", "左眼情况相同。", "右眼同左眼。",
)  # fmt: skip
_WEAKER = ("择期", "有空时", "方便时", "以后")
_NUMERALS = "一二三四五六七八九"


def mutants(clean: Clean, number: int) -> Iterator[Mutant]:
    """All mutants of one report; `number` turns the lists so that every word gets its turn."""
    for slot, text in _texts(clean.narrative):
        for kind, changed in _changed(slot, text, clean, number):
            if changed != text:
                yield Mutant(kind, clean, _with(clean.narrative, slot, changed), changed)


def _changed(slot: str, text: str, clean: Clean, number: int) -> Iterator[tuple[str, str]]:
    yield from (("side", one) for one in _sides(slot, text))
    yield from (("disease", one) for one in _diseases(text, clean, number))
    yield from (("negation", one) for one in _without_negation(text))
    yield from (("number", one) for one in _numbers(text))
    if slot in ("opinion", "advice"):
        yield from (("urgency", one) for one in _softened(slot, text, clean.facts, number))
        yield from _with_sentences(text, clean.facts, number)


def _sides(slot: str, text: str) -> Iterator[str]:
    if slot not in ("opinion", "advice"):
        own, other = ("右眼", "左眼") if slot.startswith("OD") else ("左眼", "右眼")
        yield f"{other}{text}"
        yield text.replace(own, other)
        return
    for match in re.finditer(r"[左右](?=眼)", text):
        if not re.search("不等于|不代表", text[max(0, match.start() - 6) : match.start()]):  # of neither eye would that be wrong
            yield text[: match.start()] + {"左": "右", "右": "左"}[match.group()] + text[match.end() :]


def _diseases(text: str, clean: Clean, number: int) -> Iterator[str]:
    known = f"{doctors_words(clean.facts)}{clean.facts.right.ai.conclusion}{clean.facts.left.ai.conclusion}"
    foreign = [one for one in FOREIGN_DISEASES if not _may_be_said(one, known)]
    chosen = list(islice(cycle(foreign), number % len(foreign), number % len(foreign) + 3))
    at = text.find(clean.disease)
    if at >= 0:
        yield text[:at] + chosen[0] + text[at + len(clean.disease) :]
        yield text[: at + len(clean.disease)] + f"、{chosen[1]}" + text[at + len(clean.disease) :]
    yield text + f"另见{chosen[2]}。"


_SAME = (
    {"AMD", "年龄相关性黄斑变性"}, {"青光眼", "glaucoma"}, {"白内障", "cataract"}, {"糖网", "糖尿病视网膜病变", "增殖期糖尿病视网膜病变"}, {"视网膜脱离", "网脱"},
    {"视网膜静脉阻塞", "视网膜中央静脉阻塞", "视网膜分支静脉阻塞"},
)  # fmt: skip


def _may_be_said(disease: str, known: str) -> bool:
    """Whether a name is known, or another word for what is: such a text would be no mutant."""
    return disease in known or any(disease in same and any(one in known for one in same) for same in _SAME)


def _without_negation(text: str) -> Iterator[str]:
    """Without 未 or 无 where it denies something of this patient, and 可以 for 无法."""
    for match in re.finditer("无法(?=判读)", text):
        yield text[: match.start()] + "可以" + text[match.end() :]
    for match in re.finditer(r"未(?=见|能评估|评估|发现|单独评估|采纳)|没有(?=发现|看到|明显|视网膜裂孔)|不(?=代表正常|等于)", text):
        yield text[: match.start()] + text[match.end() :]


def _numbers(text: str) -> Iterator[str]:
    for match in re.finditer(r"\d+(?:\.\d+)?", text):
        for value in (float(match.group()) + 2, float(match.group()) * 10):
            yield text[: match.start()] + f"{value:g}" + text[match.end() :]
    for match in re.finditer(rf"[{_NUMERALS}两](?=个?[月周年])|半(?=年)", text):
        yield text[: match.start()] + ("九" if match.group() != "九" else "八") + text[match.end() :]
    for match in re.finditer(r"(?<=[周月])内", text):
        yield text[: match.start()] + "后" + text[match.end() :]


def _softened(slot: str, text: str, facts: LlmFacts, number: int) -> Iterator[str]:
    yield text + SOFTER[number % len(SOFTER)]
    yield text + SOFTER[(number + 7) % len(SOFTER)]
    for match in re.finditer(r"(?<!如)(?:当天|尽快|尽早)(?=到|去)", text):
        sentence = text[: match.start()].rpartition("。")[2]
        if not re.search("如|若|出现", sentence):
            yield text[: match.start()] + _WEAKER[number % len(_WEAKER)] + text[match.end() :]
    if slot == "advice" and facts.urgency in (Urgency.SAME_DAY, Urgency.URGENT, Urgency.SOON):
        yield "请按照医生的建议复查。"


def _with_sentences(text: str, facts: LlmFacts, number: int) -> Iterator[tuple[str, str]]:
    doctors = doctors_words(facts)
    lists = (("unperformed exam", EXAMS), ("identifier", IDENTIFIERS), ("address or markup", ADDRESSES), ("promise or drug", PROMISES))
    for kind, sentences in lists:
        fitting = [one for one in sentences if not (kind == "unperformed exam" and "OCT" in doctors and "OCT" in one)]
        yield kind, text + fitting[number % len(fitting)]
        yield kind, fitting[(number + 5) % len(fitting)] + text


def _texts(narrative: ReportNarrative) -> Iterator[tuple[str, str]]:
    for one in narrative.findings:
        for structure in ("retina", "macula", "optic_disc", "vessels"):
            yield f"{one.eye}.{structure}", getattr(one, structure)
    yield "opinion", narrative.opinion
    yield "advice", narrative.advice


def _with(narrative: ReportNarrative, slot: str, text: str) -> ReportNarrative:
    if slot in ("opinion", "advice"):
        return narrative.model_copy(update={slot: text})
    eye, _, structure = slot.partition(".")
    findings = tuple(one.model_copy(update={structure: text}) if one.eye == eye else one for one in narrative.findings)
    return narrative.model_copy(update={"findings": findings})
