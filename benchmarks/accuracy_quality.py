"""How many defects of drawn photographs the quality gate finds, and how often it cries at a clean one.

    python benchmarks/accuracy_quality.py [--phantoms 260]

Every code of disease, both eyes, severities from 0.3 to 1 and sizes from 512 to 1024 pixels; each phantom clean and with each defect, by
seeds that are always the same. Cataracts (C) count apart: their haze is a finding, and the right word for it is `hazy` or `blurred`.
"""

import argparse
from collections import Counter, defaultdict

import numpy as np

from eye_dx_core.dataset.field_of_view import find_field_of_view
from eye_dx_core.dataset.phantom import PHANTOM_CODES, Defect, render_phantom
from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.quality import assess_quality
from eye_dx_core.inference.quality_measures import measure
from eye_dx_core.inference.quality_rules import load_rules
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.quality import Quality, QualityIssue

SIZES = (512, 640, 768, 1024)
SOUGHT = {
    Defect.BLUR: (QualityIssue.BLURRED, QualityIssue.HAZY, QualityIssue.NO_DETAIL),
    Defect.UNDER_EXPOSED: (QualityIssue.TOO_DARK,),
    Defect.OVER_EXPOSED: (QualityIssue.TOO_BRIGHT,),
    Defect.CUT_FIELD: (QualityIssue.FIELD_CUT,),
    Defect.EYELASH: (QualityIssue.OBSTRUCTED,),
}
HAZE = {QualityIssue.HAZY, QualityIssue.BLURRED}


def judge(code: str, number: int, severity: float, defect: Defect | None) -> Quality | None:
    """The verdict on one phantom; None where no field of view is found."""
    eye, size = tuple(Laterality)[number % 2], SIZES[number // len(PHANTOM_CODES) // 2 % len(SIZES)]
    rgb = render_phantom(code, eye=eye, seed=400_000 + number, size=size, severity=severity, defect=defect).rgb
    try:
        field = find_field_of_view(rgb)
    except BadPhoto:
        return None
    return assess_quality(measure(rgb, field, pixels_across=2 * field.radius), load_rules().default)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--phantoms", type=int, default=260)
    severities = np.random.default_rng(4).uniform(0.3, 1, parser.parse_args().phantoms)
    verdicts: dict[tuple[Defect | None, bool], list[Quality | None]] = defaultdict(list)
    for number, severity in enumerate(severities):
        # The eye changes with every phantom, and codes are an odd number, so that each code meets both.
        code = PHANTOM_CODES[number % len(PHANTOM_CODES)]
        for defect in (None, *Defect):
            verdicts[defect, code == "C"].append(judge(code, number, float(severity), defect))
    print(f"{'defect':15}{'':5}{'phantoms':>9}{'found':>8}  verdicts; all issues")
    for (defect, is_cataract), found in verdicts.items():
        _print_row(defect, found, is_cataract=is_cataract)


def _print_row(defect: Defect | None, found: list[Quality | None], *, is_cataract: bool) -> None:
    allowed = HAZE if is_cataract else set()
    hits = [one is None or bool(set(one.issues) & set(SOUGHT[defect]) if defect else set(one.issues) - allowed) for one in found]
    levels = Counter(one.level.value if one else "no field" for one in found)
    issues = Counter(issue.value for one in found if one for issue in one.issues)
    name = defect.value if defect else "false alarms"
    print(f"{name:15}{'C' if is_cataract else '':5}{len(found):9}{np.mean(hits):8.1%}  {dict(levels)}; {dict(issues)}")


if __name__ == "__main__":
    main()
