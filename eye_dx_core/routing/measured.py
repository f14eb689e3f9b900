"""What follows from acuity and pressure as measured in the chair."""

from collections.abc import Iterator

from eye_dx_core.routing.rules import MeasurementRules, Rule
from eye_dx_core.schema.case import EyeMeasurement, Laterality, VisionData
from eye_dx_core.schema.routing import ACUITY_IMPLAUSIBLE, IOP_IMPLAUSIBLE, RoutingReason, Subject


def reasons_of_measurement(eye: Laterality, measured: EyeMeasurement, rules: MeasurementRules) -> Iterator[RoutingReason]:
    """What follows from one eye; a value that cannot be right is said to be so, and used for nothing else."""
    acuity, iop = measured.acuity_decimal, measured.iop_mmhg
    if acuity is not None and not rules.acuity_implausible.is_plausible(acuity):
        found = (f"视力 {acuity:g} 超出可信范围", f"an acuity of {acuity:g} is not plausible")
        yield _reason(ACUITY_IMPLAUSIBLE, rules.acuity_implausible, eye, found)
    if iop is None:
        return
    if not rules.iop_implausible.is_plausible(iop):
        found = (f"眼压 {iop:g} mmHg 超出可信范围", f"a pressure of {iop:g} mmHg is not plausible")
        yield _reason(IOP_IMPLAUSIBLE, rules.iop_implausible, eye, found)
        return
    found = (f"眼压 {iop:g} mmHg", f"pressure {iop:g} mmHg")
    if iop >= rules.iop_same_day.from_mmhg:
        yield _reason("iop_same_day", rules.iop_same_day, eye, found)
    elif iop >= rules.iop_urgent.from_mmhg:
        yield _reason("iop_urgent", rules.iop_urgent, eye, found)
    elif iop > rules.iop_high.above_mmhg:
        yield _reason("iop_high", rules.iop_high, eye, found)


def reasons_of_asymmetry(vision: VisionData, rules: MeasurementRules) -> Iterator[RoutingReason]:
    """What follows from the difference between the eyes, where both pressures are plausible."""
    right, left = vision.right.iop_mmhg, vision.left.iop_mmhg
    if right is None or left is None or not all(map(rules.iop_implausible.is_plausible, (right, left))):
        return
    # As decimals are written: 21.3 - 13.3 must be 8.
    difference = round(abs(right - left), 6)
    if difference >= rules.iop_asymmetry.difference_from_mmhg:
        found = (f"眼压相差 {difference:g} mmHg", f"pressures differ by {difference:g} mmHg")
        yield _reason("iop_asymmetry", rules.iop_asymmetry, None, found)


def _reason(rule_id: str, rule: Rule, eye: Laterality | None, found: tuple[str, str]) -> RoutingReason:
    where_zh, where_en = (eye.name_zh, eye.name_en) if eye else ("双眼", "both eyes")
    return rule.as_reason(
        rule_id, subject=Subject.MEASUREMENT, eye=eye, zh=f"{where_zh}：{found[0]}。", en=f"{where_en.capitalize()}: {found[1]}."
    )
