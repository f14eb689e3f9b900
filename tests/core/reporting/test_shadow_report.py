"""Champion and challenger on the same cases: counted in both directions, and with whom the doctors go."""

from datetime import timedelta
from pathlib import Path

import pytest

from eye_dx_core.files.folders import FolderFiles
from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.reporting.shadow.comparing import Comparison, compare
from eye_dx_core.reporting.shadow.writing import write_shadow_report
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.review import DoctorReview, EyeReview
from eye_dx_core.schema.routing import Urgency
from eye_dx_core.schema.shadow import ShadowReading
from tests.builders import NOON, a_case, a_diagnosis, a_review

THEIRS = "c" * 64
Codes = tuple[str | None, str | None]
"""Right and left eye."""


class Both:
    """Records of cases that champion and challenger have read."""

    def __init__(self) -> None:
        self.records, self._number = MemoryRecords(), 0

    def add(
        self, champion: Codes, challenger: Codes | None, *, doctor: Codes | str | None = None, blind: Codes | None = None, times: int = 1
    ) -> None:
        """`challenger` None: it failed; `doctor` by eye or as a text; the case's champion may be of another version."""
        for _ in range(times):
            self._number += 1
            case_id = f"case-{self._number}"
            received_at = NOON + timedelta(minutes=self._number)
            self.records.add_case(a_case(case_id).model_copy(update={"received_at": received_at}), b"raw")
            self.records.add_diagnosis(a_diagnosis(case_id, right=champion[0], left=champion[1]), [])
            if doctor is not None:
                self.records.add_review(a_word(case_id, doctor, blind))
            said = a_diagnosis(case_id, right=challenger[0], left=challenger[1]) if challenger else None
            self.records.add_shadow_reading(
                ShadowReading(
                    case_id=case_id,
                    model_version="4",
                    checkpoint_sha256=THEIRS,
                    read_at=received_at,
                    diagnosis=said,
                    failure=None if said else "ValueError",
                    seconds_per_photo=0.2,
                    champion_seconds_per_photo=0.1 if self._number % 2 else None,
                )
            )

    def compare(self) -> Comparison:
        found = compare(self.records.shadow_readings(checkpoint_sha256=THEIRS), at=NOON)
        assert found is not None
        return found


def a_word(case_id: str, doctor: Codes | str, blind: Codes | None) -> DoctorReview:
    def by_eye(codes: Codes) -> tuple[EyeReview, ...]:
        return tuple(EyeReview(eye=eye, labels=(code,)) for eye, code in zip(Laterality, codes, strict=True) if code)

    review = a_review(case_id, review_id=f"review-of-{case_id}", conclusion=doctor if isinstance(doctor, str) else "见各眼")
    if isinstance(doctor, str):
        return review
    return review.model_copy(update={"eyes": by_eye(doctor), "blind_eyes": by_eye(blind) if blind else None})


@pytest.fixture
def both() -> Both:
    return Both()


def test_nothing_read_is_nothing_to_compare(tmp_path: Path):
    assert write_shadow_report(MemoryRecords(), THEIRS, files=FolderFiles(tmp_path), at=NOON) is None
    assert not (tmp_path / "shadow").exists()


def test_conclusions_are_crossed_eye_by_eye_and_what_is_not_assessed_apart(both: Both):
    both.add(("A", "N"), ("A", "N"), times=40)
    both.add(("A", "N"), ("D", "N"), times=10)
    both.add(("A", None), ("A", "N"), times=5)
    both.add((None, "N"), ("A", None), times=3)

    found = both.compare()

    assert (found.cases, found.eyes) == (58, 116)
    assert found.agreement.matrix == {"A": {"A": 45, "D": 10}, "N": {"N": 50}}
    assert (found.agreement.agreed, found.agreement.compared) == (95, 105)
    assert [(one.conclusion, one.compared, one.overridden) for one in found.agreement.by_class] == [("A", 55, 10), ("N", 50, 0)]
    assert found.outcomes == {"assessed": {"assessed": 105, "not_assessed": 3}, "not_assessed": {"assessed": 8}}
    assert found.agreement.kappa is not None
    assert 0.7 < found.agreement.kappa.low < found.agreement.kappa.value < found.agreement.kappa.high <= 1


def test_a_challenger_that_says_the_same_agrees_wholly_and_moves_nobody(both: Both):
    both.add(("A", "N"), ("A", "N"), doctor=("A", "N"), times=50)
    both.add(("N", "N"), ("N", "N"), doctor="双眼未见明显异常", times=10)

    found = both.compare()

    assert found.agreement.kappa is not None
    assert found.agreement.kappa.value == 1
    assert [(one.only_champion, one.only_challenger) for one in found.moved] == [(0, 0)] * 3
    assert (found.doctors.cases, found.doctors.both, found.doctors.p_value) == (60, 60, None)
    assert found.confidence_shift is not None
    assert found.confidence_shift.value == 0


