"""Whether a photograph can be read: what was measured, held against the rules of its camera.

Only what nobody can read is rejected. Blur is not: a cloudy lens, which is a finding, blurs as well.
"""

from collections.abc import Iterator

from eye_dx_core.inference.quality_measures import Measures
from eye_dx_core.inference.quality_rules import Ceiling, Floor, FundusRules, QualityRules
from eye_dx_core.schema.quality import Quality, QualityIssue, QualityLevel

_Finding = tuple[QualityIssue, QualityLevel]
_REJECT, _USABLE = QualityLevel.REJECT, QualityLevel.USABLE


def assess_quality(measures: Measures, rules: QualityRules) -> Quality:
    """The verdict on one photograph; issues that reject it come first."""
    found = list(_find_issues(measures, rules))
    worst = tuple(dict.fromkeys(issue for issue, level in found if level is _REJECT))
    rest = tuple(dict.fromkeys(issue for issue, _ in found if issue not in worst))
    level = _REJECT if worst else _USABLE if rest else QualityLevel.GOOD
    return Quality(level=level, issues=worst + rest, measures=measures.as_numbers())


def _find_issues(measures: Measures, rules: QualityRules) -> Iterator[_Finding]:
    """What is wrong, what matters most first. Of what is no fundus nothing else is said, and of a black picture nothing of its detail."""
    if _is_dark(measures, rules):
        yield QualityIssue.TOO_DARK, _REJECT
        return
    if not _shows_a_fundus(measures, rules.fundus):
        yield QualityIssue.NOT_A_FUNDUS, _REJECT
        return
    yield from _below(measures.lit, rules.lit, QualityIssue.FIELD_CUT)
    yield from _below(measures.framed, rules.framed, QualityIssue.FIELD_CUT)
    yield from _above(measures.clipped, rules.clipped, QualityIssue.TOO_BRIGHT)
    yield from _above(measures.brightness, rules.glare, QualityIssue.TOO_BRIGHT)
    yield from _below(measures.brightness, rules.brightness, QualityIssue.TOO_DARK)
    yield from _find_lack_of_detail(measures, rules)
    yield from _above(measures.obstruction, rules.obstruction, QualityIssue.OBSTRUCTED)
    yield from _below(measures.evenness, rules.evenness, QualityIssue.UNEVEN_LIGHT)
    yield from _below(measures.pixels_across, rules.pixels_across, QualityIssue.LOW_RESOLUTION)
    yield from _below(measures.fundus_hue, rules.fundus_hue, QualityIssue.COLOUR_CAST)


def _is_dark(measures: Measures, rules: QualityRules) -> bool:
    return measures.brightness < rules.brightness.reject_below


def _shows_a_fundus(measures: Measures, rules: FundusRules) -> bool:
    """Coloured, reddish rather than blue, no wilder in contrast than a retina; without an edge of the field there must be vessels."""
    fits = (
        measures.colour >= rules.colour_at_least
        and measures.fundus_hue >= rules.fundus_hue_at_least
        and measures.bluish <= rules.bluish_at_most
        and measures.texture <= rules.texture_at_most
    )
    bare = rules.without_rim
    return fits and (
        measures.rim >= rules.rim_at_least
        or (
            measures.fundus_hue >= bare.fundus_hue_at_least
            and measures.warmth >= bare.warmth_at_least
            and measures.texture <= bare.texture_at_most
            and measures.vessels >= bare.vessels_at_least
        )
    )


def _find_lack_of_detail(measures: Measures, rules: QualityRules) -> Iterator[_Finding]:
    """Nothing to be seen; or out of focus; or hazy, where the disc too is pale: a lens out of focus leaves large shapes their contrast."""
    if measures.vessels < rules.vessels.reject_below:
        yield QualityIssue.NO_DETAIL, _REJECT
        return
    is_soft = measures.sharpness < rules.sharpness.flag_below
    if is_soft and measures.contrast >= rules.haze_contrast:
        yield QualityIssue.BLURRED, _REJECT if measures.sharpness < rules.sharpness.reject_below else _USABLE
    elif is_soft or measures.vessels < rules.vessels.flag_below:
        yield QualityIssue.HAZY, _USABLE


def _below(value: float, floor: Floor, issue: QualityIssue) -> Iterator[_Finding]:
    if value < floor.flag_below:
        yield issue, _REJECT if value < floor.reject_below else _USABLE


def _above(value: float, ceiling: Ceiling, issue: QualityIssue) -> Iterator[_Finding]:
    if value > ceiling.flag_above:
        yield issue, _REJECT if ceiling.reject_above is not None and value > ceiling.reject_above else _USABLE
