"""The capacity model held against a real run on this machine, then asked what a site of any size needs: tables, and plots for docs.

A real daemon, RabbitMQ and PostgreSQL, the shipped trunk's shape with random weights, two photographs of 2000 pixels a screening.
A burst and single screenings give the model its figures; steady arrivals at three loads, which it has not seen, are the check.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.capacity_model import CLINIC, HOUR, POLL_SECONDS, Doctors, Readers, clinic_day, steady, waits_for_doctor, waits_for_result
from eye_dx_core.dataset.phantom_folders import write_phantom_photo
from eye_dx_core.model.vit import TRUNKS
from eye_dx_core.queue.port import Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.message import parse_screening
from eye_dx_core.settings import adopt_environment
from eye_dx_dagster.defs.diagnosis.jobs import READ_TOGETHER
from eye_dx_dagster.defs.diagnosis.sensors import INTERVAL_SECONDS
from tests.builders import a_nested_body
from tests.faults.installation import Installation
from tests.faults.own_servers import own_rabbit
from tests.services import own_postgres

PHOTOS = {"OD.jpg": Laterality.RIGHT, "OS.jpg": Laterality.LEFT}
BURST, SINGLES, LOADS = 200, 10, (0.3, 0.6, 0.85)
VOLUMES = (100, 1_000, 10_000, 100_000)
_PERCENTILES = (50, 95, 99)


class Site(Installation):
    """An installation whose photographs are as large as a camera's, and whose model has the shipped trunk's shape."""

    trunk = TRUNKS["small"]

    def draw_photos(self) -> None:
        for name, eye in PHOTOS.items():
            write_phantom_photo(self.settings.data / name, "D3", eye=eye, seed=1, size=2000)

    def send(self, number: int) -> str:
        """Publish a screening with both eyes."""
        body, message_id, queue = a_nested_body(f"P{number}", tuple(PHOTOS)), f"m-{number}", self.names.screenings
        self.queue.publish(queue, Message(body=body, message_id=message_id))
        return parse_screening(body, source_queue=queue, message_id=message_id, received_at=datetime.now(UTC)).case_id

    def waits(self, arrivals: Sequence[float] | NDArray[np.float64], first: int) -> NDArray[np.float64]:
        """Publish screenings at these times, in seconds from now; how long each waited for its result to be sent."""
        started = time.time()
        sent: dict[str, float] = {}
        for number, at in enumerate(arrivals, start=first):
            time.sleep(max(0.0, started + float(at) - time.time()))
            at_once = time.time()
            sent[self.send(number)] = at_once
        self.wait(lambda: self.has_sent(len(sent) + first), 600)
        results = {case_id: self.records.get_case_record(case_id).outbox[0].sent_at for case_id in sent}
        return np.array([result.timestamp() - sent[case_id] for case_id, result in results.items() if result is not None])

    def has_sent(self, screenings: int) -> bool:
        backlog = self.records.backlog()
        return backlog.unreviewed == screenings and not backlog.unsent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="How long each of the three loads is kept up.")
    parser.add_argument("--plots", type=Path, help="Folder for the plots; default none are drawn.")
    args = parser.parse_args()
    rng = np.random.default_rng(7)
    with own_rabbit() as rabbit, own_postgres() as postgres, tempfile.TemporaryDirectory() as name:
        site = Site(Path(name), rabbit.url, postgres, QueueNames())
        adopt_environment(site.settings)
        site.draw_photos()
        try:
            readers, sent = measure(site)
            check(site, readers, sent, args.seconds, rng, args.plots)
        finally:
            site.close()
    show_sites(readers, rng, args.plots)


def measure(site: Site) -> tuple[Readers, int]:
    """One run's figures on this machine, and how many screenings were sent for them."""
    site.start_daemon()
    site.pause(20)
    [cold] = site.waits([0.0], 0)
    single = float(np.median(site.waits(np.arange(SINGLES) * 3.3, 1)))
    burst = float(site.waits(np.zeros(BURST), 1 + SINGLES).max())
    passes = BURST / READ_TOGETHER
    # Two equations: a burst is all its cases and passes; a single screening is one of each, and half a pause between two looks.
    case_seconds = (burst - passes * (single - POLL_SECONDS / 2)) / (BURST - passes)
    pass_seconds = max(0.0, single - POLL_SECONDS / 2 - case_seconds)
    print(f"one run, two photographs a screening: {case_seconds * 1000:.0f} ms a case, {pass_seconds * 1000:.0f} ms a pass,", end=" ")
    print(f"{cold:.1f} s for the first of the day, {single:.2f} s for a single one, {BURST / burst:.1f} cases a second at most")
    return Readers(1, case_seconds, pass_seconds, start_seconds=cold - single - INTERVAL_SECONDS / 2), 1 + SINGLES + BURST


