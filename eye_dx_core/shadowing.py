"""Shadow mode: a challenger reads what the champion has read, silently, so that the two can be compared before anybody trusts it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING

from eye_dx_core.casework import Clock, read_together_or_alone
from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.records.port import Records
from eye_dx_core.routing.rules import RoutingRules
from eye_dx_core.schema.case import Case
from eye_dx_core.schema.diagnosis import AiDiagnosis
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.shadow import ShadowReading

if TYPE_CHECKING:  # torch is for those who read photographs
    from eye_dx_core.inference.intake import PhotoIntake
    from eye_dx_core.inference.predictor import Predictor

LOOK_BACK = timedelta(days=1)
"""What is older is not read any more: a challenger that cannot keep up reads the newest, and no backlog grows."""
_TIMED = 1
"""The micro-batch of a pass that both read, for their times: the first is slower, because everything is used for the first time."""


@dataclass(frozen=True)
class Readers:
    """The challenger, and the champion whom it is compared with."""

    challenger: "Predictor"
    champion: "Predictor"


class ShadowPass(Frozen):
    """What one pass did. `gave_way` tells that it ended because somebody was waiting."""

    read: int = 0
    failed: int = 0
    gave_way: bool = False


def shadow_waiting(
    records: Records,
    readers: Readers,
    photos: "PhotoIntake",
    *,
    rules: RoutingRules,
    limit: int,
    micro_batch: int,
    now: Clock,
    must_give_way: Callable[[], bool],
) -> ShadowPass:
    """Let the challenger read what the champion has read in the last day, the newest first; nothing is announced.

    A case that trips the challenger is kept as that, and not given to it again.

    Args:
        records: where the cases are, and where the readings go.
        readers: who reads.
        photos: how photographs come in.
        rules: by which urgency is proposed, the same for both.
        limit: cases of one pass.
        micro_batch: cases that are read together: the longest that anybody waits for it.
        now: the clock.
        must_give_way: asked before each micro-batch.

    Raises:
        ServiceUnavailable: records or photographs cannot be had now; what was read is kept.
    """
    read = failed = batch = 0
    while read + failed < limit:
        if must_give_way():
            return ShadowPass(read=read, failed=failed, gave_way=True)
        few = min(micro_batch, limit - read - failed)
        sha256 = readers.challenger.checkpoint_sha256
        cases = records.cases_to_shadow(checkpoint_sha256=sha256, since=now() - LOOK_BACK, limit=few)
        if not cases:
            break
        for reading in _read(cases, readers, photos, rules=rules, now=now, number=batch):
            is_new = records.add_shadow_reading(reading)
            read, failed = read + (is_new and reading.failure is None), failed + (is_new and reading.failure is not None)
        batch += 1
    return ShadowPass(read=read, failed=failed)


def _read(
    cases: Sequence[Case], readers: Readers, photos: "PhotoIntake", *, rules: RoutingRules, now: Clock, number: int
) -> list[ShadowReading]:
    failed: dict[str, Exception] = {}
    challenger, at = readers.challenger, now()

    def timed(predictor: "Predictor", tripped: dict[str, Exception]) -> tuple[dict[str, AiDiagnosis], float | None]:
        started = perf_counter()
        said = {case.case_id: one for case, one in read_together_or_alone(cases, predictor, photos, now, tripped, rules=rules)}
        count = sum(len(case.screening.photos) for case in cases)
        return said, None if tripped or not count else (perf_counter() - started) / count

    said, seconds = timed(challenger, failed)
    for error in failed.values():
        if isinstance(error, ServiceUnavailable):
            raise error
    champions = timed(readers.champion, {})[1] if number == _TIMED else None
    return [
        ShadowReading(
            case_id=case.case_id,
            model_version=challenger.model_version,
            checkpoint_sha256=challenger.checkpoint_sha256,
            read_at=at,
            diagnosis=said.get(case.case_id),
            failure=type(failed[case.case_id]).__name__ if case.case_id in failed else None,
            seconds_per_photo=seconds if number else None,
            champion_seconds_per_photo=champions,
        )
        for case in cases
    ]