def test_referrals_that_change_are_told_in_both_directions_with_the_cases(both: Both):
    both.add(("A", "N"), ("N", "N"), times=2)  # AMD is urgent by the shipped rules
    both.add(("N", "N"), ("A", "N"))
    both.add(("A", "N"), ("A", "N"), times=4)

    urgent = next(one for one in both.compare().moved if one.line is Urgency.URGENT)

    assert (urgent.both, urgent.only_champion, urgent.only_challenger) == (4, 2, 1)
    assert urgent.case_ids_only_champion == ("case-1", "case-2")
    assert urgent.case_ids_only_challenger == ("case-3",)


def test_doctors_choose_by_case_and_mcnemar_says_whether_by_chance(both: Both):
    both.add(("A", "N"), ("D", "N"), doctor=("D", "N"), times=9)
    both.add(("A", "N"), ("D", "N"), doctor=("A", "N"))
    both.add(("A", "N"), ("A", "N"), doctor=("A", "N"), times=5)
    both.add(("A", "N"), ("A", "N"), doctor=("C", "C"), times=2)
    both.add(("A", "N"), ("D", "N"))  # no doctor has decided it

    doctors = both.compare().doctors

    assert (doctors.cases, doctors.both, doctors.neither) == (17, 5, 2)
    assert (doctors.only_champion, doctors.only_challenger) == (1, 9)
    assert doctors.p_value == pytest.approx(22 / 1024)  # 2 * (1 + 10) / 2^10


def test_a_doctor_who_writes_a_text_chooses_too_and_one_who_could_not_read_an_eye_does_not(both: Both):
    both.add(("A", "N"), ("D", "N"), doctor="糖尿病视网膜病变")
    both.add(("D", "N"), (None, None), doctor="糖尿病视网膜病变")
    both.add(("A", None), ("A", "N"), doctor=("A", None))

    doctors = both.compare().doctors

    assert (doctors.cases, doctors.only_challenger, doctors.only_champion, doctors.both) == (3, 1, 1, 1)


def test_what_doctors_said_before_they_saw_the_champions_word_is_told_apart(both: Both):
    both.add(("A", "N"), ("D", "N"), doctor=("A", "N"), blind=("D", "N"), times=3)
    both.add(("A", "N"), ("D", "N"), doctor=("A", "N"))

    found = both.compare()

    assert (found.doctors.cases, found.doctors.only_champion) == (4, 4)
    assert (found.doctors_blind.cases, found.doctors_blind.only_challenger) == (3, 3)


def test_failures_are_counted_and_times_are_those_of_the_same_photographs(both: Both):
    both.add(("A", "N"), None, times=2)
    both.add(("A", "N"), ("A", "N"), times=4)

    found = both.compare()

    assert (found.cases, found.failures) == (4, {"ValueError": 2})
    assert found.seconds_champion is not None
    assert found.seconds_challenger is not None
    assert (found.seconds_champion.count, found.seconds_champion.median) == (3, 0.1)
    assert (found.seconds_challenger.count, found.seconds_challenger.median) == (3, 0.2)


def test_a_challenger_that_is_surer_of_the_same_shifts_the_confidence(both: Both):
    both.add(("A", "N"), ("A", "N"), times=30)
    for record, reading in both.records.shadow_readings(checkpoint_sha256=THEIRS):
        assert reading.diagnosis is not None
        surer = tuple(eye.model_copy(update={"confidence": 0.97}) for eye in reading.diagnosis.eyes)
        said = reading.model_copy(update={"diagnosis": reading.diagnosis.model_copy(update={"eyes": surer})})
        both.records._held[record.case.case_id].shadows[THEIRS] = said

    shift = both.compare().confidence_shift

    assert shift is not None
    assert (round(shift.value, 6), round(shift.low, 6), round(shift.high, 6)) == (0.1, 0.1, 0.1)


def test_cases_of_a_former_champion_are_left_out_and_counted(both: Both):
    both.add(("A", "N"), ("A", "N"), times=3)
    held = both.records._held["case-1"]
    assert held.diagnosis is not None
    held.diagnosis = held.diagnosis.model_copy(update={"checkpoint_sha256": "e" * 64, "model_version": "2"})

    found = both.compare()

    assert (found.cases, found.other_champion, found.champion_version) == (2, 1, "3")


def test_the_files_tell_all_of_it_and_name_nobody(both: Both, tmp_path: Path):
    both.add(("A", "N"), ("N", None), doctor=("A", "N"), times=25)
    both.add(("N", "N"), ("A", "N"), doctor="双眼未见明显异常")
    both.add(("N", "N"), None)

    written = write_shadow_report(both.records, THEIRS, files=FolderFiles(tmp_path), at=NOON)

    assert written is not None
    found, pages = written
    assert Comparison.model_validate_json((tmp_path / pages.file("json")).read_text(encoding="utf-8")) == found
    texts = [(tmp_path / pages.file(suffix)).read_text(encoding="utf-8") for suffix in ("md", "html", "json")]
    for text in texts[:2]:
        for word in (
            "challenger v4 against champion v3",
            "case-1, case-2",
            "p &lt; 0.001" if "<html" in text else "p \\< 0.001",
            "ValueError",
        ):
            assert word in text
    for secret in ("测试甲", "13800138000", "P2025001", "visit/OD.jpg", "唐医生"):
        assert not any(secret in text for text in texts)
