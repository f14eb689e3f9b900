"""Ophthalmic words and how they are written in Chinese and English: what a sentence about a fundus can claim.

One row a concept: its code (that of the label where a label exists, so that AI labels and written words meet), its English name,
how Chinese writes it, how English writes it beside its name, and what else is said by saying it. The more specific row stands first.
"""

# ruff: noqa: E501 - a row of a table is one line, and Chinese characters count twice

import re
from typing import NamedTuple

from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import Zone


class Concept(NamedTuple):
    """One row of the lexicon; `zh` and `en` are regular expressions."""

    code: str
    name_en: str
    zh: str
    en: str = ""
    implies: tuple[str, ...] = ()


NORMAL, ABNORMAL = "normal", "abnormal"
NOT_ASSESSED, ASSESSABLE, UNCERTAIN = "not_assessed", "assessable", "uncertain"
HIGH_IOP, NORMAL_IOP, LOW_ACUITY = "high_iop", "normal_iop", "low_acuity"

_NON = r"(?:非增[殖生][期型性])(?:糖尿病性?视网膜病变)?"
_NONE_SEEN = r"(?:未见|未曾?发现|没有发现|(?:未|没有?)(?:看|见|查)到|未提示|未检出|不存在|无|没有|没见|没(?=什么|问题))(?:到|任何|明显|显著|特殊|的|其他|眼底|病理性|什么|大)*"

