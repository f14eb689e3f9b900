"""Doctors' labels as an asset: its version is its content, and nothing of a patient stands in its metadata."""

from pathlib import Path

import dagster as dg

from eye_dx_core.records.memory import MemoryRecords
from eye_dx_core.schema.review import EyeReview
from eye_dx_dagster.defs.dataset.corrections import corrected_labels
from tests.core.test_corrections import OD, OS, Clinic, a_record


def test_the_asset_counts_what_it_holds_and_what_it_left_out(tmp_path: Path):
    clinic, records = Clinic(tmp_path), MemoryRecords()
    clinic.photograph("visit/1_OD.jpg", "A", seed=1)
    record = a_record(1, EyeReview(eye=OD, labels=("A",)), EyeReview(eye=OS, diseases=("高度近视",)))
    assert record.diagnosis is not None
    assert record.review is not None
    records.add_case(record.case, b"{}")
    records.add_diagnosis(record.diagnosis, [])
    records.add_review(record.review)

    with dg.instance_for_test() as instance:
        result = dg.materialize([corrected_labels], resources={"settings": clinic.settings, "records": records}, instance=instance)

    (event,) = result.get_asset_materialization_events()
    told = {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}
    assert (told["dagster/row_count"], told["labels"], told["against"]) == (1, {"A": 1}, {"confirms": 1})
    assert (told["left_out"], told["left_out_for_the_locked_test"]) == ({"no_label_chosen": 1}, 0)
    assert not any(secret in str(told) for secret in ("P1", "visit", "测试甲", "唐医生", "case-1"))
