"""How soon somebody should be seen: which rules apply to what was read and measured. The most urgent one counts."""

from collections.abc import Iterable, Sequence

from eye_dx_core.routing.measured import reasons_of_asymmetry, reasons_of_measurement
from eye_dx_core.routing.read import reasons_of_missing_eyes, reasons_of_photos
from eye_dx_core.routing.rules import RoutingRules
from eye_dx_core.schema.case import Laterality, VisionData
from eye_dx_core.schema.diagnosis import EyeDiagnosis
from eye_dx_core.schema.routing import Routing, RoutingReason


def decide_routing(eyes: Sequence[EyeDiagnosis], vision: VisionData, rules: RoutingRules) -> Routing:
    """How soon a patient should be seen: as the most urgent eye or measurement wants, also when no photograph could be read."""
    reasons = [reason for eye in eyes for reason in reasons_of_photos(eye, rules)]
    reasons += reasons_of_missing_eyes(eyes, rules)
    reasons += [reason for eye in Laterality for reason in reasons_of_measurement(eye, vision.of(eye), rules.measurements)]
    return _sum_up([*reasons, *reasons_of_asymmetry(vision, rules.measurements)], rules)


def decide_eye_routing(eye: EyeDiagnosis, vision: VisionData, rules: RoutingRules) -> Routing:
    """The same for one eye and what was measured on it."""
    measured = () if eye.eye is None else reasons_of_measurement(eye.eye, vision.of(eye.eye), rules.measurements)
    return _sum_up([*reasons_of_photos(eye, rules), *measured], rules)


def _sum_up(reasons: Iterable[RoutingReason], rules: RoutingRules) -> Routing:
    ordered = sorted(dict.fromkeys(reasons), key=lambda one: (-one.urgency.rank, one.within_days))
    return Routing(
        urgency=ordered[0].urgency,
        within_days=ordered[0].within_days,
        icd10=tuple(dict.fromkeys(one.icd10 for one in ordered if one.icd10)),
        reasons=tuple(ordered),
        rules_signed_by=rules.signed_by,
    )
