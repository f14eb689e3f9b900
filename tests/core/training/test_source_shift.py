"""Each source is read by a model that has never seen it; a source without which nothing can be trained spoils nothing."""

from pathlib import Path

import pytest

from eye_dx_core.dataset.manifest import Manifest
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset
from eye_dx_core.dataset.scanning import scan_photos
from eye_dx_core.dataset.splitting import Split, group_of_photos, leave_source_out
from eye_dx_core.errors import BadDataset
from eye_dx_core.schema.condition import LABEL_SETS
from eye_dx_core.training.config import TrainingConfig
from eye_dx_core.training.source_shift import leave_one_source_out


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Normal eyes of two cameras, cataracts of one of them, glaucoma of the other alone."""
    folder = write_phantom_dataset(tmp_path_factory.mktemp("d") / "photos", size=96, counts={"N": 16, "C": 14, "G": 8})
    (folder / "N" / "clinic_2").mkdir()
    normal = sorted((folder / "N" / "camera_b").iterdir())
    patients = sorted({path.name[:7] for path in normal})
    for path in normal:
        if path.name[:7] in patients[:8]:
            path.rename(folder / "N" / "clinic_2" / path.name)
    return folder


@pytest.fixture(scope="module")
def manifest(photos: Path) -> Manifest:
    return scan_photos(photos, label_set=LABEL_SETS["eight"])


def test_a_source_that_is_left_out_is_tested_whole_and_never_learnt(manifest: Manifest):
    splits, groups = leave_source_out(manifest, "clinic_2", seed=0), group_of_photos(manifest)

    unseen = {groups[row.photo_id] for row in manifest.rows if row.source == "clinic_2"}
    assert {groups[key] for key, split in splits.assignment.items() if split is Split.TEST} == unseen
    assert all(splits.counts[split]["N"] for split in Split)


def test_every_source_is_measured_or_says_why_not(photos: Path, manifest: Manifest, tmp_path: Path):
    found = leave_one_source_out(
        folder=tmp_path,
        photo_folder=photos,
        manifest=manifest,
        config=TrainingConfig(method="probe", epochs=2, views=1),
        trunk=None,
        cache_folder=tmp_path / "cache",
    )

    by_source = {one.source: one for one in found}
    assert set(by_source) == {"camera_b", "clinic_2", "unknown"}
    clinic = by_source["clinic_2"]
    assert clinic.never_learnt == ("G",)
    assert clinic.evaluation is not None
    assert clinic.evaluation.recall["G"] == 0
    assert set(clinic.evaluation.by_source) == {"clinic_2"}


def test_one_source_alone_cannot_be_left_out(tmp_path: Path):
    write_phantom_dataset(tmp_path / "photos", size=96, counts={"C": 2, "RP": 2})
    manifest = scan_photos(tmp_path / "photos", label_set=LABEL_SETS["eight"]).model_copy()
    one_source = manifest.model_copy(update={"rows": tuple(row for row in manifest.rows if row.source == "unknown")})

    with pytest.raises(BadDataset, match=r"one source \(unknown\)"):
        next(
            leave_one_source_out(
                folder=tmp_path,
                photo_folder=tmp_path / "photos",
                manifest=one_source,
                config=TrainingConfig(),
                trunk=None,
                cache_folder=tmp_path / "cache",
            )
        )
