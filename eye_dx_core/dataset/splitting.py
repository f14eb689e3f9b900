"""Who learns from what: train, validation, calibration and locked test, divided by patient."""

import hashlib
from collections import Counter, defaultdict
from enum import StrEnum
from pathlib import Path

from pydantic import Field, ValidationError

from eye_dx_core.dataset.manifest import Manifest, ManifestRow, Provenance
from eye_dx_core.errors import BadDataset
from eye_dx_core.schema.frozen import Frozen


class Split(StrEnum):
    """What a photograph is used for. `TEST` is locked: only the evaluation of a finished checkpoint looks at it."""

    TRAIN = "train"
    VALIDATION = "validation"
    CALIBRATION = "calibration"
    TEST = "test"


class SplitShares(Frozen):
    """Which share of each label's patients goes where."""

    train: float = Field(default=0.6, gt=0)
    validation: float = Field(default=0.1, ge=0)
    calibration: float = Field(default=0.1, ge=0)
    test: float = Field(default=0.2, gt=0)


class Splits(Frozen):
    """The split of every photograph, by photo id; `counts` is split → label → photographs."""

    assignment: dict[str, Split]
    pixels: dict[str, Split]
    """The same by pixel hash, which a photograph keeps when its file is moved or renamed."""
    counts: dict[str, dict[str, int]]
    fingerprint: str


def split_by_patient(manifest: Manifest, *, seed: int, shares: SplitShares | None = None, previous: Splits | None = None) -> Splits:
    """Divide patients, never photographs, stratum by stratum (label and source) from the rarest on.

    Patients who share a photograph, or whose photographs look alike, count as one. Within a stratum they come in the order
    of a seeded hash of their key; each goes to the split that lacks most of its share. A patient of several strata is placed
    by the rarest of them. Photographs of unknown patients are only trained on, because their patient may be in another split;
    unless a label has no others.

    Args:
        manifest: the photographs.
        seed: another one gives another division.
        shares: which part goes where.
        previous: an earlier division, of which every photograph that is still there keeps its split. Where patients of two
            splits turn out to be one, they go to training: what a model has learnt from can no longer test one.
    """
    wanted = (shares or SplitShares()).model_dump()
    groups = group_of_photos(manifest)
    split_of = _kept(previous, manifest, groups)
    # What was labelled with the AI's word in sight must not test it.
    for row in manifest.rows:
        if row.provenance is Provenance.DOCTOR:
            split_of.setdefault(groups[row.photo_id], Split.TRAIN)
    for waiting, is_known in _strata(manifest.rows, groups, seed=seed):
        placed = Counter(split_of[group] for group in waiting if group in split_of)
        fresh = [group for group in waiting if group not in split_of]
        order = _order_of_splits(len(fresh), wanted, placed) if is_known else [Split.TRAIN] * len(fresh)
        split_of |= dict(zip(fresh, order, strict=True))
    return _splits(manifest, {row.photo_id: split_of[groups[row.photo_id]] for row in manifest.rows})


def leave_source_out(manifest: Manifest, source: str, *, seed: int) -> Splits:
    """As `split_by_patient`, but the test split is one source: every group with a photograph of it, and nothing else.

    A group that spans sources is tested as a whole, so that none of its patients is learnt from.
    """
    groups = group_of_photos(manifest)
    unseen = {groups[row.photo_id] for row in manifest.rows if row.source == source}
    usual = split_by_patient(manifest, seed=seed).assignment
    assignment = {
        photo_id: Split.TEST if groups[photo_id] in unseen else Split.TRAIN if split is Split.TEST else split
        for photo_id, split in usual.items()
    }
    return _splits(manifest, assignment)


def look_alikes_spanning_splits(manifest: Manifest, splits: Splits) -> tuple[str, ...]:
    """Ids of photographs that look like one in another split; there must be none."""
    pairs = [(one.photo_id, one.other_id) for one in manifest.look_alikes]
    pairs += [(row.photo_id, row.duplicate_of) for row in manifest.rows if row.duplicate_of is not None]
    return tuple(sorted(one for one, other in pairs if splits.assignment[one] is not splits.assignment[other]))


def patients_spanning_splits(manifest: Manifest, splits: Splits) -> tuple[str, ...]:
    """Keys of patients with photographs in more than one split; there must be none."""
    seen: dict[str, set[Split]] = defaultdict(set)
    for row in manifest.rows:
        seen[row.patient_key].add(splits.assignment[row.photo_id])
    return tuple(sorted(key for key, where in seen.items() if len(where) > 1))


