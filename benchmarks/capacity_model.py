"""A site as a queueing model: screenings arrive, diagnosis runs read them, doctors review them. All times in seconds."""

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import simpy
from numpy.typing import NDArray

from eye_dx_dagster.defs.diagnosis.jobs import READ_TOGETHER
from eye_dx_dagster.defs.diagnosis.sensors import INTERVAL_SECONDS

HOUR = 3600.0
CLINIC = {8: 1.5, 9: 2.0, 10: 2.0, 11: 1.0, 13: 1.0, 14: 1.5, 15: 1.5, 16: 1.0}
"""How busy each hour of a screening day is, relative to the others: our assumption, mornings first."""
POLL_SECONDS = 0.5
"""How often a ready run looks, as `standby.stand_by` does."""
_Events = Generator[simpy.Event, None, None]


@dataclass(frozen=True)
class Readers:
    """Diagnosis runs at work, as `bench_capacity.py` measures them."""

    count: int
    case_seconds: float
    """Of one of them, to take in, read and store one case while the others are busy too."""
    pass_seconds: float
    """To look, claim and send, however many cases a pass has."""
    start_seconds: float
    """From a sensor's tick to the first case in hands, when no run is ready."""
    linger_seconds: float = 300.0


@dataclass(frozen=True)
class Doctors:
    """Who reviews, all day long. The time for a case is log-normal: most are quick, some are not."""

    count: int
    minutes: float = 1.5
    spread: float = 0.6
    """Standard deviation of the logarithm."""


def steady(per_second: float, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrival times of a Poisson process."""
    return np.sort(rng.uniform(0, seconds, rng.poisson(per_second * seconds)))


def clinic_day(screenings: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrival times of one day, in seconds since midnight: Poisson within each hour of `CLINIC`."""
    hours = rng.choice(list(CLINIC), size=screenings, p=np.array(list(CLINIC.values())) / sum(CLINIC.values()))
    return np.sort((hours + rng.uniform(0, 1, screenings)) * HOUR)


def waits_for_result(arrivals: NDArray[np.float64], readers: Readers, rng: np.random.Generator) -> NDArray[np.float64]:
    """From arrival until the AI's result is sent, for each screening."""
    env = simpy.Environment()
    waiting: deque[int] = deque()
    waits = np.zeros(len(arrivals))
    news = [env.event()]

    def site() -> _Events:
        for number, at in enumerate(arrivals):
            yield env.timeout(at - env.now)
            waiting.append(number)
            news[0].succeed()
            news[0] = env.event()

    def run(place: int) -> _Events:
        ready_until = -1.0
        while True:
            is_ready = env.now <= ready_until
            if len(waiting) <= (0 if is_ready else place * READ_TOGETHER):  # a further run joins when the others have their hands full
                yield news[0]
                if env.now > ready_until and len(waiting) > place * READ_TOGETHER:
                    yield env.timeout(rng.uniform(0, INTERVAL_SECONDS) + readers.start_seconds)
                    ready_until = env.now + readers.linger_seconds
                elif env.now <= ready_until:
                    yield env.timeout(rng.uniform(0, POLL_SECONDS))
                continue
            taken = [waiting.popleft() for _ in range(min(len(waiting), READ_TOGETHER))]
            yield env.timeout(readers.pass_seconds + readers.case_seconds * len(taken))
            waits[taken] = env.now - arrivals[taken]
            ready_until = env.now + readers.linger_seconds

    env.process(site())
    for place in range(readers.count):
        env.process(run(place))
    env.run()
    return waits


def waits_for_doctor(ready: Sequence[float] | NDArray[np.float64], doctors: Doctors, rng: np.random.Generator) -> NDArray[np.float64]:
    """From the AI's result until the review is signed, first come, first served."""
    env = simpy.Environment()
    desks = simpy.Resource(env, doctors.count)
    signed = np.zeros(len(ready))
    seconds = rng.lognormal(np.log(60 * doctors.minutes) - doctors.spread**2 / 2, doctors.spread, len(ready))

    def case(number: int, at: float) -> _Events:
        yield env.timeout(at)
        with desks.request() as desk:
            yield desk
            yield env.timeout(seconds[number])
        signed[number] = env.now - at

    for number, at in enumerate(ready):
        env.process(case(number, float(at)))
    env.run()
    return signed
