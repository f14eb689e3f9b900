"""What a fault left behind, counted, and written down for who runs the long form."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import CaseRecord, Records

EVER = {"since": datetime(1970, 1, 1, tzinfo=UTC), "until": datetime(2200, 1, 1, tzinfo=UTC)}


@dataclass(frozen=True)
class Tally:
    """Cases without a whole record or result; cases or results there twice under different ids; results of nobody; repeats."""

    lost: int
    doubled: int
    strangers: int
    repeats: int

    @property
    def is_clean(self) -> bool:
        """A repeat carries the same message id, and receivers drop it."""
        return (self.lost, self.doubled, self.strangers) == (0, 0, 0)


def count(
    queue: Queue, records: Records, published: Sequence[str], *, result_queues: Sequence[str], is_whole: Callable[[CaseRecord], object]
) -> Tally:
    """Compare what was published with what stands in the records and on the result queues."""
    found = {record.case.case_id: record for record in records.case_records(**EVER)}
    whole = {case_id for case_id, record in found.items() if is_whole(record)}
    delivered = [Counter(_receive_all(queue, name)) for name in result_queues]
    per_case = [Counter(case_id for case_id, _ in results) for results in delivered]
    return Tally(
        lost=len(set(published) - whole) + sum(case not in seen for seen in per_case for case in published),
        doubled=len(found.keys() - set(published)) + sum(seen[case] - 1 for seen in per_case for case in seen),
        strangers=sum(case not in published for seen in per_case for case in seen),
        repeats=sum(results.total() - len(results) for results in delivered),
    )


def _receive_all(queue: Queue, name: str) -> list[tuple[str, str]]:
    """Case id and message id of everything on a queue."""
    taken: list[tuple[str, str]] = []
    while deliveries := queue.receive(name, limit=5):  # few, because leases in these tests are short
        for delivery in deliveries:
            taken.append((str(delivery.message.correlation_id), str(delivery.message.message_id)))
            queue.ack(delivery)
    return taken


def note(kind: str, point: str, times: int, tally: Tally) -> None:
    """Append a line to the table that `make test-faults` shows at its end."""
    if (table := os.environ.get("EYE_DX_FAULT_TABLE")) is not None:
        counts = "  ".join(f"{what} {number}" for what, number in asdict(tally).items())
        with Path(table).open("a", encoding="utf-8") as file:
            file.write(f"{kind:24} {point:46} {times:4} times  {counts}\n")