def save_splits(splits: Splits, path: Path) -> Path:
    """Write the splits as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(splits.model_dump_json(indent=1), encoding="utf-8")
    return path


def load_splits(path: Path) -> Splits:
    """Read splits.

    Raises:
        BadDataset: they were not written yet, or cannot be read.
    """
    splits = find_splits(path)
    if splits is None:
        raise BadDataset("there are no splits yet: materialise dataset_splits first")
    return splits


def find_splits(path: Path) -> Splits | None:
    """Splits that were written earlier, or None.

    Raises:
        BadDataset: they cannot be read. Nobody guesses then which photographs were locked.
    """
    try:
        return Splits.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise BadDataset(
            f"{path.name} is damaged or was written by another version of Eye Dx: restore it, or remove it for a new division, "
            "after which no model trained before can be compared on the locked test"
        ) from None


def group_of_photos(manifest: Manifest) -> dict[str, str]:
    """Photo id → its group: photographs of one patient, equal photographs and look-alikes are never separated."""
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    def join(one: str, other: str) -> None:
        first, second = sorted((find(one), find(other)))
        leader[second] = first

    patient = {row.photo_id: row.patient_key for row in manifest.rows}
    first_with: dict[str, str] = {}
    for row in manifest.rows:
        join(row.patient_key, first_with.setdefault(row.pixel_sha256, row.patient_key))
    for pair in manifest.look_alikes:
        join(patient[pair.photo_id], patient[pair.other_id])
    return {photo_id: find(key) for photo_id, key in patient.items()}


def _splits(manifest: Manifest, assignment: dict[str, Split]) -> Splits:
    return Splits(
        assignment=assignment,
        pixels={row.pixel_sha256: assignment[row.photo_id] for row in manifest.rows},
        counts=_count(manifest, assignment),
        fingerprint=_fingerprint(manifest, assignment),
    )


def _kept(previous: Splits | None, manifest: Manifest, groups: dict[str, str]) -> dict[str, Split]:
    """Group → split of an earlier division."""
    before: dict[str, set[Split]] = defaultdict(set)
    known = previous.pixels if previous else {}
    for row in manifest.rows:
        if row.pixel_sha256 in known:
            before[groups[row.photo_id]].add(known[row.pixel_sha256])
    return {group: splits.pop() if len(splits) == 1 else Split.TRAIN for group, splits in before.items()}


def _strata(rows: tuple[ManifestRow, ...], groups: dict[str, str], *, seed: int) -> list[tuple[list[str], bool]]:
    """Groups per label and source in seeded order, rarest stratum first, and whether their patients are known."""
    can_be_tested = {row.label for row in rows if row.is_patient_known}
    strata: dict[tuple[str, str, bool], set[str]] = defaultdict(set)
    for row in rows:
        strata[row.label, row.source, row.is_patient_known or row.label not in can_be_tested].add(groups[row.photo_id])
    in_order = sorted(strata.items(), key=lambda pair: (not pair[0][2], len(pair[1]), pair[0]))
    return [(sorted(keys, key=lambda key: hashlib.sha256(f"{seed}\n{key}".encode()).hexdigest()), name[2]) for name, keys in in_order]


def _order_of_splits(patients: int, wanted: dict[str, float], placed: Counter[Split]) -> list[Split]:
    """One split per patient: each next one goes where most of the share is missing (training first on a tie)."""
    priority = (Split.TRAIN, Split.TEST, Split.VALIDATION, Split.CALIBRATION)
    given, order = Counter(placed), list[Split]()
    for position in range(placed.total() + 1, placed.total() + patients + 1):
        split = max(priority, key=lambda one: (wanted[one] * position - given[one], -priority.index(one)))
        given[split] += 1
        order.append(split)
    missing = [split for split in priority if wanted[split] > 0 and not given[split]]
    if given.total() >= len(priority):
        # Every split gets a patient of every stratum as soon as there are four.
        for split in missing:
            if Split.TRAIN in order:
                order[len(order) - 1 - order[::-1].index(Split.TRAIN)] = split
    return order


def _count(manifest: Manifest, assignment: dict[str, Split]) -> dict[str, dict[str, int]]:
    counted = Counter((assignment[row.photo_id], row.label) for row in manifest.rows)
    return {split: {code: counted[split, code] for code in manifest.label_set.codes} for split in Split}


def _fingerprint(manifest: Manifest, assignment: dict[str, Split]) -> str:
    lines = sorted(f"{row.pixel_sha256} {assignment[row.photo_id]}" for row in manifest.rows)
    return hashlib.sha256("\n".join([manifest.fingerprint, *lines]).encode()).hexdigest()
