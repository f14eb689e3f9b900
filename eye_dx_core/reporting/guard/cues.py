"""Words that say how the words around them are meant: whose eye, by whose word, denied, suspected, counted in what."""

import re

_A, _Z = "(?<![A-Za-z])", "(?![A-Za-z])"
_AI = rf"{_A}AI{_Z}|人工智能|模型|算法|机器|计算机|系统(?:判读|提示|分析)"
_DOCTOR = r"(?<![需由请以待])医[生师]"
_RIGHT = rf"右眼|右侧|右(?=[：:、])|{_A}OD{_Z}|right eye|{_A}RE{_Z}"
_LEFT = rf"左眼|左侧|左(?=[：:、])|{_A}OS{_Z}|left eye|{_A}LE{_Z}"
_AND = r"\s*(?:和|与|及|以及|、|跟|同|兼)\s*"

CUES: dict[str, str] = {
    "both": rf"双眼|两眼|两只眼睛?|眼睛(?=都|均)|双侧|双目|两侧|左右(?:两?眼)?|{_A}OU{_Z}|both eyes|右眼?{_AND}左眼?|左眼?{_AND}右眼?",
    "fellow": r"对侧眼?|另外?那?一?(?:只|侧)?眼|(?<=外的)那?一?(?:只|侧)?眼|另侧|健眼|fellow eye|other eye",
    "right": _RIGHT,
    "left": _LEFT,
    "unsided": r"眼别不明",
    "conditional": r"如(?:果|出现|有|发生|突|遇|感|发现|(?=视力|视物|眼痛|眼红|眼前|眼部不适))|若(?!干)|一旦|(?<![A-Za-z])if(?![A-Za-z])",
    # What AI and doctor say together is the doctor's word.
    "jointly": rf"(?:{_AI}){_AND}医[生师]|医[生师]{_AND}(?:{_AI})",
    "ai": _AI,
    "doctor": rf"{_DOCTOR}|doctor|(?:最终|临床|综合)(?:诊断|结论|判断)",
    "evidence": r"证据|evidence",
    "acuity": r"视力|acuity",
    "confidence": r"置信度|可信度|概率|把握|confidence",
}
SENTENCE_END = r"[。！？!?\n]|\.(?=\s|$)"
PAUSE = r"[，,；;]|但|而(?!且)|然而|however|but "

NEGATIONS: dict[str, str] = {
    # "Does not mean": neither the one nor the other is said.
    "disclaim": r"(?:并?不|不能|不可)(?:据此)?(?:代表|等于|等同于?|意味着?|认为|视为|视作|说明|表示|当作|理解为)|does not mean",
    "hedge_first": r"(?:不|未|无法|难以)(?:能)?(?:完全)?(?:被)?(?:排除|除外)|cannot be (?:ruled out|excluded)",
    "denial": (
        r"未(?![来单测按])|无(?![法论需须创诉])|没有?(?!说)|否认|并非|非(?=青|白|糖)|排除|除外|消失|缺乏"
        r"|不(?:支持|考虑|符合|是|伴|存在|见|含|具|提示|属于|构成|像|诊断)"
        r"|(?<![A-Za-z])(?:no|not|without|denies|absent|excluded)(?![A-Za-z])|ruled out"
    ),
    "hedge": (
        r"疑似|可疑|怀疑|可能|考虑|倾向|待排|待查|待定|排查|筛查|鉴别|警惕|疑诊|拟诊|(?<![A-Za-z])(?:suspected|suspect|possible|probable|likely)(?![A-Za-z])"
    ),
}  # fmt: skip

HEDGED_AFTER = re.compile(
    r"[（(]?\s*(?:疑似|可疑|可能|待排|待查|待除外|待定|[?？]|(?:不|未|无法|难以)(?:能)?(?:完全)?(?:被)?(?:排除|除外)|suspect)"
)
DENIED_AFTER = re.compile(
    r"[（(]?\s*(?:阴性|-[)）]|已?(?:被|予以|可以?)?(?:排除|除外)|不成立|证据不足|不存在|缺乏(?:证据|依据)|无(?:明确)?(?:证据|依据))|[：:]\s*(?:无|未见|没有|阴性|否)"
)
EXCLUDED_BY_DOCTOR = re.compile(r"[^，。；]{0,8}医[生师][^，。；]{0,6}(?:排除|否定|除外)")
SIDE_AFTER = re.compile(rf"[（(]\s*(?:(?P<both>{CUES['both']}|双)|(?P<right>{_RIGHT}|右)|(?P<left>{_LEFT}|左))")
SIDE_IN_CLAUSE = re.compile(rf"[^，。；！？\n]*?(?:(?P<both>{CUES['both']})|(?P<right>{_RIGHT})|(?P<left>{_LEFT}))", re.IGNORECASE)
VOICE_AFTER = re.compile(
    rf"^[^。！？\n]*?(?:(?P<jointly>{CUES['jointly']})|(?P<ai>{CUES['ai']})|(?P<doctor>{CUES['doctor']}))", re.IGNORECASE
)
QUALIFIER = re.compile(
    r"(轻度|中度|中重度|重度|轻微|严重|极重度|早期|中期|晚期|末期|初期|急性|亚急性|慢性|陈旧性?|活动性|进展性|复发性|继发性|原发性|先天性|老年性|并发性"
    r"|后发性|外伤性|新生血管性|闭角型?|开角型?|缺血型?|非缺血型?|恶性|良性|大量|广泛|多发|大片|弥漫性?|少量|散在|局限性?)(?:的|性|型)?$"
)
FUNCTION_WORDS = (
    r"疾病|眼病|慢性病|基础病|全身病|提示|诊断|确认|结论|结果|检查|发现|为|是|有|及|和|或|与|的|了|见|示|伴|合并|考虑|等|该|此|其|如|若|请|由|对|因|患者?|出现|存在|任何|明显|显著|其他|"
    r"关于|可见|在|于|被|以|且|并|也|均|都|所|这|一|证实|判读|判为|认为|符合|需|应|建议|注意|警惕|属|按"
)