# fmt: off
_ROWS = (
    Concept(NOT_ASSESSED, "not assessed", r"未(?:能|被)?(?:评估|判读)|情况[^，。；]{0,3}(?:不清楚|不明|不详|未知)|(?:无法|不能|不可|难以)(?:评估|判读)", r"not (?:be )?(?:assessed|read)"),
    Concept(ASSESSABLE, "assessable", r"(?:能够?|可以?|已)(?:评估|判读)"),
    Concept(UNCERTAIN, "uncertain", r"不确定|(?:不能|无法|难以)(?:明确|确定)", r"uncertain"),
    Concept(HIGH_IOP, "raised pressure", r"眼(?:内)?压[^，。；]{0,6}?(?:偏高|升高|增高|过高|高于[^，。；]{0,10})|高眼压", r"(?:raised|high) pressure"),
    Concept(NORMAL_IOP, "pressure within the usual range", r"眼(?:内)?压(?:均|都|值|也)?(?:大致)?(?:在|处于|为|是)?(?:正常|参考)(?:值|范围)?(?:范围)?(?:之?内)?"),
    Concept(LOW_ACUITY, "reduced acuity", r"视力(?:突然|明显|进行性|逐渐)?(?:下降|减退|不佳|较?差|低下|偏低)|低视力", r"(?:low|reduced) vision"),
    Concept(ABNORMAL, "abnormal", r"(?:不|非|欠)正常"),
    Concept(NORMAL, "no abnormality seen",
            rf"{_NONE_SEEN}(?:异常|病变|病灶|问题|改变|疾病|眼病)(?!血管|区)|正常|健康(?!宣教|教育|管理|档案|生活|饮食)|(?<!不)(?:良好|完好|无恙|无殊|无碍)|(?:无|未见)(?:明显)?特殊",
            r"no abnormality(?: seen)?|normal|healthy|unremarkable"),
    Concept("BRVO", "branch retinal vein occlusion", r"(?:视网膜)?分支静脉[阻栓]塞|视网膜静脉分支[阻栓]塞", r"BRVO", ("RVO",)),
    Concept("CRVO", "central retinal vein occlusion", r"(?:视网膜)?中央静脉[阻栓]塞", r"CRVO", ("RVO",)),
    Concept("RVO", "retinal vein occlusion", r"(?:视网膜)?静脉(?:阻塞|栓塞|血栓|闭塞)", r"RVO|(?:retinal )?vein occlusion", ("occlusion",)),
    Concept("D1", "mild non-proliferative diabetic retinopathy", rf"轻度{_NON}|轻度NPDR", r"mild NPDR", ("NPDR", "D")),
    Concept("D2", "moderate non-proliferative diabetic retinopathy", rf"中度{_NON}|中度NPDR", r"moderate NPDR", ("NPDR", "D")),
    Concept("D3", "severe non-proliferative diabetic retinopathy", rf"重度{_NON}|重度NPDR", r"severe NPDR", ("NPDR", "D")),
    Concept("NPDR", "non-proliferative diabetic retinopathy", _NON, r"NPDR|non-?proliferative(?: diabetic retinopathy)?", ("D",)),
    Concept("D4", "proliferative diabetic retinopathy", r"增[殖生][期型性](?:糖尿病性?视网膜病变)?", r"PDR|proliferative(?: diabetic retinopathy)?", ("D",)),
    Concept("D", "diabetic retinopathy", r"糖尿病性?(?:的)?(?:眼底|视网膜)病变|糖网病?", r"DR|diabetic (?:retinopathy|eye disease)", ("diabetes",)),
    Concept("A", "age-related macular degeneration", r"(?:年龄相关性|老年性?)?黄斑(?:部|区)?变性", r"A[RD]?MD|macular degeneration", ("macular_disease",)),
    Concept("CSC", "central serous chorioretinopathy", r"中心性浆液性(?:脉络膜)?视网膜(?:脉络膜)?病变|中浆", r"CSCR?|central serous(?: retinopathy)?",
            ("macular_disease",)),
    Concept("C", "cataract", r"白内障|晶状?体(?:混浊|浑浊)", r"cataracts?"),
    Concept("G", "glaucoma", r"青光眼(?:性视神经病变)?", r"glaucoma(?:tous)?(?: suspect)?"),
    Concept("RP", "retinitis pigmentosa", r"(?:视网膜)?色素变性", r"retinitis pigmentosa"),
    Concept("wet", "wet", r"湿性|渗出[型性]", r"wet|exudative"), Concept("dry", "dry", r"干性|萎缩[型性]", r"dry(?! eye)"),
    Concept("high_myopia", "high myopia", r"(?:高度|病理性|超高度)近视", r"(?:high|pathologic(?:al)?) myopia", ("myopia",)),
    Concept("myopia", "myopia", r"近视", r"myopia|myopic"), Concept("hyperopia", "hyperopia", r"远视", r"hyperopia"),
    Concept("astigmatism", "astigmatism", r"散光", r"astigmatism"), Concept("amblyopia", "amblyopia", r"弱视", r"amblyopia"),
    Concept("serous_detachment", "serous retinal detachment", r"浆液性(?:视网膜)?(?:神经上皮层?)?脱离", r"serous detachment", ("detachment",)),
    Concept("vitreous_detachment", "posterior vitreous detachment", r"玻璃体后?脱离", r"(?:posterior )?vitreous detachment|PVD"),
    Concept("detachment", "retinal detachment", r"(?:视网膜)?脱离|网脱", r"(?:retinal )?detachment"),
    Concept("hypertensive_retinopathy", "hypertensive retinopathy", r"高血压性?(?:眼底|视网膜)(?:病变|改变)", r"hypertensive retinopathy", ("hypertension",)),
    Concept("hole", "hole", r"裂孔|破孔|穿孔", r"(?:macular |retinal )?(?:hole|tear)"),
    Concept("epiretinal_membrane", "epiretinal membrane", r"(?:黄斑|视网膜)?前膜", r"epiretinal membrane"),
    Concept("macular_oedema", "macular oedema", r"黄斑(?:区)?(?:囊样)?水肿", r"macular o?edema", ("oedema", "macular_disease")),
    Concept("disc_oedema", "disc oedema", r"(?:视盘|视乳头)水肿|视盘(?:隆起|充血)", r"(?:disc o?edema|papill?o?edema)", ("oedema",)),
    Concept("oedema", "oedema", r"水肿", r"o?edema"),
    Concept("optic_atrophy", "optic atrophy", r"视神经萎缩|视盘(?:色淡|苍白)", r"optic atrophy", ("atrophy",)),
    Concept("atrophy", "atrophy", r"萎缩", r"atrophy|atrophic"),
    Concept("artery_occlusion", "retinal artery occlusion", r"动脉(?:阻塞|栓塞|闭塞)", r"(?:retinal )?artery occlusion|[CB]RAO", ("occlusion",)),
    Concept("sclerosis", "arteriolar sclerosis", r"硬化", r"(?:arterio)?sclerosis"),
    Concept("new_vessels", "new vessels", r"新生血管", r"new vessels|neovasculari[sz]ation|CNV"),
    Concept("vitreous_haemorrhage", "vitreous haemorrhage", r"玻璃体(?:积血|出血|腔积血)", r"vitreous ha?emorrhage", ("haemorrhage",)),
    Concept("vitreous_opacity", "vitreous opacity", r"玻璃体(?:混浊|浑浊)|飞蚊症", r"floaters|vitreous opacit(?:y|ies)", ("opacity",)),
    Concept("haemorrhage", "haemorrhage", r"出血|积血", r"ha?emorrhages?|bleeding"),
    Concept("microaneurysm", "microaneurysms", r"微(?:动脉|血管)瘤", r"microaneurysms?"),
    Concept("exudate", "exudates", r"渗出", r"exudates?"), Concept("cotton_wool", "cotton wool spots", r"棉[絮绒]斑", r"cotton[- ]wool(?: spots)?"),
    Concept("drusen", "drusen", r"玻璃膜疣|硬性疣", r"drusen"), Concept("effusion", "subretinal fluid", r"积液", r"(?:sub|intra)retinal fluid"),
    Concept("cupping", "cupping", r"杯盘比(?:值)?(?:增大|扩大|偏大|大)|视杯(?:扩大|增大)|大视杯|盘沿(?:变窄|切迹|丢失)|(?:神经纤维层|RNFL)缺损", r"cupping|large cup"),
    Concept("bone_spicule", "bone-spicule pigment", r"骨(?:细胞|针)样", r"bone[- ]spicules?"),
    Concept("pigment", "pigment changes", r"色素(?:沉着|紊乱|改变|脱失|堆积)", r"pigment(?:ation|ary)?(?: changes)?"),
    Concept("tessellation", "tessellated fundus", r"豹纹状", r"tessellated"), Concept("crescent", "peripapillary crescent", r"弧形斑", r"crescent"),
    Concept("staphyloma", "staphyloma", r"葡萄肿", r"staphyloma"), Concept("nevus", "naevus", r"色素痣|脉络膜痣", r"na?evus"),
    Concept("scar", "scar", r"瘢痕|机化|纤维(?:增殖|增生)", r"scar|fibrosis"), Concept("coloboma", "coloboma", r"缺损", r"coloboma"),
    Concept("ischaemia", "ischaemia", r"缺血|无灌注", r"ischa?emi[ac]|non-?perfusion"),
    Concept("tortuous", "tortuous vessels", r"迂曲|扭曲|串珠", r"tortuous|beading"), Concept("dilated", "dilated vessels", r"扩张", r"dilated|ectasia"),
    Concept("narrow", "narrowed vessels", r"变细|狭窄|变窄|白鞘|铜丝|银丝|交叉压迫|压迹", r"narrow(?:ed|ing)?|nicking"),
    Concept("opacity", "opacity", r"混浊|浑浊", r"opacit(?:y|ies)"),
    Concept("clear_margin", "disc margin clear", r"边界(?:尚)?清晰?|界清"), Concept("red_disc", "disc of normal colour", r"红润|淡红"),
    Concept("natural_course", "vessels of normal course", r"走行(?:自然|规则)|管径(?:均匀|规则)"),
    Concept("foveal_reflex", "foveal reflex present", r"反光(?:可见|存在|清晰)"),
    Concept("flat", "retina flat", r"平伏|平坦"), Concept("in_place", "retina attached", r"在位"), Concept("clear_media", "clear media", r"透明|清亮|屈光间质清"),
    Concept("occlusion", "occlusion", r"[阻闭栓]塞"), Concept("involved", "involvement", r"受累|累及|侵犯|受损|受压"),
    Concept("reflex_lost", "foveal reflex lost", r"反光(?:消失|减弱|弥散|不清|未见)"), Concept("blurred_margin", "blurred margin", r"边界(?:不清|模糊|欠清)"),
    Concept("schisis", "schisis", r"劈裂", r"schisis"), Concept("night_blindness", "night or colour blindness", r"[夜色]盲"),
    Concept("shape", "altered shape", r"皱褶|变薄|增厚|隆起|凹陷|移位|脱位|(?<!视物)(?<!物体)变形|破裂", r"thicken(?:ing|ed)|thinning|disloca(?:ted|tion)"),
    Concept("deposit", "deposit or cyst", r"长(?:了|有|出)(?:个|些)?(?:东西|异物)|肿物|肿块|新生物|赘生物|结节|囊[肿样]|钙化|栓子|白点|黄白色?(?:点|灶|病灶)|肉芽肿", r"cysts?|nodules?|emboli"),
    Concept("tissue", "damaged tissue", r"纤维化|坏死|浸润|渗漏|破坏|缺失|变性", r"necrosis|leakage|degeneration"),
    Concept("motility", "disturbed motility", r"震颤|复视|突出|异物", r"nystagmus|diplopia"),
    Concept("diabetes", "diabetes", r"糖尿病", r"diabet(?:es|ic)"), Concept("hypertension", "hypertension", r"高血压", r"hypertension"),
    Concept("stroke", "stroke", r"脑卒中|中风|脑梗", r"stroke"), Concept("strabismus", "strabismus", r"斜视", r"strabismus|squint"),
    Concept("dry_eye", "dry eye", r"干眼", r"dry eye"), Concept("ptosis", "ptosis", r"上睑下垂|倒睫", r"ptosis"), Concept("pterygium", "pterygium", r"胬肉", r"pterygium"),
    Concept("blindness", "blindness", r"失明|致盲|全盲", r"blind(?:ness)?"),
    Concept("macular_disease", "macular disease", r"黄斑(?:部|区)?(?:病变|疾病|异常|受累)", r"maculopathy|macular disease"),
    Concept(ABNORMAL, "something abnormal",
            r"(?:(?<![\u4e00-\u9fff])|(?<=[有的见为等示一处及和或他何此这该类显关么项底膜些]))(?:异常|病变|病灶)|(?<=[有患在见伴为是])(?:疾病|眼病)|患病|眼疾", r"abnormal(?:ity|ities)?|disease"),
)
# fmt: on

