"""How many wrong reports the guard lets through, and how many right ones it refuses, by kind.

Run: `python -m benchmarks.accuracy_guard`. The texts are those of `tests/clean_reports.py`, the changes those of `tests/mutants.py`.
"""

import time
from collections import Counter

from eye_dx_core.reporting.guard.rules import identifier_violations, violations
from eye_dx_core.reporting.identifiers import identifiers_of
from tests.builders import a_case, a_review
from tests.clean_reports import clean_reports
from tests.mutants import mutants


def main() -> None:
    reports = list(clean_reports())
    started = time.perf_counter()
    refused = [one.name for one in reports if violations(one.narrative, one.facts)]
    each = (time.perf_counter() - started) / len(reports)
    print(f"{len(reports)} right reports, {len(refused)} refused ({len(refused) / len(reports):.1%}), {each * 1000:.0f} ms each")
    for name in refused:
        print(f"  refused: {name}")

    identifiers = identifiers_of(a_case(), a_review())
    made: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    for number, clean in enumerate(one for one in reports if one.name not in refused):
        for mutant in mutants(clean, number):
            made[mutant.kind] += 1
            if violations(mutant.narrative, clean.facts) or identifier_violations(mutant.narrative, identifiers):
                killed[mutant.kind] += 1
            else:
                print(f"  survives ({mutant.kind}): {clean.name}: {mutant.words}")
    print(f"{'kind':20}{'mutants':>9}{'killed':>9}{'rate':>9}")
    for kind, count in made.most_common():
        print(f"{kind:20}{count:>9}{killed[kind]:>9}{killed[kind] / count:>9.2%}")
    print(f"{'all':20}{made.total():>9}{killed.total():>9}{killed.total() / made.total():>9.2%}")


if __name__ == "__main__":
    main()
