"""Whether a doctor's text holds orders to a language model: then none is asked, and the template writes."""

# ruff: noqa: E501 - a row of a table is one line, and Chinese characters count twice

import re

from eye_dx_core.reporting.facts import LlmFacts
from eye_dx_core.reporting.guard.wording import doctors_words
from eye_dx_core.reporting.identifiers import normalise

_NORMAL = r"(?:正常|未见(?:明显)?异常|没有?问题|健康|无异常|无病变)"
_ORDERS = re.compile(
    r"(?:忽略|无视|忘记|忘掉|不要?理会|不用管|绕过|跳过|覆盖|推翻|违反)[^。；\n]{0,12}(?:指令|指示|规则|要求|提示词?|设定|设置|以上|上面|前面|之前|先前|上文|限制|约束)"
    rf"|(?:结论|报告|诊断|意见|输出|回答|结果|建议)[^。；\n]{{0,6}}(?:写|填|改|输出|说|报|给|换|显示)(?:成|为|作|出|上|的是)?[^，。；\n]{{0,10}}{_NORMAL}"
    rf"|(?:请|必须|应当|务必|只|都|一律|直接|要)[^，。；\n]{{0,4}}(?:写|填|输出|回答|报告|改)(?:成|为|作|出)?[^，。；\n]{{0,10}}(?:{_NORMAL}|JSON|以下|如下)"
    r"|(?:系统|开发者|管理员)(?:提示|消息|指令|模式|命令)|提示词|(?:你|您)(?:现在)?(?:是|扮演|作为)[^，。；\n]{0,10}(?:助手|模型|AI|机器人|角色)|越狱"
    r"|(?:ignore|disregard|forget|override|bypass)[^.\n]{0,30}(?:instruction|prompt|rule|above|previous|prior|system)"
    r"|(?:system|developer)\s*(?:prompt|message|mode|:)|\byou are (?:now|a|an)\b|jailbreak|(?:write|say|output|respond|answer|report)[^.\n]{0,40}(?:normal|healthy|no abnormal)"
    r"|<\|?/?(?:im_start|im_end|system|user|assistant|s|INST)|\[/?INST\]|###\s*(?:instruction|system)|\"?role\"?\s*:\s*\"?(?:system|assistant)"
    r"|right_eye|left_eye|conclusion_codes|urgency_code|base64",
    re.IGNORECASE,
)  # fmt: skip


def gives_orders(facts: LlmFacts) -> bool:
    """Whether the doctor's words, which also come from other houses' systems, try to tell a language model what to write."""
    text = normalise(doctors_words(facts))
    return any(_ORDERS.search(one) is not None for one in (text, re.sub(r"[\s*_·•.\-]+", "", text)))
