"""A photograph that cannot be fetched now is fetched later; its case is never given up as not assessed, and takes no other along."""

from pathlib import Path

import pytest

from eye_dx_core.casework import DiagnosisOutlet, diagnose_waiting
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.errors import EyeDxError
from eye_dx_core.inference.intake import PhotoIntake
from eye_dx_core.inference.predictor import Predictor
from eye_dx_core.inference.sources.memory import MemoryPhotos
from eye_dx_core.model.checkpoint import load_checkpoint
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.records.port import MAX_ATTEMPTS
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import AiDiagnosis
from tests.builders import NOON, a_case
from tests.checkpoints import a_checkpoint


class Clinic:
    """Three cases: one whose photograph's place is down, one whose photograph is gone, one that can be read."""

    def __init__(self, folder: Path) -> None:
        write_phantom_photo(folder / "OD.jpg", "N", eye=Laterality.RIGHT, seed=1, size=96)
        self.photo = (folder / "OD.jpg").read_bytes()
        self.photos: dict[str, bytes | None] = {"down": None, "there": self.photo}
        self.records, self.intake = MemoryRecords(), PhotoIntake(MemoryPhotos(self.photos))
        self._predictor = Predictor(load_checkpoint(a_checkpoint(folder / "checkpoint")), model_name="m", model_version="1")
        for name in ("down", "gone", "there"):
            self.records.add_case(a_case(name, photos=(name,)), b"{}")

    def read(self, *, limit: int) -> tuple[AiDiagnosis, ...]:
        """One pass; its leases are over at once."""
        return diagnose_waiting(
            self.records,
            self._predictor,
            self.intake,
            outlet=DiagnosisOutlet(QueueNames()),
            limit=limit,
            micro_batch=3,
            lease_seconds=0,
            now=lambda: NOON,
        )

    def reasons(self) -> dict[str, str | None]:
        found = {name: self.records.find_diagnosis(name) for name in ("down", "gone", "there")}
        return {name: one.eyes[0].reason for name, one in found.items() if one}


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


def test_a_place_that_is_down_takes_no_other_case_along(clinic: Clinic):
    with pytest.raises(EyeDxError, match="down"):
        clinic.read(limit=3)
    assert set(clinic.reasons()) == {"gone", "there"}
    assert clinic.reasons()["gone"] == "missing"

    clinic.photos["down"] = clinic.photo
    assert [one.case_id for one in clinic.read(limit=1)] == ["down"]


def test_a_place_may_stay_down_for_as_long_as_it_likes(clinic: Clinic):
    for limit in (3, *[1] * MAX_ATTEMPTS):
        with pytest.raises(EyeDxError):
            clinic.read(limit=limit)

    assert "down" not in clinic.reasons()
    assert clinic.records.backlog().stuck == 0
    clinic.photos["down"] = clinic.photo
    assert [one.case_id for one in clinic.read(limit=1)] == ["down"]