def check(site: Site, readers: Readers, sent: int, seconds: float, rng: np.random.Generator, plots: Path | None) -> None:
    """Steady arrivals for real and in the model, side by side."""
    print(f"\n{'load':>6} {'screenings':>10}   {'real, median and 95 %':>24}   {'model':>14}   {'model / real':>14}")
    drawn: list[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = []
    for load in LOADS:
        per_second = load / (readers.case_seconds + readers.pass_seconds / READ_TOGETHER)
        arrivals = steady(per_second, seconds, rng)
        real = site.waits(arrivals, sent)
        sent += len(arrivals)
        # It starts warm: an arrival long before the others is what the real run has had already.
        model = np.concatenate([waits_for_result(np.r_[0, 20 + steady(per_second, seconds, rng)], readers, rng)[1:] for _ in range(20)])
        (rm, r95), (mm, m95) = np.percentile(real, [50, 95]), np.percentile(model, [50, 95])
        print(
            f"{load:6.0%} {len(real):10}   {rm:10.2f} s {r95:10.2f} s   {mm:5.2f} {m95:6.2f} s   {mm / rm:6.2f} {m95 / r95:6.2f}",
            flush=True,
        )
        drawn.append((load, real, model))
    if plots is not None:
        draw_check(drawn, plots / "check.png")


def show_sites(measured: Readers, rng: np.random.Generator, plots: Path | None) -> None:
    """For a day of any size, the fewest runs and doctors that keep up in the busiest hour, and how long people then wait."""
    print("\nscreenings a day   runs    wait for the AI's result: median, 95 %, 99 %   doctors   from result to signature: median, 95 %")
    waits: dict[int, NDArray[np.float64]] = {}
    for volume in VOLUMES:
        an_hour = volume * max(CLINIC.values()) / sum(CLINIC.values())
        runs = fewest(an_hour * (measured.case_seconds + measured.pass_seconds / READ_TOGETHER) / HOUR)
        doctors = fewest(an_hour * Doctors(1).minutes / 60)
        arrivals = clinic_day(volume, rng)
        waits[volume] = waits_for_result(arrivals, replace(measured, count=runs), rng)
        signed = waits_for_doctor(arrivals + waits[volume], Doctors(doctors), rng) / 60
        results = "".join(f"{one:10.1f} s" for one in np.percentile(waits[volume], _PERCENTILES))
        reviews = "".join(f"{one:10.1f} min" for one in np.percentile(signed, _PERCENTILES[:2]))
        print(f"{volume:16,} {runs:6} {results:>44} {doctors:9} {reviews:>34}", flush=True)
    if plots is not None:
        draw_waits(waits, plots / "waits.png")


def fewest(busy: float) -> int:
    """How many are needed for so much work, with a fifth to spare."""
    return max(1, ceil(busy / 0.8))


def draw_check(drawn: Sequence[tuple[float, NDArray[np.float64], NDArray[np.float64]]], path: Path) -> None:
    figure, axes = plt.subplots(1, len(drawn), figsize=(11, 3.4), sharey=True, layout="constrained")
    for axis, (load, real, model) in zip(axes, drawn, strict=True):
        for values, label, style in ((real, "real run", "-"), (model, "model", "--")):
            axis.plot(np.sort(values), np.linspace(0, 1, len(values)), style, label=label)
        axis.set(title=f"{load:.0%} of what one run can read", xlabel="seconds from message to result", ylim=(0, 1))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of screenings")
    axes[0].legend(loc="lower right", frameon=False)
    _save(figure, path)


def draw_waits(waits: dict[int, NDArray[np.float64]], path: Path) -> None:
    figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for volume, values in waits.items():
        axis.plot(np.sort(values), np.linspace(0, 1, len(values)), label=f"{volume:,} a day")
    axis.set(xscale="log", xlabel="seconds from message to result", ylabel="share of screenings", ylim=(0, 1))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower right")
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    mpl.use("agg")
    main()
