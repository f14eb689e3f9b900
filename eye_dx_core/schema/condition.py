"""What a fundus photograph can show, under which names, and which label sets a model may be trained on."""

from enum import IntEnum, StrEnum

from eye_dx_core.schema.frozen import Frozen


class Condition(StrEnum):
    """Conditions by the codes of the training folders."""

    AMD = "A"
    CATARACT = "C"
    CSC = "CSC"
    DR = "D"
    GLAUCOMA = "G"
    NORMAL = "N"
    RP = "RP"
    RVO = "RVO"
    DISEASE = "DISEASE"


class DrGrade(IntEnum):
    """Severity of diabetic retinopathy on the ICDR scale (Wilkinson et al., Ophthalmology 2003)."""

    NONE = 0
    MILD = 1
    MODERATE = 2
    SEVERE = 3
    PROLIFERATIVE = 4


class Label(Frozen):
    """One entry of a label set: what it is called and what it means.

    ICD-10 codes are those preferred for screening: a photograph raises a suspicion, it does not prove glaucoma.
    """

    code: str
    condition: Condition
    dr_grade: DrGrade | None = None
    name_zh: str
    name_en: str
    icd10: str

    @property
    def is_normal(self) -> bool:
        """Whether the label says that nothing referable was seen."""
        return self.condition is Condition.NORMAL


def _label(code: str, condition: Condition, name_zh: str, name_en: str, icd10: str, grade: DrGrade | None = None) -> Label:
    return Label(code=code, condition=condition, dr_grade=grade, name_zh=name_zh, name_en=name_en, icd10=icd10)


LABELS: dict[str, Label] = {
    label.code: label
    for label in (
        _label("A", Condition.AMD, "年龄相关性黄斑变性", "age-related macular degeneration", "H35.3"),
        _label("C", Condition.CATARACT, "白内障", "cataract", "H26.9"),
        _label("CSC", Condition.CSC, "中心性浆液性脉络膜视网膜病变", "central serous chorioretinopathy", "H35.7"),
        _label("D", Condition.DR, "糖尿病视网膜病变", "diabetic retinopathy", "H36.0"),
        _label("D0", Condition.NORMAL, "无糖尿病视网膜病变", "no diabetic retinopathy", "Z13.5", DrGrade.NONE),
        _label("D1", Condition.DR, "轻度非增殖期糖尿病视网膜病变", "mild non-proliferative diabetic retinopathy", "H36.0", DrGrade.MILD),
        _label(
            "D2", Condition.DR, "中度非增殖期糖尿病视网膜病变", "moderate non-proliferative diabetic retinopathy", "H36.0", DrGrade.MODERATE
        ),
        _label(
            "D3", Condition.DR, "重度非增殖期糖尿病视网膜病变", "severe non-proliferative diabetic retinopathy", "H36.0", DrGrade.SEVERE
        ),
        _label("D4", Condition.DR, "增殖期糖尿病视网膜病变", "proliferative diabetic retinopathy", "H36.0", DrGrade.PROLIFERATIVE),
        _label("G", Condition.GLAUCOMA, "青光眼（疑似）", "glaucoma suspect", "H40.0"),
        _label("N", Condition.NORMAL, "未见明显异常", "no abnormality seen", "Z13.5"),
        _label("RP", Condition.RP, "视网膜色素变性", "retinitis pigmentosa", "H35.5"),
        _label("RVO", Condition.RVO, "视网膜静脉阻塞", "retinal vein occlusion", "H34.8"),
        _label("BRVO", Condition.RVO, "视网膜分支静脉阻塞", "branch retinal vein occlusion", "H34.8"),
        _label("CRVO", Condition.RVO, "视网膜中央静脉阻塞", "central retinal vein occlusion", "H34.8"),
        _label("DISEASE", Condition.DISEASE, "眼底异常（未分类）", "fundus abnormality, unspecified", "H35.9"),
    )
}

NOT_ASSESSED_ZH = "未能评估"
NOT_ASSESSED_EN = "not assessed"
UNCERTAIN_ZH = "不确定，需医生判读"
UNCERTAIN_EN = "uncertain, needs a doctor's reading"


class LabelSet(Frozen):
    """The labels of a model in the order of its outputs. It travels inside the checkpoint.

    `folder_to_label` says where a training photo goes whose folder names a label outside the set: `D0` counts as normal
    in the eight-class set because a grade 0 photograph shows no retinopathy.
    """

    name: str
    codes: tuple[str, ...]
    folder_to_label: dict[str, str]

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels in output order."""
        return tuple(LABELS[code] for code in self.codes)


_DISEASE_CODES = ("A", "C", "CSC", "D", "D1", "D2", "D3", "D4", "G", "RP", "RVO", "BRVO", "CRVO", "DISEASE")

LABEL_SETS: dict[str, LabelSet] = {
    label_set.name: label_set
    for label_set in (
        LabelSet(
            name="eight",
            codes=("A", "C", "CSC", "D", "G", "N", "RP", "RVO"),
            folder_to_label={"D0": "N", "D1": "D", "D2": "D", "D3": "D", "D4": "D", "BRVO": "RVO", "CRVO": "RVO"},
        ),
        LabelSet(
            name="twelve",
            codes=("A", "C", "CSC", "D0", "D1", "D2", "D3", "D4", "G", "N", "RP", "RVO"),
            folder_to_label={"BRVO": "RVO", "CRVO": "RVO"},
        ),
        LabelSet(
            name="thirteen",
            codes=("A", "BRVO", "C", "CRVO", "CSC", "D0", "D1", "D2", "D3", "D4", "G", "N", "RP"),
            folder_to_label={},
        ),
        LabelSet(name="screen", codes=("N", "DISEASE"), folder_to_label={"D0": "N"} | dict.fromkeys(_DISEASE_CODES[:-1], "DISEASE")),
    )
}

# Folder names seen in the wild, upper-cased, with their canonical code. `A-CFP` and friends: colour fundus photograph.
_FOLDER_WORDS = {
    "AMD": "A", "ARMD": "A", "CAT": "C", "CATARACT": "C", "DR": "D", "GLAUCOMA": "G", "GLA": "G", "NORMAL": "N", "HEALTHY": "N",
    "DR0": "D0", "DR1": "D1", "DR2": "D2", "DR3": "D3", "DR4": "D4",
}  # fmt: skip


def find_code_of_folder(folder_name: str) -> str | None:
    """The canonical label code that a folder name stands for, or None when it is no class folder (a source, a camera).

    Matches whole names only: `rglob("A")`-style matching once put every folder with an A in it into one class.
    """
    word = folder_name.strip().upper().removesuffix("-CFP").removesuffix("_CFP")
    code = _FOLDER_WORDS.get(word, word)
    return code if code in LABELS else None
