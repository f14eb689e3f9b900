"""What must be true of the training photographs before anything learns from them; each check is one claim."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from eye_dx_core.dataset.manifest import Manifest
from eye_dx_core.dataset.splitting import Split, Splits, look_alikes_spanning_splits, patients_spanning_splits
from eye_dx_core.dataset.waivers import Waiver
from eye_dx_core.errors import BadDataset
from eye_dx_core.schema.case import find_eye
from eye_dx_core.schema.frozen import Frozen


class Finding(Frozen):
    """Whether a claim holds, and by which photographs (ids) or labels it does not. File names never appear here."""

    claim: str
    meaning: str
    is_blocking: bool
    offenders: dict[str, str]
    """Photo id, patient key or label → what is wrong with it."""
    waiver: Waiver | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing offends."""
        return not self.offenders

    @property
    def stops_training(self) -> bool:
        """Whether somebody has to remove the offenders, or waive the claim with a reason."""
        return self.is_blocking and bool(self.offenders) and self.waiver is None


Rule = Callable[[Manifest, Splits], dict[str, str]]


def no_patient_spans_splits(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """No patient has photographs in two splits: the fellow eye in training would make the test too easy."""
    return dict.fromkeys(patients_spanning_splits(manifest, splits), "patient in several splits")


def no_near_duplicate_spans_splits(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """No photograph looks like one in another split, also not flipped or rotated: the model could know it by heart."""
    return dict.fromkeys(look_alikes_spanning_splits(manifest, splits), "looks like a photograph of another split")


def no_copy_poses_as_a_photograph(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """No photograph is a flipped, rotated or re-encoded copy of another: copies make a class look larger than it is."""
    copies = [one for one in manifest.look_alikes if one.is_copy]
    pairs = [(one.photo_id, one.other_id, one.similarity) for one in copies] + [
        (one.other_id, one.photo_id, one.similarity) for one in copies
    ]
    return {photo: f"the same photograph as {other} (similarity {similarity:.2f})" for photo, other, similarity in pairs}


def no_grade_zero_under_dr(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """No photograph in a folder of diabetic retinopathy has grade 0: that is no retinopathy, and counts as normal."""
    return {row.photo_id: "grade 0 under diabetic retinopathy" for row in manifest.rows if row.folder_code == "D" and row.dr_grade == 0}


def no_label_conflicts(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """No photograph is given two labels, by two folders, by folder and table, or by a look-alike's folder."""
    label = {row.photo_id: row.label for row in manifest.rows}
    said_twice = {f"refused {number}": one.text for number, one in enumerate(manifest.refused) if one.reason == "label_conflict"}
    look_alikes = {
        one.photo_id: f"{label[one.photo_id]}, but it looks like {one.other_id}, which is {label[one.other_id]}"
        for one in manifest.look_alikes
        if label[one.photo_id] != label[one.other_id]
    }
    return said_twice | look_alikes


def every_file_was_read(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """Every file under the class folders is a photograph that can be read."""
    return {
        f"refused {number}": f"{one.reason}: {one.text}" for number, one in enumerate(manifest.refused) if one.reason != "label_conflict"
    }


def every_class_has_photographs(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """Every label of the set has photographs to learn from; the model can never answer with one that has none."""
    return {code: "no photograph to learn from" for code, count in splits.counts[Split.TRAIN].items() if count == 0}


def no_class_comes_from_one_source(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """No label has all its photographs from one source while others have other sources: its camera would give it away."""
    sources: dict[str, set[str]] = defaultdict(set)
    for row in manifest.rows:
        sources[row.label].add(row.source)
    if len(set().union(*sources.values())) < 2:
        return {}
    return {label: f"only from {next(iter(own))}" for label, own in sorted(sources.items()) if len(own) == 1}


def every_patient_is_known(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """Every photograph that tests or calibrates tells its patient; without that, two splits may share one."""
    return {
        row.photo_id: "patient unknown"
        for row in manifest.rows
        if not row.is_patient_known and splits.assignment[row.photo_id] is not Split.TRAIN
    }


def no_personal_data_in_file_names(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """No file name seems to hold a person's name, phone number or identity number."""
    return {row.photo_id: "the name may tell a person" for row in manifest.rows if _tells_a_person(PurePosixPath(row.path).stem)}


def no_text_is_burned_in(manifest: Manifest, splits: Splits) -> dict[str, str]:
    """No photograph has writing beside the disc, such as a name or a date (by the look of it; a hint, not a proof)."""
    return {row.photo_id: "writing beside the disc" for row in manifest.rows if row.has_burned_in_text}


BLOCKING: Sequence[Rule] = (no_patient_spans_splits, no_near_duplicate_spans_splits, no_copy_poses_as_a_photograph, no_grade_zero_under_dr)
WARNING: Sequence[Rule] = (
    no_label_conflicts,
    every_file_was_read,
    every_class_has_photographs,
    no_class_comes_from_one_source,
    every_patient_is_known,
    no_personal_data_in_file_names,
    no_text_is_burned_in,
)


def check_dataset(manifest: Manifest, splits: Splits, waivers: Sequence[Waiver] = ()) -> tuple[Finding, ...]:
    """Look at every claim, blocking ones first."""
    return tuple(check_claim(rule, manifest, splits, waivers) for rule in (*BLOCKING, *WARNING))


def check_claim(rule: Rule, manifest: Manifest, splits: Splits, waivers: Sequence[Waiver] = ()) -> Finding:
    """Look at one claim. A waiver counts as long as nothing offends that it was not given for."""
    offenders = rule(manifest, splits)
    waiver = next((one for one in reversed(waivers) if one.claim == rule.__name__ and offenders.keys() <= set(one.offenders)), None)
    return Finding(
        claim=rule.__name__,
        meaning=(rule.__doc__ or "").strip(),
        is_blocking=rule in BLOCKING,
        offenders=offenders,
        waiver=waiver if offenders else None,
    )


def require_sound(findings: Sequence[Finding]) -> None:
    """Refuse to train on photographs that a blocking claim does not hold for.

    Raises:
        BadDataset: naming the claims, how many offend, and what to do.
    """
    broken = [f"{one.claim} ({len(one.offenders)})" for one in findings if one.stops_training]
    if broken:
        raise BadDataset(
            f"training is blocked by {', '.join(broken)}: see `eye-dx dataset check`, remove the offenders, "
            "or accept them with `eye-dx dataset waive CLAIM --reason … --by …`"
        )


def _tells_a_person(stem: str) -> bool:
    """Chinese characters that name no eye, a mobile phone number, or a resident identity number."""
    han = [word for word in re.findall(r"[\u4e00-\u9fff]{2,4}", stem) if find_eye(word) is None]
    return bool(han) or re.search(r"(?<!\d)(1[3-9]\d{9}|\d{17}[\dXx])(?!\d)", stem) is not None
