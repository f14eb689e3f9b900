"""Ophthalmic words and how they are written: what a sentence about a fundus can claim."""

import re

from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import Zone

NORMAL, ABNORMAL = "normal", "abnormal"
NOT_ASSESSED, ASSESSABLE, UNCERTAIN, HIGH_IOP = "not_assessed", "assessable", "uncertain", "high_iop"

# Label codes where a label exists, so that AI labels and written words meet; the more specific pattern stands first.
CONCEPTS: dict[str, str] = {
    NOT_ASSESSED: r"未(?:能|被)?(?:评估|判读)|(?:无法|不能|不可)(?:评估|判读)",
    ASSESSABLE: r"(?:能够?|可以?|已)(?:评估|判读)",
    UNCERTAIN: r"不确定|(?:不能|无法|难以)(?:明确|确定)",
    NORMAL: r"(?:未见|无|没有|未发现|未提示)(?:任何|明显|显著)?(?:的)?异常(?!血管)|(?<!不)正常",
    HIGH_IOP: r"眼压(?:偏高|升高|增高|过高|高于[^，。；]{0,10})|高眼压",
    "BRVO": r"(?:视网膜)?分支静脉阻塞|视网膜静脉分支阻塞",
    "CRVO": r"(?:视网膜)?中央静脉阻塞",
    "RVO": r"(?:视网膜)?静脉(?:阻塞|栓塞|血栓)",
    "D1": r"轻度(?:非增[殖生][期型性])(?:糖尿病性?视网膜病变)?|轻度NPDR",
    "D2": r"中度(?:非增[殖生][期型性])(?:糖尿病性?视网膜病变)?|中度NPDR",
    "D3": r"重度(?:非增[殖生][期型性])(?:糖尿病性?视网膜病变)?|重度NPDR",
    "NPDR": r"非增[殖生][期型性](?:糖尿病性?视网膜病变)?",
    "D4": r"增[殖生][期型性](?:糖尿病性?视网膜病变)?|(?<![A-Za-z])PDR(?![A-Za-z])",
    "D": r"糖尿病性?(?:眼底|视网膜)病变|糖网病?|(?<![A-Za-z])DR(?![A-Za-z])",
    "A": r"(?:年龄相关性|老年性?)?黄斑变性|(?<![A-Za-z])ARMD(?![A-Za-z])|(?<![A-Za-z])AMD(?![A-Za-z])",
    "CSC": r"中心性浆液性(?:脉络膜)?视网膜(?:脉络膜)?病变|中浆",
    "C": r"白内障|晶状?体混浊",
    "G": r"青光眼(?:性视神经病变)?",
    "RP": r"(?:视网膜)?色素变性",
    "wet": r"湿性", "dry": r"干性",
    "high_myopia": r"(?:高度|病理性)近视", "myopia": r"近视", "hyperopia": r"远视", "astigmatism": r"散光", "amblyopia": r"弱视",
    "serous_detachment": r"浆液性(?:视网膜)?(?:神经上皮层?)?脱离", "detachment": r"(?:视网膜)?脱离|网脱", "hole": r"裂孔",
    "epiretinal_membrane": r"(?:黄斑|视网膜)前膜", "macular_oedema": r"黄斑(?:囊样)?水肿",
    "disc_oedema": r"(?:视盘|视乳头)水肿", "oedema": r"水肿",
    "optic_atrophy": r"视神经萎缩|视盘(?:色淡|苍白)", "atrophy": r"萎缩", "artery_occlusion": r"动脉(?:阻塞|栓塞)", "sclerosis": r"硬化",
    "new_vessels": r"新生血管", "vitreous_haemorrhage": r"玻璃体(?:积血|出血)", "haemorrhage": r"出血|积血",
    "microaneurysm": r"微(?:动脉|血管)瘤", "exudate": r"渗出", "cotton_wool": r"棉[絮绒]斑", "drusen": r"玻璃膜疣", "effusion": r"积液",
    "cupping": r"杯盘比(?:增大|扩大|大)|视杯(?:扩大|增大)|大视杯|盘沿(?:变窄|切迹|丢失)",
    "bone_spicule": r"骨(?:细胞|针)样", "pigment": r"色素(?:沉着|紊乱|改变|脱失)", "tortuous": r"迂曲|扭曲", "dilated": r"扩张",
    "narrow": r"变细|狭窄|变窄", "opacity": r"混浊|浑浊",
    "clear_margin": r"边界清晰?", "red_disc": r"红润", "natural_course": r"走行(?:自然|规则)",
    "foveal_reflex": r"反光(?:可见|存在|清晰)", "flat": r"平伏", "in_place": r"在位",
    "diabetes": r"糖尿病", "hypertension": r"高血压", "tumour": r"肿瘤|占位|[\u4e00-\u9fff]{1,3}(?:瘤|癌)",
    "inflammation": r"[\u4e00-\u9fff]{0,3}炎(?!症)|炎症", "syndrome": r"[\u4e00-\u9fff]{1,4}综合征",
    "strabismus": r"斜视", "dry_eye": r"干眼",
    ABNORMAL: r"异常|病变|病灶",
}  # fmt: skip

_DISEASE_CODES = ("BRVO", "CRVO", "RVO", "D1", "D2", "D3", "D4", "D", "A", "CSC", "C", "G", "RP")


def _add_label_names() -> None:
    """Labels are also recognised by the very names that our own texts use."""
    for code in _DISEASE_CODES:
        label = LABELS[code]
        names = (label.name_zh.removesuffix("（疑似）"), label.name_en.removesuffix(" suspect"))
        abbreviation = rf"(?<![A-Za-z]){code}(?![A-Za-z])" if len(code) > 1 and not code.startswith("D") else None
        CONCEPTS[code] = "|".join([*map(re.escape, names), CONCEPTS[code], *([abbreviation] if abbreviation else [])])


_add_label_names()

IMPLIED: dict[str, tuple[str, ...]] = {
    "BRVO": ("RVO",), "CRVO": ("RVO",), "D1": ("NPDR", "D"), "D2": ("NPDR", "D"), "D3": ("NPDR", "D"), "D4": ("D",), "NPDR": ("D",),
    "D": ("diabetes",), "high_myopia": ("myopia",), "serous_detachment": ("detachment",), "macular_oedema": ("oedema",),
    "disc_oedema": ("oedema",), "vitreous_haemorrhage": ("haemorrhage",),
}  # fmt: skip
"""What else is said by saying it."""

NOT_A_FINDING = frozenset({NORMAL, NOT_ASSESSED, ASSESSABLE, UNCERTAIN, ABNORMAL, HIGH_IOP})
NORMAL_DETAILS = frozenset({"clear_margin", "red_disc", "natural_course", "foveal_reflex", "flat", "in_place"})
"""Normal looks that language models like to add; true only if the doctor wrote them."""

ZONES = tuple(zone.name_zh for zone in Zone)


def everything_said_by(concept: str) -> frozenset[str]:
    """A concept with all that it implies: a branch vein occlusion is a vein occlusion and something abnormal."""
    said, waiting = {concept}, [concept]
    while waiting:
        new = set(IMPLIED.get(waiting.pop(), ())) - said
        said |= new
        waiting += new
    is_finding = concept in CONCEPTS and concept not in NOT_A_FINDING | NORMAL_DETAILS
    return frozenset(said | {ABNORMAL} if is_finding else said)
