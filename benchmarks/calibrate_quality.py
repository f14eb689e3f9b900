"""What the quality gate measures on your photographs, and the thresholds it would choose for them.

    python benchmarks/calibrate_quality.py FOLDER [--share 0.02] [--by-camera]

A flag is for what is unusual: the threshold chosen is the one that the given share of these photographs passes. Look at some on
either side of it before you take it over into the file that EYE_DX_QUALITY_FILE names. What rejects is not for statistics to choose,
so it is left alone.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eye_dx_core.errors import BadPhoto
from eye_dx_core.inference.preparing import prepare_photo
from eye_dx_core.inference.quality_rules import Ceiling, Floor, QualityRules, load_rules
from eye_dx_core.schema.quality import Quality

QUANTILES = (0.01, 0.02, 0.05, 0.25, 0.5, 0.75, 0.95, 0.98, 0.99)
MEASURE_OF_RULE = {"glare": "brightness"}


def main() -> None:
    arguments = _arguments()
    by_camera: dict[str, list[Quality]] = defaultdict(list)
    refused: Counter[str] = Counter()
    for path in sorted(path for path in arguments.folder.rglob("*") if path.is_file()):
        try:
            photo = prepare_photo(path, size=256)
        except BadPhoto as error:
            refused[error.reason] += 1
            continue
        by_camera[(photo.camera if arguments.by_camera else None) or "all"].append(photo.quality)
    for camera, found in by_camera.items():
        print(f"\n# {camera}: {len(found)} photographs")
        _print_quantiles(found)
        _print_thresholds(found, load_rules().get_rules(camera), arguments.share, camera)
    print(f"\nnot measured: {dict(refused) or 'none'}")


def _print_quantiles(found: list[Quality]) -> None:
    print(f"{'quantile':15}" + "".join(f"{quantile:9.2f}" for quantile in QUANTILES))
    for name in found[0].measures:
        values = np.quantile([one.measures[name] for one in found], QUANTILES)
        print(f"{name:15}" + "".join(f"{value:9.4g}" for value in values))


def _print_thresholds(found: list[Quality], rules: QualityRules, share: float, camera: str) -> None:
    flagged = Counter(issue.value for one in found for issue in one.issues)
    levels = Counter(one.level.value for one in found)
    print(f"by the rules as they are: {dict(levels)}; {dict(flagged)}")
    print("default:" if camera == "all" else f'cameras:\n  "{camera}":')
    for name, rule in _measured_rules(rules):
        values = [one.measures[MEASURE_OF_RULE.get(name, name)] for one in found]
        indent = "  " if camera == "all" else "    "
        if isinstance(rule, Floor):
            chosen = max(float(np.quantile(values, share)), rule.reject_below)
            print(
                f"{indent}{name}: {{flag_below: {chosen:.4g}}}  # now {rule.flag_below:g}, {np.mean(np.less(values, rule.flag_below)):.1%}"
            )
        else:
            chosen = float(np.quantile(values, 1 - share))
            passed = np.mean(np.greater(values, rule.flag_above))
            print(f"{indent}{name}: {{flag_above: {chosen:.4g}}}  # now {rule.flag_above:g}, passed by {passed:.1%}")


def _measured_rules(rules: QualityRules) -> Iterator[tuple[str, Floor | Ceiling]]:
    return ((name, rule) for name, rule in rules if isinstance(rule, Floor | Ceiling))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=0.02, help="share of the photographs that a flag may be for")
    parser.add_argument("--by-camera", action="store_true", help="a section per camera, by the make and model in the files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
