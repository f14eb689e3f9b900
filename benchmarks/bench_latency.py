"""How long a screening waits for its result with a real daemon: one at a time on an idle system, then many at once."""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from eye_dx_core.settings import adopt_environment
from tests.faults.installation import Installation
from tests.services import EMBEDDED, SERVERS, services


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", action="store_true", help="RabbitMQ and PostgreSQL on this machine instead of the embedded stack")
    args = parser.parse_args()
    kind = SERVERS if args.servers else EMBEDDED
    with tempfile.TemporaryDirectory() as name, services(kind, Path(name)) as (queue_url, records_url, names, _):
        one = Installation(Path(name), queue_url, records_url, names)
        adopt_environment(one.settings)
        try:
            measure(one, kind)
        finally:
            one.close()


def measure(one: Installation, kind: str) -> None:
    print(f"{kind}: from publishing to the stored result")
    one.start_daemon()
    one.pause(20)
    print(f"the first, no run active      {wait_for_all(one, [0]):6.1f} s")
    singles: list[float] = []
    for number in range(1, 11):
        one.pause(5 + 0.7 * number)
        singles.append(wait_for_all(one, [number]))
    print(f"one on an idle system         {statistics.median(singles):6.2f} s median of 10, {max(singles):.2f} s at most")
    print(f"300 at once                   {wait_for_all(one, range(1000, 1300)):6.1f} s until the last")


def wait_for_all(one: Installation, numbers: Iterable[int]) -> float:
    started = time.perf_counter()
    waiting = {one.send(number) for number in numbers}
    while waiting:
        waiting = {case_id for case_id in waiting if one.records.find_diagnosis(case_id) is None}
        time.sleep(0.02)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