OPEN_CLASS = (
    r"病变|综合征|营养不良|畸形|发育不全|麻痹|炎症?|瘤|癌|占位|感染|外伤|疝|症(?!状)|病灶|异常|病(?![变情史人患历程因理灶区毒房例症])"
)
"""How names of diseases end that no row knows: such a name counts as itself, and only for whom the doctor wrote it."""

_LABEL_CODES = ("BRVO", "CRVO", "RVO", "D1", "D2", "D3", "D4", "D", "A", "CSC", "C", "G", "RP")


def _pattern(row: Concept) -> str:
    """Chinese and English of one row; a label is also recognised by the very names that our own texts use."""
    english = [row.en] if row.en else []
    names = [row.zh]
    if row.code in _LABEL_CODES:
        label = LABELS[row.code]
        names.insert(0, re.escape(label.name_zh.removesuffix("（疑似）")))
        english.insert(0, re.escape(label.name_en.removesuffix(" suspect")))
    return "|".join([*names, *(rf"(?<![A-Za-z])(?:{one})(?![A-Za-z])" for one in english)])


CONCEPTS: tuple[tuple[str, str], ...] = tuple((row.code, _pattern(row)) for row in _ROWS)
"""Code and pattern, in the order in which they are tried."""

ENGLISH: dict[str, str] = {row.code: row.name_en for row in _ROWS} | {ABNORMAL: "something abnormal"}
"""What a concept is called in English."""

_IMPLIED = {row.code: row.implies for row in _ROWS if row.implies}

NOT_A_FINDING = frozenset({NORMAL, NOT_ASSESSED, ASSESSABLE, UNCERTAIN, ABNORMAL, HIGH_IOP, NORMAL_IOP, LOW_ACUITY})
NORMAL_DETAILS = frozenset({"clear_margin", "red_disc", "natural_course", "foveal_reflex", "flat", "in_place", "clear_media"})
"""Normal looks that language models like to add; true only if the doctor wrote them."""

ZONES = tuple(zone.name_zh for zone in Zone)


def everything_said_by(concept: str) -> frozenset[str]:
    """A concept with all that it implies: a branch vein occlusion is a vein occlusion and something abnormal."""
    said, waiting = {concept}, [concept]
    while waiting:
        new = set(_IMPLIED.get(waiting.pop(), ())) - said
        said |= new
        waiting += new
    is_finding = concept in ENGLISH and concept not in NOT_A_FINDING | NORMAL_DETAILS
    return frozenset(said | {ABNORMAL} if is_finding or concept.startswith("other:") else said)
