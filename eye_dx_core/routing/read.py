"""What follows from photographs: from what was seen, from what cannot be ruled out, and from what could not be read."""

from collections.abc import Iterator, Sequence

from eye_dx_core.routing.rules import RoutingRules, Rule
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.condition import LABELS
from eye_dx_core.schema.diagnosis import EyeDiagnosis, Outcome, PhotoPrediction
from eye_dx_core.schema.routing import RoutingReason, Subject


def reasons_of_photos(eye: EyeDiagnosis, rules: RoutingRules) -> Iterator[RoutingReason]:
    """Every finding on every photograph counts, so a surer but milder one beside it never hides an urgent one.

    What could not be read counts where nothing of the eye could be read.
    """
    readings: tuple[EyeDiagnosis | PhotoPrediction, ...] = (eye, *eye.photos)
    for code in dict.fromkeys(one.conclusion for one in readings if one.conclusion is not None):
        label = LABELS[code]
        yield _reason(code, rules.labels[code], eye.eye, (f"AI 提示{label.name_zh}", f"the AI suggests {label.name_en}"))
    if any(one.outcome is Outcome.UNCERTAIN for one in readings):
        yield _reason("uncertain", rules.reading.uncertain, eye.eye, ("AI 结果不确定", "the AI is uncertain"))
        yield from _of_what_cannot_be_ruled_out(eye, rules)
    if eye.outcome is Outcome.NOT_ASSESSED:
        yield _reason("not_assessed", rules.reading.not_assessed, eye.eye, ("照片不能判读", "the photograph could not be read"))


def reasons_of_missing_eyes(eyes: Sequence[EyeDiagnosis], rules: RoutingRules) -> Iterator[RoutingReason]:
    """An eye without a photograph; one of which nobody knows the eye may be that of the missing one."""
    there = {one.eye for one in eyes}
    for eye in Laterality:
        if not there & {eye, None}:
            yield _reason("missing_eye", rules.reading.missing_eye, eye, ("没有照片", "there is no photograph"))


def _of_what_cannot_be_ruled_out(eye: EyeDiagnosis, rules: RoutingRules) -> Iterator[RoutingReason]:
    """A reading in doubt is as urgent as the worst that it may be; that is no finding, so it has the code of a screening."""
    unsure = [photo for photo in eye.photos if photo.outcome is Outcome.UNCERTAIN]
    labels = [LABELS[code] for code in dict.fromkeys(code for photo in unsure for code in photo.answer_set or _likeliest(photo))]
    labels = [label for label in labels if not label.is_normal]
    if not labels:
        return
    worst = max((label.code for label in labels), key=lambda code: rules.labels[code].urgency.rank)
    rule = rules.labels[worst].model_copy(update={"icd10": rules.reading.uncertain.icd10})
    names_zh, names_en = "、".join(one.name_zh for one in labels), ", ".join(one.name_en for one in labels)
    yield _reason(worst, rule, eye.eye, (f"不能排除{names_zh}", f"cannot be ruled out: {names_en}"))


def _likeliest(photo: PhotoPrediction) -> tuple[str, ...]:
    """A set without any label is no reason to be calm."""
    return tuple(sorted(photo.probabilities, key=lambda code: -photo.probabilities[code])[:1])


def _reason(rule_id: str, rule: Rule, eye: Laterality | None, found: tuple[str, str]) -> RoutingReason:
    where_zh, where_en = (eye.name_zh, eye.name_en) if eye else ("眼别不明的照片", "photograph of an unknown eye")
    return rule.as_reason(
        rule_id, subject=Subject.PHOTOGRAPH, eye=eye, zh=f"{where_zh}：{found[0]}。", en=f"{where_en.capitalize()}: {found[1]}."
    )
