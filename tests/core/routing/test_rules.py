"""A clinic's own rules are checked key by key before anything is decided by them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from eye_dx_core import wiring
from eye_dx_core.errors import BadSettings
from eye_dx_core.routing import rules as module
from eye_dx_core.routing.rules import load_rules, shipped_rules
from eye_dx_core.schema.condition import LABEL_SETS, LABELS
from eye_dx_core.settings import Settings

SHIPPED = Path(module.__file__).with_name("rules.yaml").read_text(encoding="utf-8")


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The shipped rules with a change, as a file."""
    content = yaml.safe_load(SHIPPED)
    change(content)
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(LABEL_SETS))
def test_every_label_of_every_label_set_has_a_rule(name: str):
    assert set(LABEL_SETS[name].codes) <= shipped_rules().labels.keys()


def test_codes_are_those_of_the_labels():
    assert {code: rule.icd10 for code, rule in shipped_rules().labels.items()} == {code: label.icd10 for code, label in LABELS.items()}


def test_a_clinics_own_rules_are_used_and_say_who_signed_them(tmp_path: Path):
    path = changed(
        tmp_path, lambda rules: rules.update(signed_by="Dr Owner") or rules["labels"]["G"].update(urgency="soon", within_days=21)
    )

    rules = wiring.routing_rules(Settings(routing_file=path))
    assert (rules.signed_by, rules.labels["G"].within_days) == ("Dr Owner", 21)
    assert wiring.diagnosis_outlet(Settings(routing_file=path)).rules == rules
    assert wiring.routing_rules(Settings()).signed_by is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rules: rules["labels"].pop("D4"), "labels: no rule for D4"),
        (lambda rules: rules["labels"].update(X=rules["labels"]["N"]), "labels: X is no label"),
        (
            lambda rules: rules["labels"]["D4"].update(within_days=60),
            r"labels.D4: within_days must be from 1 to 14 where the urgency is urgent",
        ),
        (lambda rules: rules["labels"]["A"].update(urgency="now"), "labels.A.urgency"),
        (lambda rules: rules["labels"]["A"].update(icd10="H353"), "labels.A.icd10"),
        (lambda rules: rules["labels"]["A"].pop("source"), "labels.A.source: Field required"),
        (lambda rules: rules["labels"]["A"].update(zh=""), "labels.A.zh"),
        (lambda rules: rules["labels"]["A"].update(colour="red"), "labels.A.colour: Extra inputs"),
        (lambda rules: rules["reading"].pop("uncertain"), "reading.uncertain: Field required"),
        (lambda rules: rules["measurements"]["iop_urgent"].pop("from_mmhg"), "measurements.iop_urgent.from_mmhg: Field required"),
        (lambda rules: rules["measurements"]["iop_implausible"].update(plausible=[80, 0]), "measurements.iop_implausible"),
        (lambda rules: rules.pop("signed_by"), "signed_by: Field required"),
    ],
)
def test_a_wrong_key_is_named(change: Callable[[dict[str, Any]], object], named: str, tmp_path: Path):
    with pytest.raises(BadSettings, match=f"EYE_DX_ROUTING_FILE: .*{named}"):
        load_rules(changed(tmp_path, change))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (SHIPPED.replace("  N:\n", "  D0:\n", 1).encode(), "D0 is written twice"),
        (b"labels: [", "is no YAML"),
        (b"", "file: "),
        (b"\xff\xfe\x00", "names no readable file"),
    ],
)
def test_a_file_that_holds_no_rules_is_refused(content: bytes, named: str, tmp_path: Path):
    path = tmp_path / "rules.yaml"
    path.write_bytes(content)

    with pytest.raises(BadSettings, match=named):
        load_rules(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(BadSettings, match="EYE_DX_ROUTING_FILE names no readable file"):
        load_rules(tmp_path / "none.yaml")
