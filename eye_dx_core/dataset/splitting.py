"""Who learns from what: train, validation, calibration and locked test, divided by patient."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from pydantic import Field

from eye_dx_core.dataset.manifest import Manifest, ManifestRow
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
    counts: dict[str, dict[str, int]]
    fingerprint: str


def split_by_patient(manifest: Manifest, *, seed: int, shares: SplitShares | None = None) -> Splits:
    """Divide patients, never photographs, label by label from the rarest on.

    Patients who share a photograph (an exact duplicate) count as one. Within a label, patients come in the order of a
    seeded hash of their key, so the order of old patients does not change when new ones are added; each goes to the split
    that lacks most of its share. A patient with several labels is placed by the rarest of them.
    """
    wanted = (shares or SplitShares()).model_dump()
    split_of: dict[str, Split] = {}
    for _, patients in _patients_by_label(manifest.rows):
        waiting = sorted(patients - split_of.keys(), key=lambda key: hashlib.sha256(f"{seed}\n{key}".encode()).hexdigest())
        split_of |= dict(zip(waiting, _order_of_splits(len(waiting), wanted), strict=True))
    clusters = _clusters(manifest.rows)
    assignment = {row.photo_id: split_of[clusters[row.patient_key]] for row in manifest.rows}
    return Splits(assignment=assignment, counts=_count(manifest, assignment), fingerprint=_fingerprint(manifest, assignment))


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
        BadDataset: they were not written yet.
    """
    if not path.exists():
        raise BadDataset("there are no splits yet: materialise dataset_splits first")
    return Splits.model_validate_json(path.read_bytes())


def _clusters(rows: Iterable[ManifestRow]) -> dict[str, str]:
    """Patient key → key of its cluster: patients who share the pixels of a photograph must not be separated."""
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    first_with: dict[str, str] = {}
    for row in rows:
        one, other = find(row.patient_key), find(first_with.setdefault(row.pixel_sha256, row.patient_key))
        leader[max(one, other)] = min(one, other)
    return {key: find(key) for key in leader}


def _patients_by_label(rows: tuple[ManifestRow, ...]) -> list[tuple[str, set[str]]]:
    """Clusters of patients per label, rarest label first, so that a patient with two labels serves the rarer one."""
    clusters = _clusters(rows)
    patients: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        patients[row.label].add(clusters[row.patient_key])
    return sorted(patients.items(), key=lambda pair: (len(pair[1]), pair[0]))


def _order_of_splits(patients: int, wanted: dict[str, float]) -> list[Split]:
    """One split per patient: each next patient goes where most of the share is missing (test before the others on a tie)."""
    priority = (Split.TRAIN, Split.TEST, Split.VALIDATION, Split.CALIBRATION)
    given: Counter[Split] = Counter()
    order: list[Split] = []
    for position in range(1, patients + 1):
        split = max(priority, key=lambda one: (wanted[one] * position - given[one], -priority.index(one)))
        given[split] += 1
        order.append(split)
    missing = [split for split in priority if wanted[split] > 0 and not given[split]]
    if patients >= len(priority):
        # Every split gets a patient of every label as soon as there are four.
        for split in missing:
            order[len(order) - 1 - order[::-1].index(Split.TRAIN)] = split
    return order


def _count(manifest: Manifest, assignment: dict[str, Split]) -> dict[str, dict[str, int]]:
    counted = Counter((assignment[row.photo_id], row.label) for row in manifest.rows)
    return {split: {code: counted[split, code] for code in manifest.label_set.codes} for split in Split}


def _fingerprint(manifest: Manifest, assignment: dict[str, Split]) -> str:
    lines = sorted(f"{row.pixel_sha256} {assignment[row.photo_id]}" for row in manifest.rows)
    return hashlib.sha256("\n".join([manifest.fingerprint, *lines]).encode()).hexdigest()
