"""A look at 100 000 stored screenings, and the scrape that tells of it: asked for under 100 ms."""

import argparse
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

import dagster as dg
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.bench_desk import fill
from eye_dx_cli.serving import prepare_state
from eye_dx_core import monitoring, wiring
from eye_dx_core.records.engine import open_engine, writing
from eye_dx_core.records.rows import REPORTED
from eye_dx_core.records.tables import cases
from eye_dx_core.settings import Settings, adopt_environment
from eye_dx_dagster.definitions import defs
from eye_dx_dagster.monitor.platform import look_at_history, look_at_platform, names_of
from eye_dx_dagster.monitor.serving import application, open_server
from eye_dx_dagster.monitor.watch import Watch
from tests.builders import NOON
from tests.services import A_KEY

_TIMES = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screenings", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate({"state_dir": folder, "vault_keys": A_KEY})
        adopt_environment(settings)
        prepare_state(settings)
        fill(settings.records_address, args.screenings)
        print(f"{args.screenings} screenings, SQLite, sealed; median and longest of {_TIMES} (asked: 100 ms)")
        with dg.DagsterInstance.get() as instance:
            measure(settings, instance, "all wait")
            report_most(settings)
            measure(settings, instance, "1 in 100 waits")
        print(f"memory: {psutil.Process().memory_info().rss / 1e6:.0f} MB")


def report_most(settings: Settings) -> None:
    """As it is after some months: what came before the last hours has its report."""
    engine = open_engine(settings.records_address)
    with writing(engine) as connection:
        connection.execute(cases.update().where(cases.c.received_at < NOON + timedelta(days=29.7)).values(state=REPORTED))
    engine.dispose()


def measure(settings: Settings, instance: dg.DagsterInstance, how: str) -> None:
    names, at = names_of(defs), NOON + timedelta(days=15)

    def look_at_records() -> None:
        with closing(wiring.open_records(settings)) as records:
            monitoring.look_at_records(records, at=at)

    def look_at_queue() -> None:
        with closing(wiring.open_queue(settings)) as queue:
            monitoring.look_at_queue(queue, settings.queue_names)

    def look_at_day() -> None:
        with closing(wiring.open_records(settings)) as records:
            assert monitoring.look_at_day(records, zone=ZoneInfo("UTC"), at=at).cases["received"]

    show(f"records, {how}", look_at_records)
    show("queue", look_at_queue)
    show("Dagster", lambda: look_at_platform(instance, names))
    show("Dagster's last day (once a minute)", lambda: look_at_history(instance, names))
    look_at_day()  # what fill() left out is taken now
    show("half a day of cases (once a minute)", look_at_day)
    watch = Watch(settings, instance, names, version="bench")
    with open_server(application(watch), "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/metrics"
        urllib.request.urlopen(address).read()
        show(f"a whole scrape, {how}", lambda: urllib.request.urlopen(address).read(), pause=2.1)
        server.shutdown()


def show(what: str, act: Callable[[], object], *, pause: float = 0) -> None:
    taken: list[float] = []
    for _ in range(_TIMES if not pause else 10):
        time.sleep(pause)
        started = time.perf_counter()
        act()
        taken.append(time.perf_counter() - started)
    print(f"{what:40} {1000 * median(taken):7.1f} ms {1000 * max(taken):7.1f} ms", flush=True)


if __name__ == "__main__":
    main()
